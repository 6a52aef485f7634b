package nfqueue

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/core/backend"
)

// tracking queries the connection tracker of a namespace. One goroutine at a time uses it.
type tracking struct {
	tracker *conntrack.Tracker // nil before the first query
	found   conntrack.Entry    // of the last answer
}

// get finds the entry with a tuple; the error is unix.ENOENT if there is none.
func (t *tracking) get(s *space, x *conntrack.Tuple) (err error) {
	if t.tracker == nil {
		if t.tracker, err = conntrack.Open(s.own()); err != nil {
			t.tracker = nil
			return err
		}
	}
	return t.tracker.Get(&t.found, x)
}

// count finds a flow's connection. On the wire it has its original tuple, or, where the
// namespace itself translates addresses of what it sends, the reply's.
func (t *tracking) count(s *space, k *backend.FlowKey) (c backend.FlowCount, found bool) {
	e := &t.found
	there := conntrack.Tuple{Src: k.Client, Dst: k.Server, SrcPort: k.ClientPort, DstPort: k.ServerPort, Proto: k.Proto, IPv6: k.IPv6}
	back := there.Back()
	err := t.get(s, &there)
	if errors.Is(err, unix.ENOENT) {
		err = t.get(s, &back)
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

func (t *tracking) close() {
	if t.tracker != nil {
		t.tracker.Close()
	}
}
