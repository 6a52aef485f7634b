package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Events are what a segment changed, as bits.
type Events uint32

// Events of a segment.
const (
	// Opened: the handshake is complete with this segment.
	Opened Events = 1 << iota
	// ClosedNow: both FINs are acknowledged with it.
	ClosedNow
	// ResetNow: it is an RST that the receiver accepts.
	ResetNow
	// RefusedNow: it is the RST that answers a SYN.
	RefusedNow
	// Reopen: a SYN on a closed connection, or the SYN+ACK that shows that its receiver accepted
	// a new SYN. Nothing was changed: the engine ends this session, inserts a new one and tracks
	// the packet there.
	Reopen
	// Gap: the segment acknowledges bytes of the other direction that were never seen; Lost is
	// their number. Streams are informed with Lost(p.Ack) of core/stream.
	Gap
	// Challenge: a SYN or RST that the receiver answers with a challenge ACK instead of
	// accepting it (RFC 5961). The state is unchanged.
	Challenge
	// Simultaneous: the other end has sent a SYN, too (simultaneous open, RFC 9293 3.5, or a split
	// handshake).
	Simultaneous
	// Retransmit: it carries payload, all of which was seen before.
	Retransmit
	// KeepAlive: a probe of at most one byte just below the bytes sent; the byte may have any
	// value and is not passed to core/stream.
	KeepAlive
	// AfterFIN: it carries bytes beyond its sender's FIN; they are ignored.
	AfterFIN
	// BadFlags: an invalid combination of flags (none at all, SYN with FIN, SYN with RST).
	BadFlags
	// OldTime: its timestamp is older than the last one that was accepted (PAWS, RFC 7323 5).
	OldTime
	// BadSigning: it has an MD5 or AO option (RFC 2385, 5925), unlike its sender's SYN, or the
	// other way round.
	BadSigning
	// FutureACK: it acknowledges what was never sent, in a session of which all is seen.
	FutureACK
	// Split: with Opened: both ends sent a SYN and just one answered the other's with a SYN+ACK, so
	// that this is no simultaneous open.
	Split
	// UnsureReset: with ResetNow: bytes are on their way, or its hop limit is lower than the
	// SYN's, so that the receiver may not accept it, or not get it.
	UnsureReset
)

// TCPResult is the tracker's result for one segment.
type TCPResult struct {
	// Lost is the number of bytes of the other direction that were never seen; valid with Gap.
	Lost   uint32
	before uint32 // what the receiver expected before this segment, for Dropped
	Events Events
	// State is the session's state after the segment.
	State flow.Phase
	// Valid is true if the receiver can accept the segment: it is in the window, or harmless. An
	// invalid segment changed nothing.
	Valid bool
	moved bool // the segment moved what the receiver expects
}

// Has reports whether all of the events happened.
func (r TCPResult) Has(e Events) bool { return r.Events&e == e }

// halfConn is the state of one direction: what one end sent, and what the other end
// acknowledged and offered.
type halfConn struct {
	nxt   uint32 // end of the highest segment seen: SND.NXT
	una   uint32 // highest ACK from the other end, before that the SYN's own number: SND.UNA
	edge  uint32 // right edge of the highest window that the other end offered; with halfEdge
	rcv   uint32 // what the other end expects next, by what was delivered
	time  uint32 // highest TSval of what was delivered in order; 0: none
	flags uint16
	fresh uint16 // of a SYN on an open connection: lower 15 bits of its number <<1 | 1
	scale uint8  // shift of the windows that this end offers
	hops  uint8  // hop limit of its SYN, the highest of several; 0: not seen
}

const (
	halfSeen    uint16 = 1 << iota // nxt, una and rcv are valid
	halfSyn                        // its SYN was seen
	halfScaled                     // the SYN had a window scale option
	halfAcked                      // the other end acknowledged its SYN, or it was not seen
	halfEdge                       // edge is valid
	halfFin                        // its FIN was seen, at nxt-1
	halfRst                        // it sent an RST that was in the window, but not exact
	halfData                       // it sent payload
	halfSpoke                      // it sent a segment, so that nxt is not the other end's word
	halfTime                       // its SYN had a timestamps option
	halfSigned                     // its SYN had an MD5 or AO option
	halfAnswers                    // it sent a SYN+ACK that answers the other end's SYN
)

// unknownScale is the shift for an end whose SYN was not seen: the maximum (RFC 7323 2.3), as
// too small a window would make good segments invalid.
const unknownScale = 14

// tolerance returns how far outside its window a direction's segments are still accepted, as
// the capture may have missed the segments that moved it.
func (h *halfConn) tolerance() int32 {
	if h.flags&halfEdge != 0 {
		return int32(max(h.edge-h.una, 0xffff))
	}
	return 0xffff << unknownScale
}

