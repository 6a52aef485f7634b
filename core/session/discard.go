package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// maxTimeAge is how long a timestamp is compared with later ones, ns: RFC 7323 5.5.
const maxTimeAge = int64(24 * 24 * 3600e9)

// recordOptions stores what a SYN shows of its sender's later segments.
func (h *halfConn) recordOptions(p *packet.Packet) {
	h.flags &^= halfTime | halfSigned
	if p.HasTime {
		h.flags |= halfTime
		h.time = p.TimeValue
	}
	if p.Signed {
		h.flags |= halfSigned
	}
	h.hops = max(h.hops, p.TTL)
}

// discards returns why a segment's receiver discards it whatever its numbers are; 0 otherwise.
// Linux has these checks in tcp_inbound_hash and tcp_validate_incoming.
func (s *Session) discards(p *packet.Packet, dir int, now int64) Events {
	me, other := &s.halves[dir], &s.halves[dir^1]
	if me.flags&halfSyn == 0 || p.Flags&packet.SYN != 0 || s.State.Over() {
		return 0
	}
	if p.Signed != (me.flags&halfSigned != 0) {
		return BadSigning
	}
	if !p.HasTime || p.Flags&packet.RST != 0 || me.flags&other.flags&halfTime == 0 {
		return 0 // Linux accepts a segment without a timestamp (RFC 7323 3.2 asks for one)
	}
	// A difference of one is left to clocks that are not quite even.
	if me.time == 0 || int32(me.time-p.TimeValue) <= 1 || now-s.Last >= maxTimeAge {
		return 0
	}
	if s.Flags&Whole == 0 && p.PayloadWire > 0 && int32(endOf(p)-me.una) <= 0 {
		return 0 // its receiver has acknowledged it: a tap shows the two directions in any order
	}
	return OldTime
}

// unproven reports whether only one end of a session that was picked up in mid-stream has sent:
// the numbers may be those of one segment that belongs to no connection.
func (s *Session) unproven() bool {
	return s.Flags&Midstream != 0 && s.State == flow.PhaseMidStream && s.halves[0].flags&s.halves[1].flags&halfSpoke == 0
}

// Unproven reports whether a session was picked up in mid-stream, and no segment of one end fits
// one of the other yet: its payload may be forged.
func (s *Session) Unproven() bool { return s.unproven() }

// resume takes the numbers of a segment that does not fit those of an unproven session.
func (s *Session) resume(p *packet.Packet, dir int) {
	s.halves[dir].resync(p.Seq)
	s.halves[dir^1].resync(p.Ack)
}

// Expects returns what the receiver of direction dir may expect next: what it has acknowledged,
// and what was delivered to it beyond that.
func (s *Session) Expects(dir int) (acked, delivered uint32) {
	h := &s.halves[dir&1]
	if int32(h.rcv-h.una) > 0 {
		return h.una, h.rcv
	}
	return h.una, h.una
}

// Resetter returns the direction of the end that reset the connection; ok is false where it
// was not reset.
func (s *Session) Resetter() (dir int, ok bool) {
	if s.State != flow.PhaseReset {
		return 0, false
	}
	for d := range s.halves {
		if s.halves[d].flags&halfRst != 0 {
			return d, true
		}
	}
	return 0, false
}
