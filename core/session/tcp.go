package session

import "github.com/sluicenet/sluice/core/packet"

// Events are what a segment changed, as bits.
type Events uint16

// Events of a segment.
const (
	// Opened: the handshake is complete with this segment.
	Opened Events = 1 << iota
	// ClosedNow: both FINs are acknowledged with it.
	ClosedNow
	// ResetNow: it is an RST that the receiver believes.
	ResetNow
	// RefusedNow: it is the RST that answers a SYN.
	RefusedNow
	// Reopen: a SYN on a connection that is over. Nothing was changed: the engine ends
	// this session, inserts a new one and tracks the packet there.
	Reopen
	// Gap: the segment acknowledges bytes of the other direction that were never
	// seen; Lost says how many. Streams are told with Lost(p.Ack) of core/stream.
	Gap
	// Challenge: a SYN or RST that the receiver answers with a challenge ACK instead of
	// believing it (RFC 5961). The state is as it was.
	Challenge
	// Simultaneous: a SYN answered a SYN (simultaneous open, or a split handshake).
	Simultaneous
	// Retransmit: it carries payload, all of which was seen before.
	Retransmit
	// KeepAlive: a probe of at most one byte just below what was sent.
	KeepAlive
	// AfterFIN: it carries bytes beyond its sender's FIN; they are not taken.
	AfterFIN
	// BadFlags: flags that no connection uses (none at all, SYN with FIN, SYN with RST).
	BadFlags
)

// TCPResult is what the tracker says of one segment.
type TCPResult struct {
	// Lost is how many bytes of the other direction were never seen; valid with Gap.
	Lost   uint32
	before uint32 // what the receiver expected before this segment, for Dropped
	Events Events
	// State is the session's state after the segment.
	State State
	// Valid says that the segment is one that its receiver can take: in the window,
	// or harmless. A segment that is not valid changed nothing.
	Valid bool
	moved bool // the segment moved what the receiver expects
}

// Has says whether all of the events happened.
func (r TCPResult) Has(e Events) bool { return r.Events&e == e }

// wing is what one end sent, and what the other end told about it.
type wing struct {
	nxt   uint32 // end of the highest segment seen: SND.NXT
	una   uint32 // highest ACK that the other end sent: SND.UNA
	edge  uint32 // right edge of the highest window that the other end offered
	rcv   uint32 // what the other end expects next, by what was delivered
	scale uint8  // shift of the windows that this end offers
	flags uint8
}

// Track judges a segment in direction dir (0 client to server, 1 back) and moves the
// session's state. It takes the segment as delivered; tell Dropped if it is not.
func (s *Session) Track(p *packet.Packet, dir int, now int64) TCPResult { return TCPResult{} }

// Dropped says that the segment of r, in direction dir, does not reach its receiver (it was
// dropped, or is held), so that ResetSeq stays right. It may be told later than for
// segments that were tracked after it. A held segment that is let go
// afterwards is told with Delivered.
func (s *Session) Dropped(dir int, r TCPResult) {}

// Delivered says that a segment told as Dropped went out after all.
func (s *Session) Delivered(dir int, p *packet.Packet) {}

// ResetSeq is the numbers of an RST in direction dir that its receiver believes: seq is
// exactly what it expects next (RFC 5961 3.2), ack what the other side has got.
// ok is false when there is nobody to reset, or the numbers are not known.
func (s *Session) ResetSeq(dir int) (seq, ack uint32, ok bool) { return 0, 0, false }

func (s *Session) doubtful() bool { return false }

func (s *Session) hasData() bool { return false }