func (h *halfConn) high() uint32 {
	if h.flags&halfEdge != 0 && int32(h.edge-h.nxt) > 0 {
		return h.edge
	}
	return h.nxt
}

// delivered advances what the receiver expects, if the segment is next in order.
func (h *halfConn) delivered(seq, end uint32) bool {
	if int32(seq-h.rcv) > 0 || int32(end-h.rcv) <= 0 {
		return false
	}
	h.rcv = end
	return true
}

// Track judges a segment in direction dir (0 client to server, 1 back) and advances the
// session's state. It assumes that the segment is delivered; call Dropped if it is not. A new
// session begins with its SYN, with its SYN+ACK (then the engine has made the sender the
// server), or in mid-stream with anything else.
func (s *Session) Track(p *packet.Packet, dir int, now int64) TCPResult {
	var r TCPResult
	dir &= 1
	if r.Events = s.discards(p, dir, now); r.Events != 0 {
		r.State = s.State
		return r
	}
	if s.Flags&Away != 0 {
		s.rejoin(p, dir)
	}
	switch f := p.Flags & (packet.FIN | packet.SYN | packet.RST | packet.ACK); {
	case f&(packet.SYN|packet.RST|packet.ACK) == 0, f&packet.SYN != 0 && f&(packet.FIN|packet.RST) != 0:
		// RFC 9293 3.10.7.4: a segment without ACK is dropped once a connection is open.
		r.Events = BadFlags
	case f&packet.RST != 0:
		s.trackRST(p, dir, &r)
	case f == packet.SYN:
		s.trackSYN(p, dir, &r)
	case f&packet.SYN != 0:
		s.trackSYNACK(p, dir, &r)
	default:
		s.trackData(p, dir, &r)
	}
	r.State = s.State
	return r
}

// Dropped records that the segment of r, in direction dir, does not reach its receiver (it
// was dropped, or is held), so that ResetSeq stays correct. It may be called after later
// segments were tracked. A held segment that is released afterwards is reported with
// Delivered.
func (s *Session) Dropped(dir int, r TCPResult) {
	h := &s.halves[dir&1]
	if r.moved && int32(h.rcv-r.before) > 0 {
		h.rcv = r.before
	}
}

// Delivered records that a segment reported as Dropped was sent after all.
func (s *Session) Delivered(dir int, p *packet.Packet) {
	s.halves[dir&1].delivered(p.Seq, endOf(p))
}

// ResetSeq returns the numbers of an RST in direction dir that its receiver accepts: seq is
// exactly what it expects next (RFC 5961 3.2), ack what the other side has received. ok is
// false when there is no end to reset, or the numbers are unknown.
//
// Where segments were lost beyond the capture the number can be too low or too high; the
// receiver then answers with a challenge ACK, and once that was tracked, the number is exact.
func (s *Session) ResetSeq(dir int) (seq, ack uint32, ok bool) {
	me, other := &s.halves[dir&1], &s.halves[dir&1^1]
	if other.flags&halfSeen != 0 {
		ack = other.una
		if int32(other.rcv-ack) > 0 {
			ack = other.rcv
		}
	}
	if me.flags&halfSeen == 0 || me.flags&(halfSyn|halfAcked) == halfSyn && me.rcv == me.una {
		// The receiver has seen no SYN of this end. In SYN-SENT it accepts an RST by its ACK alone,
		// which must cover its SYN (RFC 9293 3.10.7.3); else it has no connection.
		if other.flags&(halfSyn|halfAcked) == halfSyn {
			ack = other.una + 1
		}
		return 0, ack, other.flags&halfSyn != 0
	}
	if seq = me.una; int32(me.rcv-seq) > 0 {
		seq = me.rcv
	}
	return seq, ack, true
}

// Doubtful reports whether an RST was seen that the receiver may have accepted.
func (s *Session) Doubtful() bool { return (s.halves[0].flags|s.halves[1].flags)&halfRst != 0 }

// HasData reports whether payload was seen in either direction.
func (s *Session) HasData() bool { return (s.halves[0].flags|s.halves[1].flags)&halfData != 0 }

// OnlyReset reports whether one end has sent nothing but resets, as hosts do that have no such
// connection (RFC 9293 3.10.7.1).
func (s *Session) OnlyReset() bool {
	return s.State == flow.PhaseReset && s.halves[0].flags&s.halves[1].flags&halfEdge == 0
}

// halfClosed reports whether just one end has sent its FIN.
func (s *Session) halfClosed() bool { return (s.halves[0].flags^s.halves[1].flags)&halfFin != 0 }

// endOf is the sequence number behind a segment: SYN and FIN count as one each.
func endOf(p *packet.Packet) uint32 {
	end := p.Seq + uint32(p.PayloadWire)
	if p.Flags&packet.SYN != 0 {
		end++
	}
	if p.Flags&packet.FIN != 0 {
		end++
	}
	return end
}
