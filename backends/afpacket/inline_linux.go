package afpacket

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// ErrPortLost reports that the service port was removed. Its frames follow the fail mode
// until the endpoints are attached again.
var ErrPortLost = errors.New("service port is gone")

// inline is the queue of a service port.
type inline struct {
	gate
	transmitter
	pulse pulse
	event int
	index atomic.Int64 // of the engine's end

	// Used by the worker only.
	brief bool // the last wait was a short one
	bulk  bool // the last batch had large frames
	spins bool // there is another processor for the senders
	quiet int  // empty polls while draining
	polls [4]unix.PollFd

	draining  atomic.Bool
	lost      atomic.Bool // the port was removed, and cannot be created again
	unbound   func() bool // requests a check of the port, and reports whether there will be one
	drained   chan struct{}
	drainOnce sync.Once

	received, oversize, unknown, dropped atomic.Uint64
}

var (
	_ backend.Queue   = (*inline)(nil)
	_ backend.Sender  = (*inline)(nil)
	_ backend.Counter = (*inline)(nil)
)

// Recv receives the frames in the ring, with the workload's own addresses. It implements
// backend.Queue.
func (q *inline) Recv(b *packet.Batch) error {
	b.Reset()
	if !q.enter() {
		return io.EOF
	}
	if q.lost.Load() {
		q.leave()
		q.Close()
		return io.EOF
	}
	q.pulse.beat()
	q.kick()
	if !q.grown && q.big.Load() {
		q.rings.grow()
	}
	q.fill(b)
	if !q.holds() {
		if err := q.wait(); err != nil {
			q.leave()
			return err
		}
		q.fill(b)
	}
	if b.N > 0 {
		q.received.Add(uint64(b.N))
		return nil
	}
	return q.nothing()
}

// nothing ends a Recv without frames, and the queue when it has been drained.
func (q *inline) nothing() error {
	looked := !q.holds()
	if looked {
		q.pulse.out = loadU64(q.pulse.control, pulseIn) // without what the kernel lost
	}
	q.giveBack()
	ended := false
	if q.draining.Load() && looked {
		q.quiet++
		ended = q.quiet > 2
	}
	q.leave()
	if ended {
		q.Close()
		q.drainOnce.Do(func() { close(q.drained) })
		return io.EOF
	}
	return nil
}

// After a short wait that followed small frames (requests and answers), the worker polls the
// rings for spinFor before it sleeps: a wake-up takes longer than that, and costs the waker
// too. Bulk data does not benefit, and rare frames are not worth it.
const (
	spinFor = 10 * time.Microsecond
	brief   = 50 * time.Microsecond
)

// wait waits for a frame, Wake or a tick.
func (q *inline) wait() error {
	begin := time.Now()
	if q.brief && !q.bulk && q.spin(begin) {
		return nil
	}
	err := q.block()
	q.brief = q.spins && time.Since(begin) < brief
	return err
}

// spin reports whether a frame arrived while polling.
func (q *inline) spin(begin time.Time) bool {
	for time.Since(begin) < spinFor {
		for range 16 {
			if q.small.ready() || q.large.ready() {
				return true
			}
		}
	}
	return false
}

// block waits for a frame, Wake or a tick.
func (q *inline) block() error {
	wait := int(tick / time.Millisecond)
	if q.draining.Load() {
		wait = 10
	}
	if q.unsent {
		q.push()
		wait = 1
	}
	q.polls = [4]unix.PollFd{
		{Fd: int32(q.small.fd), Events: unix.POLLIN}, {Fd: int32(q.large.fd), Events: unix.POLLIN},
		{Fd: int32(q.event), Events: unix.POLLIN}, {Fd: int32(q.jumbo.fd), Events: unix.POLLIN},
	}
	ready, err := unix.Poll(q.polls[:], wait)
	if err != nil && err != unix.EINTR {
		return fmt.Errorf("wait for service port: %w", err)
	}
	if q.polls[2].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(q.event, b[:])
	}
	q.pulse.beat()
	// The sockets report that the port went down, but not that it was deleted.
	if ready == 0 || (q.polls[0].Revents|q.polls[1].Revents|q.polls[3].Revents)&^unix.POLLIN != 0 {
		return q.checkPort()
	}
	return nil
}

// checkPort clears the sockets' errors and checks whether the port still exists. Otherwise it is
// to be created again.
func (q *inline) checkPort() error {
	q.clearErrors()
	sa, err := unix.Getsockname(q.small.fd)
	if ll, ok := sa.(*unix.SockaddrLinklayer); err != nil || !ok || ll.Ifindex > 0 {
		return nil
	}
	if !q.isOpen() {
		return nil // the backend closes it; the next Recv reports it
	}
	if !q.lost.Load() && q.unbound() {
		return nil
	}
	q.lost.Store(true)
	storeU64(q.pulse.control, pulseBeat, 0) // the fail mode applies from now on
	return ErrPortLost
}

