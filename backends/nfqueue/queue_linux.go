package nfqueue

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// queue is one kernel queue. Waiting is done by the runtime's poller, so that a queue costs a
// goroutine and no thread.
type queue struct {
	gate
	ep       backend.Endpoint
	loopback bool
	space    *space
	inject   *injector
	b        *Backend
	maxHeld  int

	// Used by the worker only, but for wake.
	io     exchange
	msg    message
	last   uint32 // number of the last packet received
	held   map[uint32]struct{}
	marks  [batch]uint32 // of the packets of the batch
	conns  tracking
	own    addresses
	resets redirects

	index   atomic.Int32 // of the endpoint's interface
	busy    activity
	stopped atomic.Pointer[time.Time] // when the attachment was closed; nil while it is not
	n       counts
}

// counts are a queue's counters.
type counts struct {
	received, dropped, sent, sendDrop, refused, lookupFailed, full atomic.Uint64
}

var (
	_ backend.Queue   = (*queue)(nil)
	_ backend.Holder  = (*queue)(nil)
	_ backend.Limited = (*queue)(nil)
	_ backend.Counter = (*queue)(nil)
)

func newQueue(ep backend.Endpoint, s *space, src *source, b *Backend) (*queue, error) {
	q := &queue{ep: ep, loopback: ep.Hook.Side == backend.LoopbackSide, space: s, b: b, maxHeld: b.cfg.MaxHeld, held: make(map[uint32]struct{}, 64)}
	if q.loopback {
		q.own.read = func() [][16]byte { return addressesOf(ep.NetNS) }
		q.own.list = q.own.read()
	}
	q.index.Store(int32(ep.Index))
	q.busy.epoch = time.Now()
	q.gate.down = q.takeDown
	var err error
	if q.inject, err = openInjector(ep.NetNS, s.set.inject); err != nil {
		return nil, err
	}
	if err = q.io.open(src, ep.ID); err != nil {
		q.inject.close()
		return nil, err
	}
	return q, nil
}

// Recv implements backend.Queue.
func (q *queue) Recv(b *packet.Batch) error {
	b.Reset()
	if !q.enter() {
		return io.EOF
	}
	wait := idleTick
	if q.stopped.Load() != nil {
		wait = closePoll
	}
	q.busy.finish()
	if err := q.io.receive(min(len(b.Frames), batch), wait); err != nil {
		q.leave()
		return err
	}
	q.fill(b)
	if b.N == 0 {
		over := q.over()
		q.leave()
		if over {
			q.Close()
			return io.EOF
		}
	}
	return nil
}

// over reports whether no more packets can arrive: the attachment was closed a while ago, and
// none waits for a verdict.
func (q *queue) over() bool {
	at := q.stopped.Load()
	if at == nil {
		return false
	}
	age := time.Since(*at)
	return age > linger && len(q.held) == 0 || age > lastHeld
}

// fill turns the messages received into frames.
func (q *queue) fill(b *packet.Batch) {
	t := time.Now()
	now := t.UnixNano()
	q.busy.begin(t)
	for i := range q.io.got {
		if !q.msg.parse(q.io.bufs.at(i)) {
			continue
		}
		if q.msg.errno != 0 {
			q.n.refused.Add(1)
			continue
		}
		if lost := q.msg.id - q.last - 1; lost != 0 && lost < 1<<31 {
			q.n.dropped.Add(uint64(lost))
		}
		q.last = q.msg.id
		q.marks[b.N] = q.msg.mark
		f := b.Add()
		f.Data, f.Wire, f.Stamp, f.Slot = q.msg.data, q.msg.wire, now, uint64(q.msg.id)
		f.Endpoint, f.Flags, f.Link, f.SrcMAC = q.ep.ID, q.msg.flags, packet.RawIP, q.msg.mac
		switch {
		case q.loopback:
			f.Dir = q.own.direction(f.Data)
		case q.msg.hook == hookPre:
			f.Dir = packet.Ingress
		default:
			f.Dir = packet.Egress
		}
	}
	q.n.received.Add(uint64(b.N))
}

