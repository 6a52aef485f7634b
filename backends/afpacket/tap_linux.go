package afpacket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// tap is a queue that receives copies of one interface's frames. Waiting is done by the
// runtime's poller, so that a tap costs a goroutine and no thread.
//
// Frames for other stations (a bridge floods them, or the interface is promiscuous) are
// skipped: they are not the workload's.
type tap struct {
	gate
	endpoint uint32
	link     packet.LinkType
	mtu      uint32
	index    int
	retire   time.Duration
	cfg      Config
	ep       backend.Endpoint

	wait func(fd uintptr) bool // bound once: no closure per wait
	// sock is the socket being read. Only the worker replaces it, by next, which resize creates.
	sock, next atomic.Pointer[tapSocket]
	turn       turn           // the worker's own
	resizing   sync.WaitGroup // Add holds gate.mu while the gate is open

	// Used by the worker only.
	asked bool // wait has looked once
	idle  int  // ticks without a frame
	gone  bool // the interface no longer exists

	woken    atomic.Bool
	bound    atomic.Bool               // Activate has bound the socket to its interface
	stopped  atomic.Pointer[time.Time] // when the attachment was closed; nil while it is not
	received atomic.Uint64
	dropped  atomic.Uint64
}

var (
	_ backend.Queue    = (*tap)(nil)
	_ backend.Counter  = (*tap)(nil)
	_ backend.Buffered = (*tap)(nil)
)

// Recv delivers the frames of full or retired blocks. It implements backend.Queue.
func (t *tap) Recv(b *packet.Batch) error {
	b.Reset()
	if !t.enter() {
		return io.EOF
	}
	t.change()
	t.fill(b)
	if b.N == 0 {
		if t.ended() {
			t.leave()
			t.Close()
			return io.EOF
		}
		if err := t.block(); err != nil {
			t.leave()
			return err
		}
		t.fill(b)
	}
	if b.N > 0 {
		t.idle = 0
		t.received.Add(uint64(b.N))
		return nil
	}
	t.sock.Load().giveBack()
	t.leave()
	return nil
}

// ended reports whether no more frames can arrive: the interface is gone or the attachment
// was closed long enough ago for the last block to have been retired.
func (t *tap) ended() bool {
	if t.gone || t.turn.cut != 0 {
		return t.gone // or the other socket must still be read
	}
	at := t.stopped.Load()
	return at != nil && time.Since(*at) > 2*t.retire+10*time.Millisecond
}

// block waits for a block, Wake or a tick.
func (t *tap) block() error {
	d := tick
	switch {
	case t.turn.cut != 0:
		d = time.Millisecond
	case t.stopped.Load() != nil:
		d = t.retire
	case t.idle >= idleAfter:
		d = idleTick
	}
	s := t.sock.Load()
	if err := s.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return t.waitError(err)
	}
	// After the deadline is set: a Wake before it had its own overwritten.
	if t.woken.Swap(false) {
		return nil
	}
	t.asked = false
	err := s.conn.Read(t.wait)
	t.woken.Store(false)
	switch {
	case err == nil:
		if !s.ready() {
			t.checkLink()
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.idle++
		// Going down wakes the socket, being deleted afterwards does not.
		t.checkLink()
	default:
		return t.waitError(err)
	}
	return nil
}

func (t *tap) waitError(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return io.EOF
	}
	return fmt.Errorf("wait for tap of endpoint %d: %w", t.endpoint, err)
}

// readable is the poller's callback: it is satisfied by a block or, when called again, by
// whatever made the socket readable (an error of the interface).
func (t *tap) readable(uintptr) bool {
	again := t.asked
	t.asked = true
	return again || t.sock.Load().ready()
}

// Waiting reports whether the block being filled by the kernel has frames. It implements
// backend.Buffered.
func (t *tap) Waiting() bool {
	if !t.enter() {
		return false
	}
	defer t.leave()
	for _, s := range []*tapSocket{t.sock.Load(), t.next.Load()} {
		if s != nil && (s.left > 0 || s.ring.u32(s.cur*s.blockSize+blockPackets) > 0) {
			return true
		}
	}
	return false
}

