package engine

import (
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/role"
)

// SetSockets sets the known sockets of an endpoint's workload, before the endpoint is
// attached or later; nil is none. The engine keeps the value, which must not change. Sessions
// whose client is uncertain are evaluated again where it has something new.
func (e *Engine) SetSockets(endpoint uint32, s *role.Sockets) {
	e.mu.Lock()
	before := e.sockets[endpoint]
	if s.Equal(before) {
		e.mu.Unlock()
		return
	}
	if !s.Same(before) {
		e.shared.Listening.Add(1)
	}
	if s == nil {
		delete(e.sockets, endpoint)
	} else {
		e.sockets[endpoint] = s
	}
	a := e.current(endpoint)
	if a != nil { // else they are published with its attachment
		e.publish()
	}
	e.mu.Unlock()
	if a != nil {
		e.wakeAround(a)
	}
}

// Remember sets the sides of sessions known from before a restart; nil removes them.
func (e *Engine) Remember(m *role.Memory) {
	if step := e.step(); m != nil && step != 0 {
		own := *m
		own.Until -= step
		m = &own
	}
	e.shared.Memory.Store(m)
	e.wake()
}

// SetHeld sets which connections of an endpoint are held open by sockets of its workload:
// opened are open since before they could be seen, and become sessions; known are others,
// whose sessions do not end for being silent. An endpoint that is not attached has none.
func (e *Engine) SetHeld(endpoint uint32, opened, known []role.Tuple) {
	s := e.acquire(endpoint, false)
	if s == nil {
		return
	}
	defer e.release(s)
	if s.cur == nil {
		return
	}
	of := e.lockWorkload(s.cur.of.key)
	defer of.unlock(e)
	judges := s.cur.judges()
	open, rest := s.cur.spread(opened, len(judges)), s.cur.spread(known, len(judges))
	for i, w := range judges {
		w.do(func() {
			w.path.Begin(e.cfg.Now())
			w.path.Sessions().Held(endpoint, open[i], rest[i])
		})
	}
}

// spread splits connections by which of n workers has their sessions.
func (a *attached) spread(list []role.Tuple, n int) [][]role.Tuple {
	out := make([][]role.Tuple, n)
	spread, _ := a.att.(backend.Spreader)
	if len(out) == 1 || spread == nil && len(out) > 0 {
		out[0] = list
		return out
	}
	for i := range list {
		at := spread.Place(list[i].Remote)
		out[at] = append(out[at], list[i])
	}
	return out
}
