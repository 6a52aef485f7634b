package afpacket

import "golang.org/x/sys/unix"

// receiver is one receive ring of a service port and its worker's position: head is the next
// slot to read, taken are those before it that have not been returned. A port has two, for
// small and for large frames, and one for those of BIG TCP where there are any, and each frame arrives in one of them: a slot for every frame
// that could be large would make a ring too short for many small ones.
type receiver struct {
	fd          int
	mem         ring
	slots       slots
	head, taken int
}

// ready reports whether the slot at head holds a frame.
func (r *receiver) ready() bool {
	return r.taken < r.slots.n && r.mem.status(r.slots.at(r.head)+v2Status)&unix.TP_STATUS_USER != 0
}

// stamp returns when the frame at head was received.
func (r *receiver) stamp() uint64 {
	off := r.slots.at(r.head)
	return uint64(r.mem.u32(off+v2Sec))*1e9 + uint64(r.mem.u32(off+v2Nsec))
}

// advance skips the frame at head.
func (r *receiver) advance() {
	r.taken++
	if r.head++; r.head == r.slots.n {
		r.head = 0
	}
}

// giveBack returns the taken slots to the kernel.
func (r *receiver) giveBack() {
	i := r.head - r.taken
	if i < 0 {
		i += r.slots.n
	}
	for ; r.taken > 0; r.taken-- {
		r.mem.setStatus(r.slots.at(i)+v2Status, unix.TP_STATUS_KERNEL)
		if i++; i == r.slots.n {
			i = 0
		}
	}
}

// first returns the ring whose next frame arrived first, nil when both are empty. Frames of
// one flow arrive in sequence: a reader that sees the later one and then checks again, sees
// the earlier one too.
func first(small, large *receiver) *receiver {
	s, l := small.ready(), large.ready()
	if l && !s {
		s = small.ready() // it may have arrived before the large one, but after the first check
	}
	switch {
	case s && l:
		if large.stamp() < small.stamp() {
			return large
		}
		return small
	case s:
		return small
	case l:
		return large
	}
	return nil
}
