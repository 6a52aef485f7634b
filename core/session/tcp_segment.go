package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// begin starts a wing with its SYN. una is the SYN's own number until it is acknowledged.
func (w *wing) begin(p *packet.Packet, r *TCPResult) {
	*w = wing{nxt: endOf(p), una: p.Seq, rcv: p.Seq + 1, flags: wSeen | wSyn}
	if p.FastOpen {
		w.rcv = w.nxt // RFC 7413: data in the SYN is taken when the cookie is good
	}
	if p.HasWScale {
		w.flags |= wScaled
		w.scale = min(p.WScale, 14) // RFC 7323 2.3
	}
	if p.PayloadWire > 0 {
		w.flags |= wData
	}
	r.before, r.moved = p.Seq, true
}

// assume starts a wing of which nothing was seen, from the other end's ACK.
func (w *wing) assume(ack uint32) {
	*w = wing{nxt: ack, una: ack, rcv: ack, scale: unknownScale, flags: wSeen | wAcked}
}

// again says whether the segment repeats the wing's SYN.
func (w *wing) again(p *packet.Packet) bool {
	if w.flags&wAcked == 0 {
		return p.Seq == w.una
	}
	// Once acknowledged, the SYN's number is at most its data below una.
	return int32(w.una-p.Seq) > 0 && w.una-p.Seq <= uint32(p.PayloadWire)+1
}

// challenge notes a SYN of an open connection. Its receiver answers with a challenge ACK, but
// where the capture missed the connection's end, with a SYN+ACK.
func (w *wing) challenge(p *packet.Packet, r *TCPResult) {
	w.fresh = uint16(p.Seq)<<1 | 1
	r.Events |= Challenge
}

// answered says whether a SYN+ACK with that ACK is the answer to the SYN that was noted.
func (w *wing) answered(ack uint32) bool { return w.fresh == uint16(ack-1)<<1|1 }

// trackSYN handles a SYN without ACK.
func (s *Session) trackSYN(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.wings[dir], &s.wings[dir^1]
	r.Valid = true
	switch s.State {
	case flow.NoPhase:
		me.begin(p, r)
		s.State = flow.PhaseOpening
	case flow.PhaseOpening:
		switch {
		case me.flags&wSyn == 0 && me.flags&wSeen != 0 && p.Seq+1 == me.una:
			// The tap saw the SYN+ACK first.
			me.flags |= wSyn
			if p.HasWScale {
				me.flags, me.scale = me.flags|wScaled, min(p.WScale, 14)
			}
		case me.flags&wSeen == 0:
			me.begin(p, r)
			r.Events |= Simultaneous
		case me.again(p):
			// A fast open that is not answered is repeated without its data, or with it.
			if end := endOf(p); int32(end-me.nxt) > 0 {
				me.nxt = end
			}
			r.before, r.moved = p.Seq, me.rcv == p.Seq
			me.delivered(p.Seq, p.Seq+1)
		case s.Flags&Denied != 0:
			// The first SYN was refused, and with it that attempt was over.
			r.Events |= Reopen
		case me.flags&wAcked == 0 && other.flags&wSyn == 0:
			// Nobody answered the first SYN: the client tries anew from the same port.
			*other = wing{}
			me.begin(p, r)
		default:
			me.challenge(p, r)
		}
	case flow.PhaseEstablished, flow.PhaseMidStream:
		// RFC 9293 3.10.7.4: a SYN in a synchronized state is answered with a challenge ACK.
		switch {
		case s.Doubtful() || s.Flags&Denied != 0:
			r.Events |= Reopen
		case me.flags&wSyn != 0 && me.again(p):
			// The connection's own SYN once more. The SYN+ACK that may follow repeats the handshake, it begins nothing.
			r.Events |= Challenge
		default:
			me.challenge(p, r)
		}
	case flow.PhaseClosing:
		// An end that has sent its FIN may begin anew; one that has not would have to forget first.
		if me.flags&wFin != 0 || s.Doubtful() || s.Flags&Denied != 0 {
			r.Events |= Reopen
		} else {
			me.challenge(p, r)
		}
	default:
		r.Events |= Reopen
	}
}

