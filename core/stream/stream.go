// Package stream reassembles one direction of a TCP connection for parsers, within a byte
// budget. It is used while a session is being identified or watched by a sensor, never for
// all traffic. It uses sequence numbers only: core/session decides whether a segment belongs
// to the connection.
package stream

// Config bounds a pool. The zero value is usable.
type Config struct {
	// Budget is the maximum number of bytes that all assemblers of the pool buffer together; 0
	// is 64 MiB. Owners have shares of it.
	Budget int
	// Window is how far beyond the consumed bytes one assembler may hold bytes; 0 is 128 KiB.
	Window int
	// Segments is the maximum number of separate runs of bytes of one assembler; 0 is 64.
	Segments int
}

// Outcome is the result of a segment.
type Outcome struct {
	// Gap is the number of bytes just behind Head that will never arrive; 0 if none. Skip drops
	// it.
	Gap int
	// New reports that Head has grown, or that a Gap is now next.
	New bool
	// Overlap reports that bytes seen before arrived again with other values; the first were
	// kept.
	Overlap bool
	// Retransmit reports that every byte of the segment had been seen before.
	Retransmit bool
	// Overflow reports that a bound was reached: the assembler has stopped for good.
	Overflow bool
}

// Assembler reassembles one direction. Usage, for each segment:
//
//	out := a.Push(seq, payload, wire)
//	for out.New {
//		a.Consume(parse(a.Head()))
//		if n := a.Gap(); n == 0 || !parserGap(n) { break }
//		a.Skip() // drops what was not consumed before the gap
//	}
//	a.Keep() // before the frame is returned
type Assembler struct {
	pool  *Pool
	owner Owner
	off   uint64 // stream offset of the head
	pos   uint32 // sequence number of the head
	head  int    // bytes in order, in direct or in buf
	dead  bool
	// direct is the head while it is still part of the frame; buf is empty then.
	direct []byte
	// buf holds, from at on, the head and the bytes of the runs at their distance from pos.
	buf  []byte
	at   int
	runs []run // sorted, disjoint, behind the head
	seen [16]seen
	last int // index of the next write to seen
	// acked is the sequence number up to which the peer has acknowledged bytes that are missing
	// here; valid while patience is not 0, which is the number of segments behind them still
	// waited for.
	acked    uint32
	patience uint8
}

// patience is the number of segments that must arrive behind missing bytes before they are
// given up although the peer acknowledged them: taps show an ACK before its data, and RFC
// 5681 3.2 takes three as a sign of loss.
const patience = 3

// run is a stretch behind the head: bytes in buf, or bytes known as lost.
type run struct {
	from, to uint32
	lost     bool
}

// seen records a segment that may have been consumed, so that a repetition can be
// distinguished from a forgery.
type seen struct {
	seq, n uint32
	sum    uint64
}

// seenBytes is how much of a segment its sum covers.
const seenBytes = 4096

// Init empties the assembler and sets the sequence number of the first byte: the SYN's
// plus 1, or that of the first segment seen.
func (a *Assembler) Init(seq uint32) {
	a.release()
	a.off, a.pos, a.head, a.dead = 0, seq, 0, false
	a.runs, a.seen, a.last, a.patience = a.runs[:0], [16]seen{}, 0, 0
}

// Push adds a segment's payload, borrowed until Keep; wire is its length on the wire, of
// which data may be a part. seq is that of the first payload byte: for a SYN with data, the
// packet's plus 1.
func (a *Assembler) Push(seq uint32, data []byte, wire int) Outcome {
	if !a.Keep() {
		return Outcome{Overflow: true}
	}
	wire = max(wire, len(data))
	if wire == 0 {
		return Outcome{Gap: a.Gap()}
	}
	var out Outcome
	rel := int(int32(seq - a.pos))
	if rel < a.head {
		out.Overlap = a.differs(seq, data)
	} else if len(data) > 0 {
		a.remember(seq, data)
	}
	if rel < 0 {
		if -rel >= wire {
			out.Retransmit, out.Gap = true, a.Gap()
			return out
		}
		data, wire, rel = data[min(-rel, len(data)):], wire+rel, 0
	}
	head, gap := a.head, a.Gap()
	fresh := a.store(rel, data, &out)
	if !a.dead && wire > len(data) {
		from := a.pos + uint32(rel+len(data))
		fresh += a.lose(from, a.pos+uint32(rel+wire))
	}
	if a.dead {
		return Outcome{Overflow: true, Overlap: out.Overlap}
	}
	if a.patience > 0 && fresh > 0 {
		a.await(rel)
	}
	out.Gap = a.Gap()
	out.New = a.head > head || out.Gap > gap
	out.Retransmit = fresh == 0
	return out
}

