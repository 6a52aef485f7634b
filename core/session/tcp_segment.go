package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// begin initializes a direction from its SYN. una is the SYN's own number until it is
// acknowledged.
func (h *halfConn) begin(p *packet.Packet, r *TCPResult) {
	*h = halfConn{nxt: endOf(p), una: p.Seq, rcv: p.Seq + 1, flags: halfSeen | halfSyn | halfSpoke}
	h.recordOptions(p)
	if p.FastOpen {
		h.rcv = h.nxt // RFC 7413: data in the SYN is accepted when the cookie is valid
	}
	if p.HasWScale {
		h.flags |= halfScaled
		h.scale = min(p.WScale, 14) // RFC 7323 2.3
	}
	if p.PayloadWire > 0 {
		h.flags |= halfData
	}
	r.before, r.moved = p.Seq, true
}

// assume initializes a direction of which nothing was seen, from the other end's ACK.
func (h *halfConn) assume(ack uint32) {
	*h = halfConn{nxt: ack, una: ack, rcv: ack, scale: unknownScale, flags: halfSeen | halfAcked}
}

// repeatsSYN reports whether the segment repeats the direction's SYN.
func (h *halfConn) repeatsSYN(p *packet.Packet) bool {
	if h.flags&halfAcked == 0 {
		return p.Seq == h.una
	}
	// Once acknowledged, the SYN's number is at most its data below una.
	return int32(h.una-p.Seq) > 0 && h.una-p.Seq <= uint32(p.PayloadWire)+1
}

// recordChallenge records a SYN of an open connection. Its receiver answers with a challenge
// ACK, but with a SYN+ACK where the capture missed the connection's end.
func (h *halfConn) recordChallenge(p *packet.Packet, r *TCPResult) {
	h.fresh = uint16(p.Seq)<<1 | 1
	r.Events |= Challenge
}

// answersChallenge reports whether a SYN+ACK with that ACK answers the recorded SYN.
func (h *halfConn) answersChallenge(ack uint32) bool { return h.fresh == uint16(ack-1)<<1|1 }

// trackSYN handles a SYN without ACK.
func (s *Session) trackSYN(p *packet.Packet, dir int, r *TCPResult) {
	me := &s.halves[dir]
	r.Valid = true
	switch s.State {
	case flow.NoPhase:
		me.begin(p, r)
		s.State = flow.PhaseOpening
	case flow.PhaseOpening:
		s.synWhileOpening(p, dir, r)
	case flow.PhaseEstablished, flow.PhaseMidStream:
		// RFC 9293 3.10.7.4: a SYN in a synchronized state is answered with a challenge ACK.
		switch {
		case s.Doubtful() || s.Flags&Denied != 0:
			r.Events |= Reopen
		case me.flags&halfSyn != 0 && me.repeatsSYN(p):
			// The connection's own SYN once more. The SYN+ACK that may follow repeats the handshake, it begins nothing.
			r.Events |= Challenge
		default:
			me.recordChallenge(p, r)
		}
	case flow.PhaseClosing:
		// An end that has sent its FIN may start a new connection; one that has not must first have
		// lost its state.
		if me.flags&halfFin != 0 || s.Doubtful() || s.Flags&Denied != 0 {
			r.Events |= Reopen
		} else {
			me.recordChallenge(p, r)
		}
	default:
		r.Events |= Reopen
	}
}