// fill adds the frames in the rings, in order, as far as the batch has room.
func (q *inline) fill(b *packet.Batch) {
	eps := q.endpoints.all()
	for !b.Full() {
		r := q.next()
		if r == nil {
			return
		}
		q.takeFrame(b, r, eps)
		q.pulse.out++
		if r != &q.small {
			q.pulse.out += largeWeight - 1
		}
		r.advance()
	}
}

// takeFrame adds the next frame of a ring, with its address restored.
func (q *inline) takeFrame(b *packet.Batch, from *receiver, eps map[uint32]known) {
	r, off := from.mem, from.slots.at(from.head)
	status := r.u32(off + v2Status)
	start, n, wire := off+int(r.u16(off+v2Mac)), int(r.u32(off+v2Snaplen)), r.u32(off+v2Len)
	if n < 14 || wire > uint32(n) {
		q.tooLarge(r[start:start+n], wire, status, r.u16(off+v2VlanTCI), eps)
		return
	}
	data := r[start : start+n : start+n]
	w := tagOf(data, status, r.u16(off+v2VlanTCI))
	ep, ok := eps[w.id]
	if !ok {
		q.unknown.Add(1)
		return
	}
	f := b.Add()
	f.VNet = packet.VNet(r[start-vnetLen : start])
	f.Slot = uint64(from.head)
	if from == &q.jumbo {
		f.Slot |= jumbo
	}
	if w.apart {
		data = withoutTag(data, &f.VNet)
		wire = uint32(len(data))
		status &^= unix.TP_STATUS_VLAN_VALID
		f.Slot |= apart
	} else {
		copy(data[w.at:], ep.mac[:])
	}
	f.Data, f.Wire, f.Endpoint, f.Dir = data, wire, w.id, w.dir
	f.Stamp = int64(r.u32(off+v2Sec))*1e9 + int64(r.u32(off+v2Nsec))
	if w.dir == packet.Egress {
		f.PathMTU = ep.path.of()
	}
	if f.VNet[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
		f.Flags |= packet.PartialChecksum
	}
	if f.VNet[0]&unix.VIRTIO_NET_HDR_F_DATA_VALID != 0 {
		f.Flags |= packet.ChecksumValid
	}
	if f.VNet[1] != unix.VIRTIO_NET_HDR_GSO_NONE {
		f.Flags |= packet.GSO
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		f.Flags |= packet.VLANStripped
		f.VLAN, f.VLANProto = r.u16(off+v2VlanTCI), unix.ETH_P_8021Q
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			f.VLANProto = r.u16(off + v2VlanProto)
		}
	}
}

// Settle sends the passed frames and returns the slots. It implements backend.Queue.
func (q *inline) Settle(b *packet.Batch) error {
	if b.N == 0 {
		return nil
	}
	frames := b.All()
	for i := range frames {
		f := &frames[i]
		if f.Verdict.Action == packet.Pass || f.Verdict.Action == packet.Undecided && q.endpoints.get(f.Endpoint).open {
			q.pass(f)
		}
	}
	q.kick()
	b.Reset()
	q.giveBack()
	q.leave()
	return nil
}

// giveBack returns the taken slots to the kernel.
func (q *inline) giveBack() {
	q.bulk = q.large.taken+q.jumbo.taken > 0
	q.rings.giveBack()
	storeU64(q.pulse.control, pulseOut, q.pulse.out) // the steering programs derive how full the rings are
}

// Wake ends a wait. It implements backend.Queue.
func (q *inline) Wake() {
	q.whileOpen(func() {
		one := [8]byte{0: 1}
		_, _ = unix.Write(q.event, one[:])
	})
}

// drain makes Recv return io.EOF once the ring is empty.
func (q *inline) drain() {
	q.draining.Store(true)
	q.Wake()
}

// Close ends the queue; its memory is released when the worker no longer uses it. It
// implements backend.Queue.
func (q *inline) Close() error {
	q.Wake()
	q.gate.close()
	return nil
}

// Stats implements backend.Counter.
func (q *inline) Stats() backend.Stats {
	q.whileOpen(func() { q.dropped.Add(q.rings.drops()) })
	return backend.Stats{
		Received: q.received.Load(), Dropped: q.dropped.Load(), Sent: q.sent.Load(),
		SendDrop: q.sendDrop.Load(), Oversize: q.oversize.Load(),
	}
}
