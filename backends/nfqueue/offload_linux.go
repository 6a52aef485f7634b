package nfqueue

import "github.com/sluicenet/sluice/core/backend"

var _ backend.Offloader = (*queue)(nil)

// Offload implements backend.Offloader: a flow can be offloaded if the tracker counts its
// connection and no other program has marked it.
func (q *queue) Offload(k *backend.FlowKey) (backend.FlowCount, bool) {
	if q.space.set.marks.present.Load() == 0 {
		return backend.FlowCount{}, false
	}
	c, found := q.count(k)
	e := &q.conns.found
	foreign := e.Mark != 0 && e.Mark&markMask != uint32(q.space.set.marks.present.Load())&markMask
	return c, found && e.Counted && !foreign && !c.Over
}

// Drain implements backend.Offloader.
func (q *queue) Drain(k *backend.FlowKey) (backend.FlowCount, bool) {
	c, found := q.count(k)
	return c, found && q.conns.found.Counted
}

// Return implements backend.Offloader.
func (q *queue) Return(k *backend.FlowKey) {
	if _, found := q.count(k); found && q.conns.found.Mark != 0 && q.conns.found.Mark == uint32(q.space.set.marks.present.Load()) {
		_ = q.conns.tracker.SetMark(&q.conns.found.Tuples[0], 0) // a missing entry is no error
	}
}

// count finds a flow's connection.
func (q *queue) count(k *backend.FlowKey) (c backend.FlowCount, found bool) {
	if !q.borrow() {
		q.giveBack()
		return c, false
	}
	defer q.giveBack()
	return q.conns.count(q.space, k)
}
