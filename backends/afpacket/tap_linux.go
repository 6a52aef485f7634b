package afpacket

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// tap receives copies of one interface's frames for its group. A goroutine waits for its socket by
// the runtime's poller, so that a tap costs no thread.
//
// Frames for other stations (a bridge floods them, or the interface is promiscuous) are
// skipped: they are not the workload's.
type tap struct {
	gate
	group    *tapGroup
	endpoint uint32
	link     packet.LinkType
	mtu      uint32
	index    int
	retire   time.Duration
	cfg      Config
	ep       backend.Endpoint

	// sock is the socket being read. Only the worker replaces it, by next, which resize creates.
	sock, next atomic.Pointer[tapSocket]
	turn       turn           // the worker's own
	resizing   sync.WaitGroup // Add holds gate.mu while the gate is open

	// Used by the worker only.
	idle int  // ticks without a frame
	gone bool // the interface no longer exists

	signalled atomic.Bool               // the socket became readable, or has an error
	bound     atomic.Bool               // Activate has bound the socket to its interface
	stopped   atomic.Pointer[time.Time] // when the attachment was closed; nil while it is not
	received  atomic.Uint64
	dropped   atomic.Uint64
}

// signal wakes the worker for the socket.
func (t *tap) signal() {
	t.signalled.Store(true)
	t.group.Wake()
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

// tick returns how long the worker may wait without a look at the tap.
func (t *tap) tick() time.Duration {
	switch {
	case t.turn.cut != 0:
		return time.Millisecond
	case t.stopped.Load() != nil:
		return t.retire
	case t.idle >= idleAfter:
		return idleTick
	}
	return tick
}

// waiting reports whether the ring has frames that were not received yet, including those of the
// block being filled by the kernel.
func (t *tap) waiting() bool {
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

// ringState is what the worker finds in a tap's ring.
type ringState uint8

// States.
const (
	ringEmpty   ringState = iota // no frame arrived until now
	ringPending                  // the kernel has not handed over the block that has the next frames
	ringReady                    // the next frame can be taken
	ringTaken                    // half of the ring was taken in this batch
)

// peek returns the state of the ring, and the stamp of the frame that is ready.
func (t *tap) peek() (stamp int64, state ringState) {
	s := t.sock.Load()
	switch {
	case s.done >= (s.blocks+1)/2:
		return 0, ringTaken
	case s.ready():
		if s.left == 0 {
			s.begin()
		}
		if s.left == 0 {
			return 0, ringReady // an empty block, for takeFrame to skip
		}
		return s.stamp(), ringReady
	case s.filling():
		return 0, ringPending
	}
	return 0, ringEmpty
}

// takeFrame adds the next frame, which is ready.
func (t *tap) takeFrame(b *packet.Batch) {
	s := t.sock.Load()
	if s.left > 0 {
		t.add(b, s.ring, s.at)
		s.at += int(s.ring.u32(s.at + v3Next))
		s.left--
	}
	if s.left == 0 {
		s.done++
		s.cur = (s.cur + 1) % s.blocks
	}
}

// fill adds frames until the batch or half of the ring is full.
func (t *tap) fill(b *packet.Batch) {
	for !b.Full() {
		if _, state := t.peek(); state != ringReady {
			return
		}
		t.takeFrame(b)
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
	t.idle = 0
	t.received.Add(1)
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

// Close ends the capture; the ring is released when the worker no longer uses it.
func (t *tap) Close() {
	if t.gate.close() {
		t.group.Wake()
	}
	t.resizing.Wait()
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

// Stats returns the counters.
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
