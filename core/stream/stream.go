// Package stream puts the segments of one direction of a TCP connection in order for
// parsers, within a byte budget. It is used while a session is being identified or
// watched by a sensor, never for all traffic. It knows sequence numbers alone: whether
// a segment belongs to the connection is for core/session to say.
package stream

// Config bounds a pool. The zero value is usable.
type Config struct {
	// Budget is how many bytes all assemblers of the pool may buffer together; 0 is 64 MiB.
	Budget int
	// Window is how far one assembler may hold bytes beyond what was consumed; 0 is 128 KiB.
	Window int
	// Segments is how many separate runs of bytes one assembler may hold; 0 is 64.
	Segments int
}

// Outcome is what became of a segment.
type Outcome struct {
	// Gap is how many bytes, just behind Head, will never come; 0 if none. Skip goes past.
	Gap int
	// New says that Head has grown, or that a Gap is now next.
	New bool
	// Overlap says that bytes seen before came again with other values; the first were kept.
	Overlap bool
	// Retransmit says that every byte of the segment had been seen before.
	Retransmit bool
	// Overflow says that a bound was reached: the assembler has given up for good.
	Overflow bool
}

// Assembler puts one direction in order. The way of use, for each segment:
//
//	out := a.Push(seq, payload, wire)
//	for out.New {
//		a.Consume(parse(a.Head()))
//		if n := a.Gap(); n == 0 || !tellParserOfGap(n) { break }
//		a.Skip() // drops what was not consumed before the gap
//	}
//	a.Keep() // before the frame goes back
type Assembler struct {
	pool *Pool
	off  uint64 // stream offset of the head
	pos  uint32 // sequence number of the head
	head int    // bytes in order, in direct or in buf
	dead bool
	// direct is the head while it is still the frame's; nothing is in buf then.
	direct []byte
	// buf holds, from at on, the head and the bytes of the runs at their distance from pos.
	buf  []byte
	at   int
	runs []run // sorted, disjoint, behind the head
	seen [16]seen
	last int // where seen is written next
	// acked is up to where the peer has acknowledged bytes that are missing here; valid while patience is not 0, which
	// is how many segments behind them are still waited for.
	acked    uint32
	patience uint8
}

// patience is how many segments behind missing bytes have to come before what the peer has acknowledged is given up: taps show an ACK
// before its data, and RFC 5681 3.2 takes three for a sign of loss.
const patience = 3

// run is a stretch behind the head: bytes in buf, or bytes known as lost.
type run struct {
	from, to uint32
	lost     bool
}

// seen remembers a segment that may have been consumed, so that its repetition can be
// told from a forgery.
type seen struct {
	seq, n uint32
	sum    uint64
}

// seenBytes is how much of a segment is remembered by its sum.
const seenBytes = 4096

// Init empties the assembler and sets the sequence number of the first byte: the SYN's
// plus 1, or that of the first segment seen.
func (a *Assembler) Init(seq uint32) {
	a.release()
	a.off, a.pos, a.head, a.dead = 0, seq, 0, false
	a.runs, a.seen, a.last, a.patience = a.runs[:0], [16]seen{}, 0, 0
}

// Push takes a segment's payload, borrowed until Keep; wire is its length on the wire,
// of which data may be a part. seq is that of the first payload byte: for a SYN with
// data, the packet's plus 1.
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

// Head is the bytes that are in order and not consumed, borrowed until the next call of
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

// Gap is how many bytes just behind Head will never come; 0 if none is known.
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

// Keep copies what is left of the segment pushed last, if it is still borrowed. It
// must be called before the frame goes back to its queue. False: out of budget, the
// assembler has given up.
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

// Lost says that bytes below upTo that are missing will never come, as the peer has
// acknowledged them; it returns how many became known as lost. Then look at Gap.
func (a *Assembler) Lost(upTo uint32) int {
	if a.dead || int(int32(upTo-a.pos)) <= a.head {
		return 0
	}
	return a.lose(a.Next(), upTo)
}

// Acked takes the peer's acknowledgement of bytes below upTo. Those that are missing may be late and not lost: they
// are given up, as by Lost, when more segments behind them have come.
func (a *Assembler) Acked(upTo uint32) {
	if a.dead || int(int32(upTo-a.pos)) <= a.head {
		return
	}
	if a.patience == 0 {
		a.patience = patience
	}
	a.acked = upTo
}

// await counts a segment that came while acknowledged bytes are missing.
func (a *Assembler) await(rel int) {
	switch {
	case int(int32(a.acked-a.pos)) <= a.head:
		a.patience = 0 // they came
	case rel > a.head:
		if a.patience--; a.patience == 0 {
			a.lose(a.Next(), a.acked)
		}
	}
}

// Offset is the stream offset of Head's first byte, gaps counted.
func (a *Assembler) Offset() uint64 { return a.off }

// Next is the sequence number behind Head.
func (a *Assembler) Next() uint32 { return a.pos + uint32(a.head) }

// Overflow says that the assembler has given up.
func (a *Assembler) Overflow() bool { return a.dead }
