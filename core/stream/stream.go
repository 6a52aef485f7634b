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

// Pool gives assemblers of one worker and holds their memory. It is not safe for
// concurrent use.
type Pool struct{}

// NewPool makes an empty pool.
func NewPool(c Config) *Pool { return &Pool{} }

// Get gives an assembler; call Init before the first Push.
func (p *Pool) Get() *Assembler { return &Assembler{} }

// Put takes an assembler back with its memory. It must not be used any more.
func (p *Pool) Put(a *Assembler) {}

// Used is how many bytes are buffered at present, by capacity.
func (p *Pool) Used() int { return 0 }

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
type Assembler struct{}

// Init empties the assembler and sets the sequence number of the first byte: the SYN's
// plus 1, or that of the first segment seen.
func (a *Assembler) Init(seq uint32) {}

// Push takes a segment's payload, borrowed until Keep; wire is its length on the wire,
// of which data may be a part. seq is that of the first payload byte: for a SYN with
// data, the packet's plus 1.
func (a *Assembler) Push(seq uint32, data []byte, wire int) Outcome { return Outcome{} }

// Head is the bytes that are in order and not consumed, borrowed until the next call of
// Push, Consume, Skip or Keep.
func (a *Assembler) Head() []byte { return nil }

// Consume drops n bytes of Head.
func (a *Assembler) Consume(n int) {}

// Gap is how many bytes just behind Head will never come; 0 if none is known.
func (a *Assembler) Gap() int { return 0 }

// Skip drops Head and the gap behind it, and returns the gap's length.
func (a *Assembler) Skip() int { return 0 }

// Keep copies what is left of the segment pushed last, if it is still borrowed. It
// must be called before the frame goes back to its queue. False: out of budget, the
// assembler has given up.
func (a *Assembler) Keep() bool { return true }

// Lost says that bytes below upTo that are missing will never come, as the peer has
// acknowledged them; it returns how many became known as lost. Then look at Gap.
func (a *Assembler) Lost(upTo uint32) int { return 0 }

// Offset is the stream offset of Head's first byte.
func (a *Assembler) Offset() uint64 { return 0 }

// Next is the sequence number behind Head.
func (a *Assembler) Next() uint32 { return 0 }

// Overflow says that the assembler has given up.
func (a *Assembler) Overflow() bool { return false }