// Settle sends the verdicts, in one message where all are the same. It implements backend.Queue.
func (q *queue) Settle(b *packet.Batch) error {
	if b.N == 0 {
		return nil
	}
	defer q.leave()
	q.io.out.reset()
	frames := b.All()
	if v, same := q.same(frames); same {
		q.io.out.add(typeBatch, uint32(frames[len(frames)-1].Slot), v, 0)
		if v == verdictPass {
			q.n.sent.Add(uint64(len(frames)))
		}
		return q.io.write()
	}
	for i := range frames {
		f := &frames[i]
		id := uint32(f.Slot)
		v := q.verdict(f)
		if f.Verdict.Action == packet.Hold && len(q.held) < q.maxHeld {
			q.held[id] = struct{}{}
			continue
		}
		if v == verdictPass {
			q.n.sent.Add(1)
		}
		q.io.out.add(typeVerdict, id, v, q.mark(i, f))
	}
	return q.io.write()
}

// same reports whether one verdict serves all packets; held ones are older, and a verdict on
// many would include them.
func (q *queue) same(frames []packet.Frame) (v uint32, same bool) {
	if len(q.held) > 0 {
		return 0, false
	}
	v = q.verdict(&frames[0])
	for i := range frames {
		f := &frames[i]
		if f.Verdict.Action == packet.Hold || q.verdict(f) != v || q.mark(i, f) != 0 {
			return 0, false
		}
	}
	return v, true
}

// verdict returns the kernel's verdict for a frame's.
func (q *queue) verdict(f *packet.Frame) uint32 {
	switch {
	case f.Verdict.Action == packet.Pass, f.Verdict.Action == packet.Undecided && q.ep.Fail == backend.FailOpen:
		return verdictPass
	}
	return verdictDrop
}

// mark returns the mark that offloads a flow; 0 where it must not be offloaded, or where the
// packet has another program's mark.
func (q *queue) mark(i int, f *packet.Frame) uint32 {
	if f.Verdict.Mark == 0 || f.Verdict.Action != packet.Pass || q.marks[i] != 0 {
		return 0
	}
	return q.space.set.marks.mark(f.Verdict.Mark)
}

// Send forwards a held packet, or sends one of the engine's own. It implements
// backend.Sender.
func (q *queue) Send(f *packet.Frame) error {
	defer q.giveBack()
	if !q.borrow() {
		return fmt.Errorf("send on endpoint %d: %w", q.ep.ID, io.EOF)
	}
	if f.Flags&packet.Injected == 0 {
		if !q.decide(f, verdictPass) {
			q.n.sendDrop.Add(1)
			return fmt.Errorf("send on endpoint %d: packet is not held", q.ep.ID)
		}
		q.n.sent.Add(1)
		return nil
	}
	if again := q.resets.known(f.Data); again != nil {
		_ = q.inject.send(&packet.Frame{Data: again, Link: packet.RawIP}, int(q.index.Load()))
	}
	if err := q.inject.send(f, int(q.index.Load())); err != nil {
		q.n.sendDrop.Add(1)
		return fmt.Errorf("send on endpoint %d: %w", q.ep.ID, err)
	}
	q.n.sent.Add(1)
	return nil
}

// MaxHeld implements backend.Limited.
func (q *queue) MaxHeld() int { return q.maxHeld }

// Discard drops a held packet. It implements backend.Holder.
func (q *queue) Discard(f *packet.Frame) {
	defer q.giveBack()
	if q.borrow() {
		q.decide(f, verdictDrop)
	}
}

// decide sends the verdict on a held packet; it returns false if the packet is not held.
func (q *queue) decide(f *packet.Frame, v uint32) bool {
	id := uint32(f.Slot)
	if _, ok := q.held[id]; !ok {
		return false
	}
	delete(q.held, id)
	q.io.out.reset()
	q.io.out.add(typeVerdict, id, v, 0)
	return q.io.write() == nil
}

// Wake implements backend.Queue.
func (q *queue) Wake() {
	q.io.wake()
}

// stop ends the queue when it is empty.
func (q *queue) stop() {
	now := time.Now() // with its monotonic reading
	q.stopped.CompareAndSwap(nil, &now)
	q.Wake()
}

// Close implements backend.Queue.
func (q *queue) Close() error {
	q.Wake()
	q.gate.close()
	return nil
}

// takeDown releases everything; held packets follow the fail mode. The gate is closed.
func (q *queue) takeDown() {
	v := uint32(verdictDrop)
	if q.ep.Fail == backend.FailOpen {
		v = verdictPass
	}
	for id := range q.held {
		q.decide(&packet.Frame{Slot: uint64(id)}, v)
	}
	q.conns.close()
	num := q.io.src.num
	q.space.heart.remove(num)
	_ = q.space.unhook(num)
	q.space.free(num)
	_ = q.b.release(q.space)
	_ = q.io.src.close()
	q.inject.close()
	_ = q.io.bufs.free()
}
