package nfqueue

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
)

var _ backend.Offloader = (*queue)(nil)

// Offload implements backend.Offloader: a flow can be offloaded if the tracker counts its
// connection and no other program has marked it.
func (q *queue) Offload(k *backend.FlowKey) (backend.FlowCount, bool) {
	if q.space.set.marks.present.Load() == 0 {
		return backend.FlowCount{}, false
	}
	c, found := q.count(k)
	e := &q.found
	foreign := e.mark != 0 && e.mark&markMask != uint32(q.space.set.marks.present.Load())&markMask
	return c, found && e.counted && !foreign && !c.Over
}

// Drain implements backend.Offloader.
func (q *queue) Drain(k *backend.FlowKey) (backend.FlowCount, bool) {
	c, found := q.count(k)
	return c, found && q.found.counted
}

// Return implements backend.Offloader.
func (q *queue) Return(k *backend.FlowKey) {
	if _, found := q.count(k); found && q.found.mark != 0 && q.found.mark == uint32(q.space.set.marks.present.Load()) {
		_ = q.tracker.setMark(&q.found.tuples[0], 0) // a missing entry is no error
	}
}

// count finds a flow's connection. On the wire it has its original tuple, or, where the
// namespace itself translates addresses of what it sends, the reply's.
func (q *queue) count(k *backend.FlowKey) (c backend.FlowCount, found bool) {
	if !q.borrow() {
		q.giveBack()
		return c, false
	}
	defer q.giveBack()
	if !q.openTracker() {
		return c, false
	}
	e := &q.found
	there := tuple{src: k.Client, dst: k.Server, sport: k.ClientPort, dport: k.ServerPort, proto: k.Proto, v6: k.IPv6}
	back := there.back()
	err := q.tracker.get(e, &there)
	if errors.Is(err, unix.ENOENT) {
		err = q.tracker.get(e, &back)
	}
	if err != nil {
		return c, false
	}
	c = backend.FlowCount{Packets: e.packets, Bytes: e.bytes, Over: e.over()}
	if e.tuples[0] != there && e.tuples[1] != back {
		c.Packets[0], c.Packets[1] = c.Packets[1], c.Packets[0]
		c.Bytes[0], c.Bytes[1] = c.Bytes[1], c.Bytes[0]
	}
	return c, true
}
