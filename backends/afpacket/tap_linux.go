package afpacket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// tap is a queue that sees copies of one interface's frames. Waiting is done by
// the runtime's poller, so that a tap costs a goroutine and no thread.
//
// Frames for other stations (a bridge floods them, or somebody made the interface
// promiscuous) are skipped: they are not the workload's.
type tap struct {
	gate
	endpoint uint32
	link     packet.LinkType
	mtu      uint32
	index    int
	retire   time.Duration

	file *os.File
	conn syscall.RawConn
	wait func(fd uintptr) bool // bound once: no closure per wait

	ring      ring
	blockSize int
	blocks    int

	// The worker's own. cur is the block being read, at the offset of its next
	// frame and left the frames that it still holds; done blocks before it are
	// given back by Settle.
	cur, at, left, done int
	asked               bool // wait has looked once
	idle                int  // ticks without a frame
	gone                bool // the interface is no more

	woken    atomic.Bool
	bound    atomic.Bool  // Activate has given the socket its interface
	stopped  atomic.Int64 // when the attachment was closed, ns; 0 while it is not
	received atomic.Uint64
	dropped  atomic.Uint64
}

var (
	_ backend.Queue    = (*tap)(nil)
	_ backend.Counter  = (*tap)(nil)
	_ backend.Buffered = (*tap)(nil)
)

// Recv hands out what full or retired blocks hold. It implements backend.Queue.
func (t *tap) Recv(b *packet.Batch) error {
	b.Reset()
	if !t.enter() {
		return io.EOF
	}
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
	t.giveBack()
	t.leave()
	return nil
}

// ended says whether nothing more can come: the interface is gone or the attachment
// was closed long enough ago for the last block to have been retired.
func (t *tap) ended() bool {
	if t.gone {
		return true
	}
	at := t.stopped.Load()
	return at != 0 && time.Since(time.Unix(0, at)) > 2*t.retire+10*time.Millisecond
}

// block waits for a block, Wake or a tick.
func (t *tap) block() error {
	d := tick
	switch {
	case t.stopped.Load() != 0:
		d = t.retire
	case t.idle >= idleAfter:
		d = idleTick
	}
	if err := t.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return t.waitError(err)
	}
	// After the deadline is set: a Wake before it had its own overwritten.
	if t.woken.Swap(false) {
		return nil
	}
	t.asked = false
	err := t.conn.Read(t.wait)
	t.woken.Store(false)
	switch {
	case err == nil:
		if !t.ready() {
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

// readable is what the poller asks: it is satisfied by a block or, on being asked
// again, by whatever made the socket readable (an error of the interface).
func (t *tap) readable(uintptr) bool {
	again := t.asked
	t.asked = true
	return again || t.ready()
}

// ready says whether the kernel has handed a block over.
func (t *tap) ready() bool {
	return t.left > 0 || t.ring.status(t.cur*t.blockSize+blockStatus)&unix.TP_STATUS_USER != 0
}

// Waiting says whether the block that the kernel fills has frames. It implements backend.Buffered.
func (t *tap) Waiting() bool {
	if !t.enter() {
		return false
	}
	defer t.leave()
	return t.left > 0 || t.ring.u32(t.cur*t.blockSize+blockPackets) > 0
}

// checkLink takes a pending error off the socket. An interface that is
// down may come back; one that was deleted leaves the socket without a number.
func (t *tap) checkLink() {
	_ = t.conn.Control(func(fd uintptr) {
		_, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		sa, err := unix.Getsockname(int(fd))
		if ll, ok := sa.(*unix.SockaddrLinklayer); err == nil && ok {
			t.gone = t.bound.Load() && ll.Ifindex != t.index
		}
	})
}

// fill adds frames until the batch or half of the ring is full.
func (t *tap) fill(b *packet.Batch) {
	for !b.Full() && t.done < (t.blocks+1)/2 && t.ready() {
		base := t.cur * t.blockSize
		if t.left == 0 {
			t.left = int(t.ring.u32(base + blockPackets))
			t.at = base + int(t.ring.u32(base+blockFirst))
		}
		for t.left > 0 && !b.Full() {
			t.add(b, t.at)
			t.at += int(t.ring.u32(t.at + v3Next))
			t.left--
		}
		if t.left == 0 {
			t.done++
			t.cur = (t.cur + 1) % t.blocks
		}
	}
}

// add fills in a frame from the header at off.
func (t *tap) add(b *packet.Batch, off int) {
	r := t.ring
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
	f.Stamp = int64(r.u32(off+v3Sec))*1e9 + int64(r.u32(off+v3Nsec))
	f.Wire = r.u32(off + v3Len)
	f.Endpoint, f.Dir, f.Link = t.endpoint, dir, t.link
	if status&unix.TP_STATUS_CSUMNOTREADY != 0 {
		f.Flags |= packet.PartialChecksum
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

// Settle gives the blocks back; verdicts mean nothing here. It implements backend.Queue.
func (t *tap) Settle(b *packet.Batch) error {
	if b.N == 0 {
		return nil
	}
	b.Reset()
	t.giveBack()
	t.leave()
	return nil
}

// giveBack hands the blocks that were read to the kernel.
func (t *tap) giveBack() {
	for ; t.done > 0; t.done-- {
		i := (t.cur - t.done + t.blocks) % t.blocks
		t.ring.setStatus(i*t.blockSize+blockStatus, unix.TP_STATUS_KERNEL)
	}
}

// Wake ends a wait. It implements backend.Queue.
func (t *tap) Wake() {
	t.woken.Store(true)
	_ = t.file.SetReadDeadline(time.Unix(1, 0))
}

// Close ends the capture; the ring goes when the worker has let go of it.
// It implements backend.Queue.
func (t *tap) Close() error {
	if t.gate.close() {
		t.Wake()
	}
	return nil
}

// free is called by the gate.
func (t *tap) free() {
	t.countDrops()
	_ = unix.Munmap(t.ring)
	t.ring = nil
	_ = t.file.Close()
}

// Stats implements backend.Counter.
func (t *tap) Stats() backend.Stats {
	t.whileOpen(t.countDrops)
	return backend.Stats{Received: t.received.Load(), Dropped: t.dropped.Load()}
}

// countDrops adds what the kernel counted since it was last asked.
func (t *tap) countDrops() {
	_ = t.conn.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			t.dropped.Add(uint64(s.Drops))
		}
	})
}