// rejoin takes a connection up again after segments that were not seen, from one that tells the numbers
// of both ends. Window scales are kept, and that an end has sent its FIN.
func (s *Session) rejoin(p *packet.Packet, dir int) {
	if p.Flags&(packet.SYN|packet.RST|packet.ACK) != packet.ACK || s.State != flow.PhaseEstablished && s.State != flow.PhaseMidStream && s.State != flow.PhaseClosing {
		return
	}
	s.Flags &^= Away
	s.wings[dir].at(p.Seq)
	s.wings[dir^1].at(p.Ack)
}

// at puts a wing where its other end is now.
func (w *wing) at(seq uint32) {
	if w.flags&wFin != 0 {
		return
	}
	w.nxt, w.una, w.rcv = seq, seq, seq
	w.flags = w.flags&^(wEdge|wRst) | wSeen | wAcked
}

// trackSYNACK handles the second step of the handshake, or its repetition.
func (s *Session) trackSYNACK(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.wings[dir], &s.wings[dir^1]
	if other.answered(p.Ack) && !s.State.Over() {
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
	if other.flags&wSeen == 0 {
		other.assume(p.Ack)
	}
	acked := int32(p.Ack - other.una)
	if acked < 0 || acked == 0 && other.flags&wAcked == 0 || int32(p.Ack-other.nxt) > 0 {
		return // not an answer to this SYN
	}
	r.Valid = true
	switch {
	case me.flags&wSyn == 0 || me.flags&wAcked == 0 && p.Seq != me.una:
		me.begin(p, r)
		if me.flags&wScaled == 0 || other.flags&(wSyn|wScaled) == wSyn {
			me.scale, other.scale = 0, 0 // RFC 7323 2.2: only if both ends have sent it
		}
	case me.rcv == p.Seq: // repeated, the first did not get through
		me.rcv = p.Seq + 1
		r.before, r.moved = p.Seq, true
	}
	other.una = p.Ack
	if other.flags&wAcked == 0 {
		other.rcv = p.Ack // a fast open's data may have been refused
	}
	other.flags |= wAcked
	other.offer(p.Ack, uint32(p.Window))
	s.State = flow.PhaseOpening
	s.advance(r)
}

// offer takes the window that the other end told.
func (w *wing) offer(ack, window uint32) {
	if edge := ack + window; w.flags&wEdge == 0 || int32(edge-w.edge) > 0 {
		w.edge = edge
		w.flags |= wEdge
	}
}

// trackRST believes an RST at the number the receiver expects: the highest that it
// acknowledged, what was delivered to it, or the sender's next. RFC 5961 3.2 has
// anything else in the window answered with a challenge ACK; as the capture may have
// missed frames, such an RST is remembered: the session then ends soon if its sender
// stays silent, and goes on if not.
func (s *Session) trackRST(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.wings[dir], &s.wings[dir^1]
	switch {
	case s.State.Over():
		r.Valid = true
		return
	case s.State == flow.NoPhase:
		s.Flags |= Midstream
	case s.State == flow.PhaseOpening && me.flags&wSeen == 0:
		// RFC 9293 3.10.7.3: in SYN-SENT an RST is believed by its ACK.
		if p.Flags&packet.ACK == 0 || int32(p.Ack-other.una) <= 0 || int32(p.Ack-other.nxt) > 0 {
			return
		}
		s.State = flow.PhaseRefused
		r.Valid, r.Events = true, RefusedNow
		return
	case me.flags&wSeen == 0:
	case s.Flags&Away == 0 && (p.Seq == me.una || p.Seq == me.rcv || p.Seq == me.nxt):
	case s.Flags&Away != 0:
		// What the receiver expects is not known. The kernel's own tracker knows; the engine asks it.
		r.Valid, r.Events = true, Challenge
		me.flags |= wRst
		return
	default:
		if p.Seq-me.una <= me.high()-me.una {
			r.Valid, r.Events = true, Challenge
			me.flags |= wRst
		}
		return
	}
	s.State = flow.PhaseReset
	r.Valid, r.Events = true, ResetNow
}

// trackData handles everything that has neither SYN nor RST: data, ACKs, FINs, probes.
func (s *Session) trackData(p *packet.Packet, dir int, r *TCPResult) {
	me, other := &s.wings[dir], &s.wings[dir^1]
	end := endOf(p)
	switch {
	case s.State == flow.NoPhase:
		s.State = flow.PhaseMidStream
		s.Flags |= Midstream
		me.assume(p.Seq)
		other.assume(p.Ack)
	case me.flags&wSeen == 0 && s.State == flow.PhaseOpening && int32(p.Ack-other.una) > 0 && int32(p.Ack-other.nxt) <= 0:
		me.assume(p.Seq) // its SYN+ACK was missed
	case me.flags&wSeen == 0:
		return
	}
	if !me.takes(p, end, r) || !other.takesACK(p.Ack, r) {
		r.Lost = 0
		r.Events &^= Gap
		return
	}
	r.Valid = true
	other.acked(p.Ack)
	other.offer(p.Ack, uint32(p.Window)<<me.scale)
	me.sent(p, end, r)
	s.advance(r)
}

// takes says whether the receiver can take the segment by its sequence numbers.
func (w *wing) takes(p *packet.Packet, end uint32, r *TCPResult) bool {
	reach := w.reachOf()
	switch beyond := int32(end - w.nxt); {
	case int32(p.Seq-w.high()) > reach, int32(w.una-end) > reach:
		return false
	case w.flags&wFin != 0 && beyond > 0:
		r.Events |= AfterFIN
		return false
	case p.Flags&packet.FIN != 0 && beyond < 0:
		return false // its sender has sent bytes behind this FIN
	}
	return true
}

// takesACK says whether an ACK for what the wing sent can be true. One that is for more
// than was seen means frames that the capture has missed; it is bounded by the window.
func (w *wing) takesACK(ack uint32, r *TCPResult) bool {
	if w.flags&wSeen == 0 {
		w.assume(ack)
		return true
	}
	if w.flags&wAcked == 0 && int32(ack-w.una) <= 0 {
		return false // the SYN is still to be acknowledged
	}
	if missed := int32(ack - w.nxt); missed > 0 {
		if w.flags&(wFin|wAcked) != wAcked || int32(ack-w.high()) > w.reachOf() {
			return false
		}
		r.Lost = uint32(missed)
		r.Events |= Gap
	}
	return int32(w.una-ack) <= w.reachOf()
}

func (w *wing) acked(ack uint32) {
	w.flags |= wAcked
	if int32(ack-w.nxt) > 0 {
		w.nxt = ack
	}
	if int32(ack-w.una) > 0 {
		w.una = ack
	}
	if int32(ack-w.rcv) > 0 {
		w.rcv = ack
	}
}

// sent takes in what a valid segment brings.
func (w *wing) sent(p *packet.Packet, end uint32, r *TCPResult) {
	r.before = w.rcv
	w.flags &^= wRst // its sender is alive
	if p.Seq+1 == w.nxt && p.PayloadWire <= 1 && p.Flags&packet.FIN == 0 && w.una == w.nxt {
		r.Events |= KeepAlive // RFC 9293 3.8.4
		return
	}
	if p.PayloadWire > 0 {
		if w.flags&wData == 0 && int32(p.Seq-w.rcv) < 0 {
			r.before = p.Seq // its ACK was seen before it, as taps show two directions in any order
		} else if int32(end-w.nxt) <= 0 {
			r.Events |= Retransmit
		}
		w.flags |= wData
	}
	if int32(end-w.nxt) > 0 {
		w.nxt = end
	}
	if p.Flags&packet.FIN != 0 {
		w.flags |= wFin
	}
	r.moved = w.delivered(p.Seq, end)
	if w.flags&wEdge == 0 && w.nxt-w.una > 0xffff<<unknownScale {
		w.una = w.nxt - 0xffff // the other direction is never seen: una would fall behind by half the space
	}
}

// advance moves the state by what is known of both wings.
func (s *Session) advance(r *TCPResult) {
	a, b := &s.wings[0], &s.wings[1]
	if s.State == flow.PhaseOpening && a.flags&b.flags&wAcked != 0 {
		s.State = flow.PhaseEstablished
		r.Events |= Opened
	}
	if s.State != flow.PhaseEstablished && s.State != flow.PhaseMidStream && s.State != flow.PhaseClosing {
		return
	}
	if (a.flags|b.flags)&wFin != 0 {
		s.State = flow.PhaseClosing
	}
	if a.flags&b.flags&wFin != 0 && a.una == a.nxt && b.una == b.nxt {
		s.State = flow.PhaseClosed
		r.Events |= ClosedNow
	}
}
