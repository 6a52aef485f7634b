package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

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
	// Reopen: a SYN on a connection that is over, or the SYN+ACK that shows that it is: its
	// receiver took a new SYN. Nothing was changed: the engine ends
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
	// KeepAlive: a probe of at most one byte just below what was sent; the byte may be
	// anything and is not for core/stream.
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
	State flow.Phase
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
	una   uint32 // highest ACK that the other end sent, the SYN's own number before: SND.UNA
	edge  uint32 // right edge of the highest window that the other end offered; with wEdge
	rcv   uint32 // what the other end expects next, by what was delivered
	scale uint8  // shift of the windows that this end offers
	flags uint8
	fresh uint16 // of a SYN that came while the connection is open: lower 15 bits of its number <<1 | 1
}

const (
	wSeen   uint8 = 1 << iota // nxt, una and rcv are valid
	wSyn                      // its SYN was seen
	wScaled                   // the SYN had a window scale option
	wAcked                    // the other end acknowledged its SYN, or it was not seen
	wEdge                     // edge is valid
	wFin                      // its FIN was seen, at nxt-1
	wRst                      // it sent an RST that was in the window, but not exact
	wData                     // it sent payload
)

// unknownScale is the shift for an end whose SYN was not seen: the most there can be (RFC 7323
// 2.3), as a window taken too small would make good segments invalid.
const unknownScale = 14

// reachOf is how far around its window a wing's segments are still taken, seeing that a tap
// may have missed what moved it.
func (w *wing) reachOf() int32 {
	if w.flags&wEdge != 0 {
		return int32(max(w.edge-w.una, 0xffff))
	}
	return 0xffff << unknownScale
}

func (w *wing) high() uint32 {
	if w.flags&wEdge != 0 && int32(w.edge-w.nxt) > 0 {
		return w.edge
	}
	return w.nxt
}

// delivered moves what the receiver expects, if the segment is next for it.
func (w *wing) delivered(seq, end uint32) bool {
	if int32(seq-w.rcv) > 0 || int32(end-w.rcv) <= 0 {
		return false
	}
	w.rcv = end
	return true
}

// Track judges a segment in direction dir (0 client to server, 1 back) and moves the
// session's state. It takes the segment as delivered; tell Dropped if it is not.
// A session that is new begins with its SYN, with its SYN+ACK (then the engine has
// made the sender the server), or in mid-stream with anything else.
func (s *Session) Track(p *packet.Packet, dir int, _ int64) TCPResult {
	var r TCPResult
	dir &= 1
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

// Dropped says that the segment of r, in direction dir, does not reach its receiver (it was
// dropped, or is held), so that ResetSeq stays right. It may be told later than for
// segments that were tracked after it. A held segment that is let go
// afterwards is told with Delivered.
func (s *Session) Dropped(dir int, r TCPResult) {
	w := &s.wings[dir&1]
	if r.moved && int32(w.rcv-r.before) > 0 {
		w.rcv = r.before
	}
}

// Delivered says that a segment told as Dropped went out after all.
func (s *Session) Delivered(dir int, p *packet.Packet) {
	s.wings[dir&1].delivered(p.Seq, endOf(p))
}

// ResetSeq is the numbers of an RST in direction dir that its receiver believes: seq is
// exactly what it expects next (RFC 5961 3.2), ack what the other side has got.
// ok is false when there is nobody to reset, or the numbers are not known.
//
// Where segments were lost beyond the capture the number can be behind or ahead of the
// truth; the receiver then answers with a challenge ACK, and once that was
// tracked, the number is exact.
func (s *Session) ResetSeq(dir int) (seq, ack uint32, ok bool) {
	me, other := &s.wings[dir&1], &s.wings[dir&1^1]
	if other.flags&wSeen != 0 {
		ack = other.una
		if int32(other.rcv-ack) > 0 {
			ack = other.rcv
		}
	}
	if me.flags&wSeen == 0 || me.flags&(wSyn|wAcked) == wSyn && me.rcv == me.una {
		// The receiver knows of no SYN of this end. In SYN-SENT it believes an RST by its ACK
		// alone, which must cover its SYN (RFC 9293 3.10.7.3); else it knows of nothing.
		if other.flags&(wSyn|wAcked) == wSyn {
			ack = other.una + 1
		}
		return 0, ack, other.flags&wSyn != 0
	}
	if seq = me.una; int32(me.rcv-seq) > 0 {
		seq = me.rcv
	}
	return seq, ack, true
}

// Doubtful says that an RST was seen that the receiver may have believed.
func (s *Session) Doubtful() bool { return (s.wings[0].flags|s.wings[1].flags)&wRst != 0 }

// HasData reports whether payload was seen in either direction.
func (s *Session) HasData() bool { return (s.wings[0].flags|s.wings[1].flags)&wData != 0 }

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