// synWhileOpening handles a SYN of a connection that is not open yet.
func (s *Session) synWhileOpening(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.halves[dir], &s.halves[dir^1]
	switch {
	case me.flags&halfSyn == 0 && me.flags&halfSeen != 0 && p.Seq+1 == me.una:
		// The tap saw the SYN+ACK first.
		me.flags |= halfSyn | halfSpoke
		me.recordOptions(p)
		if p.HasWScale {
			me.flags, me.scale = me.flags|halfScaled, min(p.WScale, 14)
		}
	case me.flags&halfSeen == 0 && s.Flags&Denied != 0:
		r.Events |= Reopen // the other end's attempt was refused, this one is judged for itself
	case me.flags&halfSeen == 0:
		me.begin(p, r)
		s.Flags |= Crossed
		r.Events |= Simultaneous
	case me.repeatsSYN(p):
		// An unanswered fast open is repeated without its data, or with it.
		if end := endOf(p); int32(end-me.nxt) > 0 {
			me.nxt = end
		}
		r.before, r.moved = p.Seq, me.rcv == p.Seq
		me.delivered(p.Seq, p.Seq+1)
		me.recordOptions(p)
	case s.Flags&Denied != 0:
		// The first SYN was refused, which ended that attempt.
		r.Events |= Reopen
	case me.flags&halfAcked == 0 && other.flags&halfSyn == 0:
		// The first SYN was not answered: the client tries again from the same port.
		*other = halfConn{}
		me.begin(p, r)
	default:
		me.recordChallenge(p, r)
	}
}

// rejoin resumes tracking after missed segments, from a segment with the numbers of both
// ends. Window scales and FINs already sent are kept.
func (s *Session) rejoin(p *packet.Packet, dir int) {
	if p.Flags&(packet.SYN|packet.RST|packet.ACK) != packet.ACK || s.State != flow.PhaseEstablished && s.State != flow.PhaseMidStream && s.State != flow.PhaseClosing {
		return
	}
	s.Flags &^= Away
	s.halves[dir].resync(p.Seq)
	s.halves[dir^1].resync(p.Ack)
}

// resync sets a direction to where its other end is now.
func (h *halfConn) resync(seq uint32) {
	if h.flags&halfFin != 0 {
		return
	}
	h.nxt, h.una, h.rcv = seq, seq, seq
	h.flags = h.flags&^(halfEdge|halfRst|halfSpoke) | halfSeen | halfAcked
}

// trackSYNACK handles the second step of the handshake, or its repetition.
func (s *Session) trackSYNACK(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.halves[dir], &s.halves[dir^1]
	if other.answersChallenge(p.Ack) && !s.State.Over() {
		r.Events |= Reopen
		return
	}
	switch s.State {
	case flow.NoPhase, flow.PhaseOpening:
	case flow.PhaseEstablished, flow.PhaseMidStream, flow.PhaseClosing:
		r.Valid = true // repeated because its ACK was lost; the answer is an ACK
		return
	default:
		return
	}
	if other.flags&halfSeen == 0 {
		other.assume(p.Ack)
	}
	acked := int32(p.Ack - other.una)
	if acked < 0 || acked == 0 && other.flags&halfAcked == 0 || int32(p.Ack-other.nxt) > 0 {
		return // does not answer this SYN
	}
	r.Valid = true
	switch {
	case me.flags&halfSyn == 0 || me.flags&halfAcked == 0 && p.Seq != me.una:
		me.begin(p, r)
		if me.flags&halfScaled == 0 || other.flags&(halfSyn|halfScaled) == halfSyn {
			me.scale, other.scale = 0, 0 // RFC 7323 2.2: only if both ends have sent it
		}
	case me.rcv == p.Seq: // repeated, the first was lost
		me.rcv = p.Seq + 1
		r.before, r.moved = p.Seq, true
	}
	other.una = p.Ack
	if other.flags&halfAcked == 0 {
		other.rcv = p.Ack // a fast open's data may have been refused
	}
	me.flags |= halfAnswers
	other.flags |= halfAcked
	other.updateWindow(p.Ack, uint32(p.Window))
	s.State = flow.PhaseOpening
	s.advance(r)
}

// updateWindow records the window that the other end offers.
func (h *halfConn) updateWindow(ack, window uint32) {
	if edge := ack + window; h.flags&halfEdge == 0 || int32(edge-h.edge) > 0 {
		h.edge = edge
		h.flags |= halfEdge
	}
}

