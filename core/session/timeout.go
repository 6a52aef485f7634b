package session

import (
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Timeouts are how long a session is kept after its last packet, in ns. A zero field takes
// the default.
type Timeouts struct {
	Opening     int64 // TCP: the handshake is not finished; 20 s
	Established int64 // TCP, open; 20 min
	Idle        int64 // TCP, picked up in mid-stream and without data since; 5 min
	Closing     int64 // TCP: a FIN, or an RST of doubtful sequence number; 90 s
	Closed      int64 // TCP: closed or reset; 15 s
	Refused     int64 // TCP: the SYN was answered with an RST; 2 s
	Denied      int64 // policy refused it, whatever the protocol; 60 s
	Unanswered  int64 // UDP without an answer; 30 s
	Answered    int64 // UDP; 180 s
	ICMP        int64 // 10 s
	Other       int64 // 30 s
}

// defaults is a table: nothing writes it.
var defaults = Timeouts{}.withDefaults()

func (t Timeouts) withDefaults() Timeouts {
	set := func(v *int64, d time.Duration) {
		if *v <= 0 {
			*v = int64(d)
		}
	}
	set(&t.Opening, 20*time.Second)
	set(&t.Established, 20*time.Minute)
	set(&t.Idle, 5*time.Minute)
	set(&t.Closing, 90*time.Second)
	set(&t.Closed, 15*time.Second)
	set(&t.Refused, 2*time.Second)
	set(&t.Denied, 60*time.Second)
	set(&t.Unanswered, 30*time.Second)
	set(&t.Answered, 180*time.Second)
	set(&t.ICMP, 10*time.Second)
	set(&t.Other, 30*time.Second)
	return t
}

// Of is the timeout of a session in its present state, ns.
func (t *Timeouts) Of(s *Session) int64 {
	if s.Flags&Denied != 0 && !s.State.Over() {
		return t.Denied
	}
	switch s.Key.Proto {
	case packet.ProtoTCP:
		return t.tcp(s)
	case packet.ProtoUDP:
		if s.Flags&Answered != 0 {
			return t.Answered
		}
		return t.Unanswered
	case packet.ProtoICMP, packet.ProtoICMPv6:
		return t.ICMP
	}
	return t.Other
}

func (t *Timeouts) tcp(s *Session) int64 {
	switch s.State {
	case flow.PhaseEstablished, flow.PhaseMidStream:
		if s.Doubtful() {
			return t.Closing
		}
		if s.Flags&Midstream != 0 && !s.HasData() {
			return t.Idle
		}
		return t.Established
	case flow.PhaseClosing:
		return t.Closing
	case flow.PhaseClosed, flow.PhaseReset:
		return t.Closed
	case flow.PhaseRefused:
		return t.Refused
	}
	return t.Opening
}

// Timeout is how long the session is kept after its last packet by the default timeouts,
// ns. Table.Timeout goes by the table's own.
func (s *Session) Timeout() int64 {
	return defaults.Of(s)
}
