package session

import (
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Timeouts are how long a session is kept after its last packet, in ns. A zero field has the
// default.
type Timeouts struct {
	Opening     int64 // TCP: the handshake is incomplete; at least 20 s, see opening
	Established int64 // TCP, open, or closed by one end only; 2 h 4 min (RFC 5382 REQ-5)
	Closing     int64 // TCP: both FINs, or an RST of doubtful sequence number; 90 s
	Closed      int64 // TCP: closed or reset; 15 s
	Refused     int64 // TCP: the SYN was answered with an RST; 2 s
	Denied      int64 // denied by policy, any protocol; 60 s
	UDP         int64 // UDP, answered or not; 5 min (RFC 4787 REQ-5)
	Unanswered  int64 // UDP: after it a question counts as unanswered; at most UDP; 30 s
	DeniedOpen  int64 // TCP, denied after it was open and reset; 150 s, as kernels repeat segments after up to 120 s
	ICMP        int64 // 10 s
	Other       int64 // 30 s
}

// defaults is a table: it is never written.
var defaults = Timeouts{}.withDefaults()

func (t Timeouts) withDefaults() Timeouts {
	set := func(v *int64, d time.Duration) {
		if *v <= 0 {
			*v = int64(d)
		}
	}
	set(&t.Opening, 20*time.Second)
	set(&t.Established, 2*time.Hour+4*time.Minute)
	set(&t.Closing, 90*time.Second)
	set(&t.Closed, 15*time.Second)
	set(&t.Refused, 2*time.Second)
	set(&t.Denied, 60*time.Second)
	set(&t.UDP, 5*time.Minute)
	set(&t.DeniedOpen, 150*time.Second)
	set(&t.Unanswered, 30*time.Second)
	t.Unanswered = min(t.Unanswered, t.UDP)
	set(&t.ICMP, 10*time.Second)
	set(&t.Other, 30*time.Second)
	return t
}

// Of returns the timeout of a session in its present state, ns.
func (t *Timeouts) Of(s *Session) int64 {
	if s.Flags&Denied != 0 {
		return t.denied(s)
	}
	switch s.Key.Proto {
	case packet.ProtoTCP:
		return t.tcp(s)
	case packet.ProtoUDP:
		return t.UDP
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return t.ICMP
	}
	return t.Other
}

// denied returns the timeout of a denied session: while a kernel may repeat a segment of it, so
// that the segment is not taken for one of a connection picked up in mid-stream. Ends that were
// not reset keep the connection.
func (t *Timeouts) denied(s *Session) int64 {
	switch {
	case s.Key.Proto != packet.ProtoTCP || s.State == flow.PhaseOpening || s.State == flow.PhaseRefused:
		return t.Denied
	case s.Flags&Unreset != 0 && !s.State.Over():
		return t.Established
	}
	return t.DeniedOpen
}

func (t *Timeouts) tcp(s *Session) int64 {
	switch s.State {
	case flow.PhaseEstablished, flow.PhaseMidStream:
		if s.Doubtful() {
			return t.Closing
		}
		return t.Established
	case flow.PhaseClosing:
		// An end that has sent its FIN may receive until the other one closes: kernels keep such a
		// connection like an open one (RFC 9293 3.6).
		if s.halfClosed() && !s.Doubtful() {
			return t.Established
		}
		return t.Closing
	case flow.PhaseClosed, flow.PhaseReset:
		return t.Closed
	case flow.PhaseRefused:
		return t.Refused
	}
	return t.opening(s)
}

// longestRepeat is beyond the longest time after which Linux repeats a segment (TCP_RTO_MAX), ns.
const longestRepeat = int64(130e9)

// opening returns the timeout of an incomplete handshake. A SYN or SYN+ACK that is not answered is
// repeated after twice the time each time (RFC 6298 5.5), so the next one comes at the latest when
// the handshake has lasted twice as long as now. What is not repeated makes room early.
func (t *Timeouts) opening(s *Session) int64 {
	lasted := s.Last - s.Created
	if 2*lasted <= t.Opening {
		return t.Opening
	}
	return max(t.Opening, min(lasted+lasted/8+int64(2*time.Second), longestRepeat))
}

// unanswered reports whether a conversation has waited for an answer in vain. It is kept: an
// answer that comes late belongs to it.
func (t *Timeouts) unanswered(s *Session, now int64) bool {
	return s.Key.Proto == packet.ProtoUDP && s.Flags&(Answered|Denied) == 0 && now-s.Last >= t.Unanswered
}

// Timeout returns how long the session is kept after its last packet by the default timeouts,
// ns. Table.Timeout uses the table's own.
func (s *Session) Timeout() int64 {
	return defaults.Of(s)
}
