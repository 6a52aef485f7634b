package hold

import "bytes"

// Match is how a segment compares with the held ones of its session.
type Match uint8

// Matches.
const (
	// New: it has bytes that are not held.
	New Match = iota
	// Known: all of its bytes are held already.
	Known
	// Conflict: it repeats held bytes with other values. Which of them a receiver would use
	// depends on its kernel, so that only one of them may be held.
	Conflict
)

// passes bounds the work of Compare: one is enough for segments held in order of their
// numbers. A repetition that is not recognised is held once more.
const passes = 4

// Compare compares the payload of a segment with the held ones of its session and direction.
// seg is its place, and payload as much of it as the frame holds.
func (r *Room) Compare(n uint32, seg Piece, payload []byte) Match {
	if r.Len(n) == 0 {
		return New
	}
	dir, seq, wire := seg.Dir, seg.Seq, int(seg.End-seg.Seq)
	q := &r.queues[n]
	for i := range q.pieces {
		if q.pieces[i].Stream && q.pieces[i].Dir == dir && q.differs(i, seg, payload) {
			return Conflict
		}
	}
	found := 0 // bytes from the beginning of the payload on that are held
	for range passes {
		before := found
		for i := range q.pieces {
			p := &q.pieces[i]
			from, to := int(int32(p.Seq-seq)), int(int32(p.End-seq))
			if p.Stream && p.Dir == dir && from <= found && to > found {
				found = to
			}
		}
		if found >= wire {
			return Known
		}
		if found == before {
			break
		}
	}
	return New
}

// differs reports whether a segment has other bytes than the i-th held packet where both
// overlap.
func (q *queue) differs(i int, seg Piece, payload []byte) bool {
	p := &q.pieces[i]
	from, to, wire := int(int32(p.Seq-seg.Seq)), int(int32(p.End-seg.Seq)), int(seg.End-seg.Seq)
	if from >= wire || to <= 0 {
		return false
	}
	if p.At == 0 || seg.At == 0 {
		return from != 0 || to != wire // in fragments: there are no bytes to compare
	}
	held := q.frames[i].Data[min(p.At, len(q.frames[i].Data)):]
	held = held[:min(len(held), to-from)]
	if from >= 0 {
		payload = payload[min(from, len(payload)):]
	} else {
		held = held[min(-from, len(held)):]
	}
	common := min(len(payload), len(held))
	return !bytes.Equal(payload[:common], held[:common])
}
