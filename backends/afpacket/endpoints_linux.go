package afpacket

import "sync/atomic"

// known is what the worker needs of an endpoint.
type known struct {
	mac   [6]byte
	open  bool
	large *oversized
	path  *pathMTU // nil for what is no tunnel
}

// endpointSet has the endpoints of a queue. Its map is replaced, never changed, so that the worker reads it without
// a lock.
type endpointSet struct {
	current atomic.Pointer[map[uint32]known]
}

// all returns the endpoints, which the caller must not change.
func (e *endpointSet) all() map[uint32]known { return *e.current.Load() }

// get returns what the worker needs of an endpoint; the zero value for one that is not there.
func (e *endpointSet) get(id uint32) known { return (*e.current.Load())[id] }

// add and remove change the endpoints. The backend's lock is held.
func (e *endpointSet) add(id uint32, k known) { e.change(func(m map[uint32]known) { m[id] = k }) }
func (e *endpointSet) remove(id uint32)       { e.change(func(m map[uint32]known) { delete(m, id) }) }

func (e *endpointSet) change(edit func(map[uint32]known)) {
	next := map[uint32]known{}
	for id, k := range e.all() {
		next[id] = k
	}
	edit(next)
	e.current.Store(&next)
}