// repeatsFIN reports whether seq is the number of this end's FIN, which is acknowledged. A host that has
// closed its socket resets what still comes by the number that the segment acknowledges, which was sent
// before the FIN arrived; Linux accepts such an RST (tcp_reset_check).
func (h *halfConn) repeatsFIN(seq uint32) bool { return h.flags&halfFin != 0 && seq == h.nxt-1 }

// trackRST accepts an RST at the number the receiver expects: the highest that it
// acknowledged, what was delivered to it, the sender's next, or that of its FIN. By RFC 5961 3.2 the receiver
// answers any other RST in the window with a challenge ACK; as the capture may have missed
// frames, such an RST is recorded: the session then ends soon if its sender stays silent, and
// continues otherwise.
func (s *Session) trackRST(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.halves[dir], &s.halves[dir^1]
	switch {
	case s.State.Over():
		r.Valid = true
		return
	case s.State == flow.NoPhase:
		s.Flags |= Midstream
	case s.State == flow.PhaseOpening && me.flags&halfSeen == 0:
		// RFC 9293 3.10.7.3: in SYN-SENT an RST is accepted by its ACK.
		if p.Flags&packet.ACK == 0 || int32(p.Ack-other.una) <= 0 || int32(p.Ack-other.nxt) > 0 {
			return
		}
		s.State = flow.PhaseRefused
		r.Valid, r.Events = true, RefusedNow
		return
	case me.flags&halfSeen == 0:
	case s.Flags&Away == 0 && (p.Seq == me.una || p.Seq == me.rcv || p.Seq == me.nxt || me.repeatsFIN(p.Seq)):
	case s.Flags&Away != 0:
		// The number that the receiver expects is unknown. The kernel's tracker knows it; the
		// engine queries it.
		r.Valid, r.Events = true, Challenge
		me.flags |= halfRst
		return
	default:
		if p.Seq-me.una <= me.high()-me.una {
			r.Valid, r.Events = true, Challenge
			me.flags |= halfRst
		}
		return
	}
	if me.flags&halfSeen != 0 && (p.Seq != me.una || p.TTL < me.hops) {
		r.Events |= UnsureReset
	}
	s.State = flow.PhaseReset
	me.flags |= halfRst
	r.Valid = true
	r.Events |= ResetNow
}

// trackData handles segments with neither SYN nor RST: data, ACKs, FINs, probes.
func (s *Session) trackData(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.halves[dir], &s.halves[dir^1]
	end := endOf(p)
	switch {
	case s.State == flow.NoPhase:
		s.State = flow.PhaseMidStream
		s.Flags |= Midstream
		me.assume(p.Seq)
		other.assume(p.Ack)
	case me.flags&halfSeen == 0 && s.State == flow.PhaseOpening && int32(p.Ack-other.una) > 0 && int32(p.Ack-other.nxt) <= 0:
		me.assume(p.Seq) // its SYN+ACK was missed
	case me.flags&halfSeen == 0:
		return
	}
	if !me.accepts(p, end, r) || !other.acceptsACK(p.Ack, s.Flags&Whole != 0, r) {
		if s.unproven() {
			s.resume(p, dir)
		}
		r.Lost = 0
		r.Events &^= Gap
		return
	}
	r.Valid = true
	other.acked(p.Ack)
	other.updateWindow(p.Ack, uint32(p.Window)<<me.scale)
	reset := me.flags & halfRst
	if me.recordSent(p, end, r); s.State == flow.PhaseReset {
		me.flags |= reset
	}
	s.advance(r)
}

// accepts reports whether the receiver can accept the segment by its sequence numbers.
func (h *halfConn) accepts(p *packet.Packet, end uint32, r *TCPResult) bool {
	reach := h.tolerance()
	switch beyond := int32(end - h.nxt); {
	case int32(p.Seq-h.high()) > reach, int32(h.una-end) > reach:
		return false
	case h.flags&halfFin != 0 && beyond > 0:
		r.Events |= AfterFIN
		return false
	case p.Flags&packet.FIN != 0 && beyond < 0:
		return false // its sender has sent bytes behind this FIN
	}
	return true
}