// checkLink clears a pending error of the socket. An interface that is down may come back;
// one that was deleted leaves the socket without a number.
func (t *tap) checkLink() {
	_ = t.sock.Load().conn.Control(func(fd uintptr) {
		_, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		sa, err := unix.Getsockname(int(fd))
		if ll, ok := sa.(*unix.SockaddrLinklayer); err == nil && ok {
			t.gone = t.bound.Load() && ll.Ifindex != t.index
		}
	})
}

// fill adds frames until the batch or half of the ring is full.
func (t *tap) fill(b *packet.Batch) {
	s := t.sock.Load()
	for !b.Full() && s.done < (s.blocks+1)/2 && s.ready() {
		if s.left == 0 {
			s.begin()
		}
		for s.left > 0 && !b.Full() {
			t.add(b, s.ring, s.at)
			s.at += int(s.ring.u32(s.at + v3Next))
			s.left--
		}
		if s.left == 0 {
			s.done++
			s.cur = (s.cur + 1) % s.blocks
		}
	}
}

// add fills in a frame from the header at off.
func (t *tap) add(b *packet.Batch, r ring, off int) {
	stamp := int64(r.u32(off+v3Sec))*1e9 + int64(r.u32(off+v3Nsec))
	if t.turn.skips(stamp) {
		return
	}
	dir := packet.Ingress
	switch r[off+v3Addr+addrPkttype] {
	case unix.PACKET_OUTGOING:
		dir = packet.Egress
	case unix.PACKET_OTHERHOST:
		return
	}
	f := b.Add()
	start := off + int(r.u16(off+v3Mac))
	n := int(r.u32(off + v3Snaplen))
	status := r.u32(off + v3Status)
	f.Data = r[start : start+n : start+n]
	f.Stamp = stamp
	f.Wire = r.u32(off + v3Len)
	f.Endpoint, f.Dir, f.Link = t.endpoint, dir, t.link
	if status&unix.TP_STATUS_CSUMNOTREADY != 0 {
		f.Flags |= packet.PartialChecksum
	}
	if status&unix.TP_STATUS_CSUM_VALID != 0 {
		f.Flags |= packet.ChecksumValid
	}
	if status&unix.TP_STATUS_GSO_TCP != 0 || f.Wire > t.mtu+18 {
		f.Flags |= packet.GSO
	}
	if f.Wire > uint32(n) {
		f.Flags |= packet.Truncated
	}
	if status&unix.TP_STATUS_VLAN_VALID != 0 {
		f.Flags |= packet.VLANStripped
		f.VLAN = uint16(r.u32(off + v3VlanTCI))
		f.VLANProto = unix.ETH_P_8021Q
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			f.VLANProto = r.u16(off + v3VlanProto)
		}
	}
}

// Settle returns the blocks; verdicts have no effect here. It implements backend.Queue.
func (t *tap) Settle(b *packet.Batch) error {
	if b.N == 0 {
		return nil
	}
	b.Reset()
	t.sock.Load().giveBack()
	t.leave()
	return nil
}

// Wake ends a wait. It implements backend.Queue.
func (t *tap) Wake() {
	t.woken.Store(true)
	_ = t.sock.Load().file.SetReadDeadline(time.Unix(1, 0))
}

// Close ends the capture; the ring is released when the worker no longer uses it. It
// implements backend.Queue.
func (t *tap) Close() error {
	if t.gate.close() {
		t.Wake()
	}
	t.resizing.Wait()
	return nil
}

// free is called by the gate.
func (t *tap) free() {
	t.countDrops()
	for _, s := range []*tapSocket{t.sock.Load(), t.next.Swap(nil)} {
		if s != nil {
			s.close()
		}
	}
}

// Stats implements backend.Counter.
func (t *tap) Stats() backend.Stats {
	t.whileOpen(t.countDrops)
	return backend.Stats{Received: t.received.Load(), Dropped: t.dropped.Load()}
}

// countDrops adds the kernel's counts since the last query. The losses of the previous
// socket, when there is a next one, are in that one's ring.
func (t *tap) countDrops() {
	s := t.next.Load()
	if s == nil {
		s = t.sock.Load()
	}
	t.dropped.Add(s.drops())
}
