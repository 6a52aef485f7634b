package session_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

func TestTimeout(t *testing.T) {
	tcp := func(state flow.Phase, flags session.Flags) session.Session {
		return session.Session{Key: session.Key{Proto: packet.ProtoTCP}, State: state, Flags: flags}
	}
	other := func(proto uint8, flags session.Flags) session.Session {
		return session.Session{Key: session.Key{Proto: proto}, Flags: flags}
	}
	for _, c := range []struct {
		name string
		s    session.Session
		want time.Duration
	}{
		{"opening", tcp(opening, 0), 20 * time.Second},
		{"established", tcp(established, 0), 124 * time.Minute},
		{"mid-stream", tcp(midStream, session.Midstream), 124 * time.Minute},
		{"closing", tcp(closing, 0), 90 * time.Second},
		{"closed", tcp(closed, 0), 15 * time.Second},
		{"reset, denied", tcp(reset, session.Denied), 150 * time.Second},
		{"refused", tcp(refused, 0), 2 * time.Second},
		{"denied", tcp(opening, session.Denied), time.Minute},
		{"denied when open", tcp(established, session.Denied), 150 * time.Second},
		{"denied when open, without answers", tcp(established, session.Denied|session.Unreset), 124 * time.Minute},
		{"udp denied", other(packet.ProtoUDP, session.Denied|session.Unreset), time.Minute},
		{"udp", other(packet.ProtoUDP, 0), 5 * time.Minute},
		{"udp answered", other(packet.ProtoUDP, session.Answered), 5 * time.Minute},
		{"icmp", other(packet.ProtoICMPv6, 0), 10 * time.Second},
		{"sctp", other(packet.ProtoSCTP, 0), 30 * time.Second},
	} {
		if got := c.s.Timeout(); got != int64(c.want) {
			t.Errorf("%s: got %v, want %v", c.name, time.Duration(got), c.want)
		}
	}
	s := tcp(opening, 0)
	if got := session.New(session.Config{Timeouts: session.Timeouts{Opening: 7}}).Timeout(&s); got != 7 {
		t.Errorf("own timeout: got %d, want 7", got)
	}
	// The next repetition of a SYN comes when the handshake has lasted twice as long.
	for lasted, want := range map[time.Duration]time.Duration{time.Second: 20 * time.Second, 32 * time.Second: 38 * time.Second, 70 * time.Second: 80750 * time.Millisecond, time.Hour: 130 * time.Second} {
		s = tcp(opening, 0)
		s.Last = int64(lasted)
		if got := s.Timeout(); got != int64(want) {
			t.Errorf("opening for %v: got %v, want %v", lasted, time.Duration(got), want)
		}
	}
	// Half closed: the other end may send for as long as it likes.
	s = session.Session{Key: session.Key{Proto: packet.ProtoTCP}}
	for _, c := range []struct {
		segment seg
		want    time.Duration
	}{
		{seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 5}, 124 * time.Minute},
		{seg{dir: 0, flags: ack | fin, seq: 6, ack: 1}, 124 * time.Minute},
		{seg{dir: 1, flags: ack | fin, seq: 1, ack: 6}, 90 * time.Second},
		{seg{dir: 1, flags: ack, seq: 2, ack: 7}, 90 * time.Second},
		{seg{dir: 0, flags: ack, seq: 7, ack: 2}, 15 * time.Second},
	} {
		s.Track(c.segment.packet(), c.segment.dir, start)
		if got := s.Timeout(); got != int64(c.want) {
			t.Errorf("after %+v: got %v, want %v", c.segment, time.Duration(got), c.want)
		}
	}
}
