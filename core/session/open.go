package session

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// AssumeOpen makes a new session that of a connection which is known to be open although no
// packet of it was seen. Its sequence numbers come from the first segment that has both.
func (s *Session) AssumeOpen() {
	s.Flags |= Midstream
	if s.Key.Proto != packet.ProtoTCP {
		return
	}
	s.State = flow.PhaseMidStream
	s.Flags |= Answered | Away
	for d := range s.halves {
		s.halves[d] = halfConn{scale: unknownScale}
	}
}

// Silent reports whether no packet of the session was seen.
func (s *Session) Silent() bool { return s.Packets[0]+s.Packets[1] == 0 }

// ProbeSeq returns the numbers of a segment in direction dir that its receiver does not
// accept, and answers with where it is (RFC 9293 3.10.7.4). Where the receiver's numbers are
// unknown, guess is used: it is outside of the window, but for one chance in thousands.
func (s *Session) ProbeSeq(dir int, guess uint32) (seq, ack uint32) {
	me, other := &s.halves[dir&1], &s.halves[dir&1^1]
	if s.Flags&Away != 0 || me.flags&other.flags&halfSeen == 0 {
		return guess, 0
	}
	return me.rcv - 1, other.una
}
