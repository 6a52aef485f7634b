package afpacket

import (
	"fmt"
	"testing"
)

// put writes a frame's header into the next free slot.
func (r *receiver) put(slot int, stamp uint32) {
	off := r.slots.at(slot)
	r.mem.setU32(off+v2Nsec, stamp)
	r.mem.setStatus(off+v2Status, 1) // TP_STATUS_USER
}

// TestFirst reads two rings in the order of arrival, across their ends, and returns the
// slots.
func TestFirst(t *testing.T) {
	small := &receiver{mem: make(ring, slotBlock), slots: slotsFor(0, 1, smallSlot)}
	large := &receiver{mem: make(ring, slotBlock), slots: slotsFor(0, 1, largeSlot)}
	for name, c := range map[string]struct{ small, large []uint32 }{
		"nothing":   {},
		"small":     {small: []uint32{1, 2}},
		"large":     {large: []uint32{1, 2}},
		"mixed":     {small: []uint32{1, 4, 5}, large: []uint32{2, 3, 6}},
		"same time": {small: []uint32{1, 1}, large: []uint32{1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []*receiver{small, large} {
				r.head = r.slots.n - 1
			}
			want := len(c.small) + len(c.large)
			for i, s := range c.small {
				small.put((small.head+i)%small.slots.n, s)
			}
			for i, s := range c.large {
				large.put((large.head+i)%large.slots.n, s)
			}
			var got []uint64
			for r := first(small, large); r != nil; r = first(small, large) {
				got = append(got, r.stamp())
				r.advance()
			}
			for i := 1; i < len(got); i++ {
				if got[i] < got[i-1] {
					t.Errorf("got order %v", got)
				}
			}
			if len(got) != want || small.taken != len(c.small) || large.taken != len(c.large) {
				t.Errorf("got %d frames, %d and %d taken, want %d, %d and %d", len(got), small.taken, large.taken, want, len(c.small), len(c.large))
			}
			small.giveBack()
			large.giveBack()
			if first(small, large) != nil || small.taken+large.taken != 0 {
				t.Error("slots that were given back hold frames")
			}
		})
	}
}

func TestSlots(t *testing.T) {
	for _, c := range []struct{ n, size, want int }{{0, smallSlot, 496}, {497, smallSlot, 992}, {1, largeSlot, 15}, {16, largeSlot, 30}} {
		t.Run(fmt.Sprint(c.n, " of ", c.size), func(t *testing.T) {
			s := slotsFor(slotBlock, c.n, c.size)
			if s.n != c.want {
				t.Errorf("got %d slots, want %d", s.n, c.want)
			}
			if end := s.at(s.n-1) + s.size; end > slotBlock+s.bytes() {
				t.Errorf("the last slot ends at %d, behind the ring's end %d", end, slotBlock+s.bytes())
			}
			for i := range s.n {
				if at := s.at(i); at/slotBlock != (at+s.size-1)/slotBlock {
					t.Fatalf("slot %d crosses a block", i)
				}
			}
		})
	}
}
