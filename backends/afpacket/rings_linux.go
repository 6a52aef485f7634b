package afpacket

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// rings are the receive rings of a service port. The worker uses them.
type rings struct {
	// The TX ring, for small frames, is on the socket and in the memory of small; the socket
	// of large sends large ones.
	small, large receiver
	jumbo        receiver    // without a ring until there are frames of BIG TCP
	grown        bool        // grow was called
	big          atomic.Bool // an attached interface has BIG TCP
}

// holds reports whether slots were taken, even for frames that are not delivered.
func (r *rings) holds() bool { return r.small.taken > 0 || r.large.taken > 0 || r.jumbo.taken > 0 }

// giveBack returns the taken slots to the kernel.
func (r *rings) giveBack() {
	r.small.giveBack()
	r.large.giveBack()
	r.jumbo.giveBack()
}

// clearErrors clears the error of a port that was down, which the next frame would return.
func (r *rings) clearErrors() {
	for _, fd := range []int{r.small.fd, r.large.fd, r.jumbo.fd} {
		_, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	}
}

// drops returns the number of frames that the kernel dropped since the last call.
func (r *rings) drops() (n uint64) {
	for _, fd := range []int{r.small.fd, r.large.fd, r.jumbo.fd} {
		if s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			n += uint64(s.Drops)
		}
	}
	return n
}

// openJumbo opens the socket of the ring for frames of BIG TCP. It receives nothing, and has no ring,
// until grow is called.
func (r *rings) openJumbo() error {
	r.jumbo.slots = slotsFor(0, jumboSlots, jumboSlot)
	x := receiver{fd: -1}
	err := x.open(slots{}, 1, 0)
	r.jumbo.fd = x.fd
	return err
}

// grow makes the ring for frames of BIG TCP, which most hosts do not have. Without memory for it
// they are counted as too large. Only the worker calls it.
func (r *rings) grow() {
	r.grown = true
	if r.jumbo.makeRings(slots{}) == nil && takeFrames(r.large.fd, smallFrame, maxFrame) == nil {
		_ = takeFrames(r.jumbo.fd, maxFrame, 1<<20)
	}
}

// next returns the ring whose next frame arrived first, nil when all are empty.
func (r *rings) next() *receiver {
	x := first(&r.small, &r.large)
	if r.jumbo.mem == nil || !r.jumbo.ready() {
		return x
	}
	if x == nil {
		x = first(&r.small, &r.large) // it may have arrived before the jumbo one, but after the first check
	}
	if x == nil || r.jumbo.stamp() < x.stamp() {
		return &r.jumbo
	}
	return x
}
