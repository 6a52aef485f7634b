package session

import (
	"math/bits"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// The wheel has four levels of 64 slots: 8.4 ms, 0.54 s, 34 s and 37 min wide. A session is
// linked into the slot at or before its deadline; when the slot is due, a session whose
// deadline was moved later is linked again. Every step is counted against the budget of
// Expire, including the emptying of a coarse slot, so that a flood that filled one slot does
// not stall the worker when it is due.
const (
	tickBits = 23

	// Tick is how late a timer may fire, ns.
	Tick = 1 << tickBits

	levels   = 4
	slotBits = 6
	slots    = 1 << slotBits
	// reach is the farthest ahead that the wheel links a session; later deadlines are checked
	// then.
	reach = 1<<(levels*slotBits) - 1<<((levels-1)*slotBits)
)

type wheel struct {
	cur   int64 // the current tick: earlier ones are finished
	heads [levels * slots]uint32
	used  [levels]uint64 // a bit for each slot that is not empty
}

// tickUp returns the first tick that does not begin before ns.
func tickUp(ns int64) int64 { return (ns + 1<<tickBits - 1) >> tickBits }

// linkTimer adds s to the slot for its deadline.
func (t *Table) linkTimer(s *Session) {
	w := &t.wheel
	delta := int64(int32(s.deadline - uint32(w.cur)))
	delta = min(max(delta, 0), reach)
	at, level := w.cur+delta, 0
	if delta > 0 {
		level = (bits.Len64(uint64(delta)) - 1) / slotBits
	}
	i := int(at>>(level*slotBits)) & (slots - 1)
	s.slot = uint8(level<<slotBits | i)
	head := w.heads[s.slot]
	s.next, s.prev = head, 0
	if head != 0 {
		t.store.at(head).prev = s.ref
	}
	w.heads[s.slot] = s.ref
	w.used[level] |= 1 << i
}

// unlinkTimer removes s from its slot.
func (t *Table) unlinkTimer(s *Session) {
	w := &t.wheel
	if s.next != 0 {
		t.store.at(s.next).prev = s.prev
	}
	if s.prev != 0 {
		t.store.at(s.prev).next = s.next
		return
	}
	if w.heads[s.slot] = s.next; s.next == 0 {
		w.used[s.slot>>slotBits] &^= 1 << (s.slot & (slots - 1))
	}
}

// setDeadline writes the deadline, clamped to the range of a 32-bit tick.
func (t *Table) setDeadline(s *Session, deadline int64) {
	s.deadline = uint32(min(max(tickUp(deadline), t.wheel.cur), t.wheel.cur+1<<30))
}

// Schedule sets the time when Expire visits a session, ns since the epoch. Moving it later
// costs one store: the wheel notices when the old time comes.
func (t *Table) Schedule(s *Session, deadline int64) {
	was := s.deadline
	t.setDeadline(s, deadline)
	if int32(s.deadline-was) < 0 {
		t.unlinkTimer(s)
		t.linkTimer(s)
	}
}

// Expire visits sessions whose deadline has passed, and relinks others, at most budget
// together; it returns the number of both. A result of budget means that there may be more.
// fn returns until when a session is to be kept; if that is not after now, the session is
// deleted. fn must not delete or insert sessions itself.
func (t *Table) Expire(now int64, budget int, fn func(*Session) (keepUntil int64)) int {
	w := &t.wheel
	target := now >> tickBits
	work := 0
	for w.cur <= target {
		if t.n == 0 {
			w.cur = target + 1
			break
		}
		for level := levels - 1; level >= 0; level-- {
			shift := level * slotBits
			if w.cur&(1<<shift-1) != 0 {
				continue
			}
			slot := level<<slotBits | int(w.cur>>shift)&(slots-1)
			if work += t.drain(slot, now, budget-work, fn); work >= budget && w.heads[slot] != 0 {
				return work
			}
		}
		w.cur = min(w.nextTick(), target+1)
	}
	return work
}

// nextTick returns the next tick at which a slot of any level that is not empty is due; far
// ahead if there is none. Empty stretches are skipped, so that a clock jump costs nothing.
func (w *wheel) nextTick() int64 {
	next := int64(1<<63 - 1)
	for level := range levels {
		shift := level * slotBits
		at := w.cur >> shift
		if later := bits.RotateLeft64(w.used[level], -int(at&(slots-1))-1); later != 0 {
			next = min(next, (at+1+int64(bits.TrailingZeros64(later)))<<shift)
		}
	}
	return next
}

// drain empties a slot that is due.
func (t *Table) drain(slot int, now int64, budget int, fn func(*Session) int64) (work int) {
	w := &t.wheel
	for work < budget {
		ref := w.heads[slot]
		if ref == 0 {
			break
		}
		work++
		s := t.store.at(ref)
		if int32(s.deadline-uint32(w.cur)) <= 0 {
			keep := fn(s)
			if keep <= now {
				t.Delete(s)
				continue
			}
			t.unlinkTimer(s)
			t.setDeadline(s, keep)
		} else {
			t.unlinkTimer(s)
		}
		t.linkTimer(s)
	}
	return work
}

// evictIdle is how long an open session must be idle before it may be evicted for another,
// ns.
const evictIdle = 60e9

// evictWork bounds the sessions that one eviction examines.
const evictWork = 256

// cheap reports whether s is evicted first: it is closed, refused, half open, or one-sided.
func (s *Session) cheap() bool {
	switch {
	case s.State.Over(), s.State == flow.PhaseOpening, s.Flags&Denied != 0:
		return true
	// A tunnel's session is answered by another one (app.ID.OneWay): it is as cheap to forge.
	case s.State == flow.NoPhase && (s.Flags&Answered == 0 || s.Packets[1] == 0 || s.Key.Proto == packet.ProtoICMP || s.Key.Proto == packet.ProtoICMPv6):
		return true
	}
	return false
}

// idle reports whether s may be evicted because it is long idle.
func (s *Session) idle(now int64) bool { return now-s.Last > evictIdle }

// evict deletes the first cheap session among those due soonest: refused and closed ones, then
// the oldest half-open ones; or an idle one of the workload that needs room, never of another.
// Sessions whose deadline was moved are relinked on the way, so that a later call gets further.
func (t *Table) evict(workload uint32, now int64) bool {
	w := &t.wheel
	work := 0
	for level := range levels {
		first := int(w.cur>>(level*slotBits)) & (slots - 1)
		if level > 0 {
			first++ // the current slot of a coarse level is due only a whole turn later
		}
		for used := bits.RotateLeft64(w.used[level], -first); used != 0 && work < evictWork; used &= used - 1 {
			i := (first + bits.TrailingZeros64(used)) & (slots - 1)
			for ref := w.heads[level<<slotBits|i]; ref != 0 && work < evictWork; work++ {
				s := t.store.at(ref)
				ref = s.next
				if s.cheap() || s.Key.Workload == workload && s.idle(now) {
					discard(t, s)
					return true
				}
				t.unlinkTimer(s)
				t.linkTimer(s)
			}
		}
	}
	return false
}