// Head returns the bytes that are in order and not consumed, borrowed until the next call of
// Push, Consume, Skip or Keep.
func (a *Assembler) Head() []byte {
	if a.direct != nil {
		return a.direct
	}
	return a.buf[a.at : a.at+a.head]
}

// Consume drops n bytes of Head.
func (a *Assembler) Consume(n int) {
	n = min(max(n, 0), a.head)
	a.pos += uint32(n)
	a.off += uint64(n)
	a.head -= n
	if a.direct != nil {
		a.direct = a.direct[n:]
	} else {
		a.at += n
	}
	if a.head == 0 && a.extent() == 0 {
		a.release()
	}
}

// Gap returns the number of bytes just behind Head that will never arrive; 0 if none is
// known.
func (a *Assembler) Gap() int {
	if len(a.runs) > 0 && a.runs[0].lost && a.runs[0].from == a.Next() {
		return int(a.runs[0].to - a.runs[0].from)
	}
	return 0
}

// Skip drops Head and the gap behind it, and returns the gap's length. Without a gap it
// does nothing.
func (a *Assembler) Skip() int {
	n := a.Gap()
	if n == 0 {
		return 0
	}
	a.Consume(a.head)
	a.runs = append(a.runs[:0], a.runs[1:]...)
	a.pos += uint32(n)
	a.off += uint64(n)
	if a.buf != nil {
		a.at += n
		a.absorb()
	}
	return n
}

// Keep copies the rest of the segment pushed last, if it is still borrowed. It must be called
// before the frame is returned to its queue. It returns false when out of budget: the
// assembler has stopped.
func (a *Assembler) Keep() bool {
	if a.direct == nil {
		return !a.dead
	}
	d := a.direct
	a.direct = nil
	if !a.reserve(len(d)) {
		a.giveUp()
		return false
	}
	copy(a.buf[a.at:], d)
	return true
}

// Lost reports that missing bytes below upTo will never arrive, as the peer has acknowledged
// them; it returns the number of bytes that became lost. Check Gap afterwards.
func (a *Assembler) Lost(upTo uint32) int {
	if a.dead || int(int32(upTo-a.pos)) <= a.head {
		return 0
	}
	return a.lose(a.Next(), upTo)
}

// Acked records the peer's acknowledgement of bytes below upTo. Missing ones may be late and
// not lost: they are given up, as by Lost, when more segments behind them have arrived.
func (a *Assembler) Acked(upTo uint32) {
	if a.dead || int(int32(upTo-a.pos)) <= a.head {
		return
	}
	if a.patience == 0 {
		a.patience = patience
	}
	a.acked = upTo
}

// await counts a segment that arrives while acknowledged bytes are missing.
func (a *Assembler) await(rel int) {
	switch {
	case int(int32(a.acked-a.pos)) <= a.head:
		a.patience = 0 // they arrived
	case rel > a.head:
		if a.patience--; a.patience == 0 {
			a.lose(a.Next(), a.acked)
		}
	}
}

// Offset returns the stream offset of Head's first byte, including gaps.
func (a *Assembler) Offset() uint64 { return a.off }

// Next returns the sequence number behind Head.
func (a *Assembler) Next() uint32 { return a.pos + uint32(a.head) }

// Overflow reports whether the assembler has stopped.
func (a *Assembler) Overflow() bool { return a.dead }
