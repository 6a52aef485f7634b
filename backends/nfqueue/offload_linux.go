package nfqueue

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/conntrack"
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
	foreign := e.Mark != 0 && e.Mark&markMask != uint32(q.space.set.marks.present.Load())&markMask
	return c, found && e.Counted && !foreign && !c.Over
}

// Drain implements backend.Offloader.
func (q *queue) Drain(k *backend.FlowKey) (backend.FlowCount, bool) {
	c, found := q.count(k)
	return c, found && q.found.Counted
}

// Return implements backend.Offloader.
func (q *queue) Return(k *backend.FlowKey) {
	if _, found := q.count(k); found && q.found.Mark != 0 && q.found.Mark == uint32(q.space.set.marks.present.Load()) {
		_ = q.tracker.SetMark(&q.found.Tuples[0], 0) // a missing entry is no error
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
	there := conntrack.Tuple{Src: k.Client, Dst: k.Server, SrcPort: k.ClientPort, DstPort: k.ServerPort, Proto: k.Proto, IPv6: k.IPv6}
	back := there.Back()
	err := q.tracker.Get(e, &there)
	if errors.Is(err, unix.ENOENT) {
		err = q.tracker.Get(e, &back)
	}
	if err != nil {
		return c, false
	}
	c = backend.FlowCount{Packets: e.Packets, Bytes: e.Bytes, Over: e.Over()}
	if e.Tuples[0] != there && e.Tuples[1] != back {
		c.Packets[0], c.Packets[1] = c.Packets[1], c.Packets[0]
		c.Bytes[0], c.Bytes[1] = c.Bytes[1], c.Bytes[0]
	}
	return c, true
}