// acceptsACK reports whether an ACK for this direction is plausible. An ACK for more than was
// seen means that the capture missed frames; it is bounded by the window.
// Where all is seen, it is discarded: what was never sent is repeated until its ACK comes.
func (h *halfConn) acceptsACK(ack uint32, whole bool, r *TCPResult) bool {
	if h.flags&halfSeen == 0 {
		h.assume(ack)
		return true
	}
	if h.flags&halfAcked == 0 && int32(ack-h.una) <= 0 {
		return false // the SYN is still to be acknowledged
	}
	if missed := int32(ack - h.nxt); missed > 0 {
		if whole && h.flags&halfSpoke != 0 {
			r.Events |= FutureACK
			return false
		}
		if h.flags&(halfFin|halfAcked) != halfAcked || int32(ack-h.high()) > h.tolerance() {
			return false
		}
		r.Lost = uint32(missed)
		r.Events |= Gap
	}
	return int32(h.una-ack) <= h.tolerance()
}

func (h *halfConn) acked(ack uint32) {
	h.flags |= halfAcked
	if int32(ack-h.nxt) > 0 {
		h.nxt = ack
	}
	if int32(ack-h.una) > 0 {
		h.una = ack
	}
	if int32(ack-h.rcv) > 0 {
		h.rcv = ack
	}
}

// recordSent applies a valid segment.
func (h *halfConn) recordSent(p *packet.Packet, end uint32, r *TCPResult) {
	r.before = h.rcv
	h.flags = h.flags&^halfRst | halfSpoke // its sender is still up
	if p.Seq+1 == h.nxt && p.PayloadWire <= 1 && p.Flags&packet.FIN == 0 && h.una == h.nxt {
		r.Events |= KeepAlive // RFC 9293 3.8.4
		return
	}
	if p.PayloadWire > 0 {
		if h.flags&halfData == 0 && int32(p.Seq-h.rcv) < 0 {
			r.before = p.Seq // its ACK was seen before it, as captures show the two directions in any order
		} else if int32(end-h.nxt) <= 0 {
			r.Events |= Retransmit
		}
		h.flags |= halfData
	}
	if int32(end-h.nxt) > 0 {
		h.nxt = end
	}
	if p.Flags&packet.FIN != 0 {
		h.flags |= halfFin
	}
	if p.HasTime && int32(p.Seq-h.rcv) <= 0 && (h.time == 0 || int32(p.TimeValue-h.time) > 0) {
		h.time = p.TimeValue
	}
	r.moved = h.delivered(p.Seq, end)
	if h.flags&halfEdge == 0 && h.nxt-h.una > 0xffff<<unknownScale {
		h.una = h.nxt - 0xffff // the other direction is never seen: una would fall behind by half the space
	}
}

// advance moves the state by the state of both directions.
func (s *Session) advance(r *TCPResult) {
	a, b := &s.halves[0], &s.halves[1]
	if s.State == flow.PhaseOpening && a.flags&b.flags&halfAcked != 0 {
		s.State = flow.PhaseEstablished
		r.Events |= Opened
		if s.Flags&Crossed != 0 && a.flags&b.flags&halfAnswers == 0 {
			r.Events |= Split
		}
	}
	if s.State != flow.PhaseEstablished && s.State != flow.PhaseMidStream && s.State != flow.PhaseClosing {
		return
	}
	if (a.flags|b.flags)&halfFin != 0 {
		s.State = flow.PhaseClosing
	}
	if a.flags&b.flags&halfFin != 0 && a.una == a.nxt && b.una == b.nxt {
		s.State = flow.PhaseClosed
		r.Events |= ClosedNow
	}
}
