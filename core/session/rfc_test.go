package session_test

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// The cases of this file are written from RFC 9293 3.5, 3.6, 3.8.4, 3.8.6.1 and 3.10.7 and RFC 5961, not from the tracker.
var rfcCases = []struct {
	name string
	segs []seg
}{
	{"3.6 case 1: the client closes, then the server", open(
		seg{0, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{1, ack, 1, 2, 0, 0, false, false, 0, closing},
		seg{1, ack | fin, 1, 2, 0, 0, false, false, 0, closing},
		seg{0, ack, 2, 2, 0, 0, false, false, session.ClosedNow, closed},
	)},
	{"3.6 case 2: the server closes, then the client", open(
		seg{1, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{0, ack, 1, 2, 0, 0, false, false, 0, closing},
		seg{0, ack | fin, 1, 2, 0, 0, false, false, 0, closing},
		seg{1, ack, 2, 2, 0, 0, false, false, session.ClosedNow, closed},
	)},
	{"3.6 case 3: both close at once", open(
		seg{0, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{1, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{0, ack, 2, 2, 0, 0, false, false, 0, closing},
		seg{1, ack, 2, 2, 0, 0, false, false, session.ClosedNow, closed},
	)},
	{"the last ACK is lost, the FIN repeated", open(
		seg{0, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{1, ack | fin, 1, 2, 0, 0, false, false, 0, closing},
		seg{1, ack | fin, 1, 2, 0, 0, false, false, 0, closing},
		seg{0, ack, 2, 2, 0, 0, false, false, session.ClosedNow, closed},
		seg{1, ack | fin, 1, 2, 0, 0, false, false, 0, closed},
		seg{0, ack, 2, 2, 0, 0, false, false, 0, closed},
	)},
	{"half-close: the other direction continues for long", open(
		seg{0, ack | fin, 1, 1, 300, 0, false, false, 0, closing},
		seg{1, ack, 1, 302, 1000, 0, false, false, 0, closing},
		seg{0, ack, 302, 1001, 0, 0, false, false, 0, closing},
		seg{1, ack, 1001, 302, 1000, 0, false, false, 0, closing},
		seg{0, ack, 302, 2001, 0, 0, false, false, 0, closing},
		seg{0, ack, 302, 2001, 1, 0, false, true, session.AfterFIN, closing},
		seg{1, ack | fin, 2001, 302, 10, 0, false, false, 0, closing},
		seg{0, ack, 302, 2012, 0, 0, false, false, session.ClosedNow, closed},
	)},
	{"FIN before the data it follows", open(
		seg{0, ack | fin, 101, 1, 0, 0, false, false, 0, closing},
		seg{0, ack, 1, 1, 100, 0, false, false, session.Retransmit, closing},
		seg{1, ack, 1, 102, 0, 0, false, false, 0, closing},
	)},
	{"3.5 figure 7: both open at once", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn, 0, 0, 0, 0, false, false, session.Simultaneous, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, syn | ack, 0, 1, 0, 0, false, false, session.Opened, established},
		{0, ack, 1, 1, 10, 0, false, false, 0, established},
		{1, ack, 1, 11, 10, 0, false, false, 0, established},
	}},
	{"3.10.7.3: in SYN-SENT only an RST that covers the SYN refuses", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, rst | ack, 0, 0, 0, 0, false, true, 0, opening},
		{1, rst | ack, 12345, 0, 0, 0, false, true, 0, opening},
		{1, rst, 0, 0, 0, 0, false, true, 0, opening},
		{1, rst | ack, 12345, 1, 0, 0, false, false, session.RefusedNow, refused},
	}},
	{"3.10.7.3: a SYN+ACK for another SYN is none", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 0, 0, 0, false, true, 0, opening},
		{1, syn | ack, 0, 2, 0, 0, false, true, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, ack, 1, 1, 0, 0, false, false, session.Opened, established},
	}},
	{"3.8.4: keep-alive probes of none and of one byte, either way", open(
		seg{0, ack, 1, 1, 10, 0, false, false, 0, established},
		seg{1, ack, 1, 11, 0, 0, false, false, 0, established},
		seg{0, ack, 10, 1, 0, 0, false, false, session.KeepAlive, established},
		seg{1, ack, 1, 11, 0, 0, false, false, 0, established},
		seg{0, ack, 10, 1, 1, 0, false, false, session.KeepAlive, established},
		seg{1, ack, 1, 11, 0, 0, false, false, 0, established},
		seg{1, ack, 0, 11, 0, 0, false, false, session.KeepAlive, established},
		seg{0, ack, 11, 1, 0, 0, false, false, 0, established},
	)},
	{"a repeated byte that is not acknowledged is no probe", open(
		seg{0, ack, 1, 1, 1, 0, false, false, 0, established},
		seg{0, ack, 1, 1, 1, 0, false, false, session.Retransmit, established},
		seg{1, ack, 1, 2, 0, 0, false, false, 0, established},
		seg{0, ack, 1, 1, 1, 0, false, false, session.KeepAlive, established},
	)},
	{"3.8.6.1: a closed window is probed with one byte and opens again", open(
		seg{0, ack, 1, 1, 1000, 0, false, false, 0, established},
		seg{1, ack, 1, 1001, 0, 1, false, false, 0, established},
		seg{0, ack, 1001, 1, 1, 0, false, false, 0, established},
		seg{1, ack, 1, 1001, 0, 1, false, false, 0, established},
		seg{0, ack, 1001, 1, 1, 0, false, false, session.Retransmit, established},
		seg{1, ack, 1, 1002, 0, 0, false, false, 0, established},
		seg{0, ack, 1002, 1, 900, 0, false, false, 0, established},
		seg{1, ack, 1, 1902, 0, 0, false, false, 0, established},
	)},
	{"RFC 5961 3.2: an RST is believed at exactly what is expected", open(
		seg{0, ack, 1, 1, 100, 0, false, false, 0, established},
		seg{1, ack, 1, 101, 0, 0, false, false, 0, established},
		seg{0, rst, 100, 0, 0, 0, false, true, 0, established},
		seg{0, rst, 102, 0, 0, 0, false, false, session.Challenge, established},
		seg{0, rst, 101 + 1<<20, 0, 0, 0, false, true, 0, established},
		seg{0, rst, 101, 0, 0, 0, false, false, session.ResetNow, reset},
	)},
	{"a closed socket answers data that was on its way with an RST at the number of its FIN", open(
		seg{0, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{1, ack, 1, 2, 0, 0, false, false, 0, closing},
		seg{1, ack, 1, 1, 16, 0, false, false, 0, closing},
		seg{0, rst, 0, 0, 0, 0, false, true, 0, closing},
		seg{0, rst, 1, 0, 0, 0, false, false, session.ResetNow | session.UnsureReset, reset},
	)},
	{"RFC 5961 4.2: a SYN of an open connection is challenged, whatever its number", open(
		seg{0, syn, 0, 0, 0, 0, false, false, session.Challenge, established},
		seg{0, syn, 1, 0, 0, 0, false, false, session.Challenge, established},
		seg{0, syn, 1 << 30, 0, 0, 0, false, false, session.Challenge, established},
		seg{1, syn, 1, 0, 0, 0, false, false, session.Challenge, established},
		seg{0, ack, 1, 1, 10, 0, false, false, 0, established},
	)},
	{"the handshake's last ACK is lost behind the tap, SYN and SYN+ACK are repeated", open(
		seg{0, syn, 0, 0, 0, 0, false, false, session.Challenge, established},
		seg{1, syn | ack, 0, 1, 0, 0, false, false, 0, established},
		seg{0, ack, 1, 1, 10, 0, false, false, 0, established},
	)},
	{"RFC 5961 5.2: blind data and blind ACKs are not taken", open(
		seg{0, ack, 1 << 20, 1, 10, 0, false, true, 0, established},
		seg{0, ack, -1 << 20, 1, 10, 0, false, true, 0, established},
		seg{0, ack, 1, 1 << 20, 10, 0, false, true, 0, established},
		seg{0, ack, 1, -1 << 20, 10, 0, false, true, 0, established},
		seg{0, ack, 1, 1, 10, 0, false, false, 0, established},
	)},
	{"TIME-WAIT: a new SYN begins again (3.10.7.4)", open(
		seg{0, ack | fin, 1, 1, 0, 0, false, false, 0, closing},
		seg{1, ack | fin, 1, 2, 0, 0, false, false, 0, closing},
		seg{0, ack, 2, 2, 0, 0, false, false, session.ClosedNow, closed},
		seg{0, syn, 70000, 0, 0, 0, false, false, session.Reopen, closed},
		seg{1, syn, 70000, 0, 0, 0, false, false, session.Reopen, closed},
	)},
	{"a FIN below bytes that were sent is forged", open(
		seg{0, ack, 1, 1, 100, 0, false, false, 0, established},
		seg{0, ack | fin, 51, 1, 0, 0, false, true, 0, established},
		seg{0, ack | fin, 101, 1, 0, 0, false, false, 0, closing},
	)},
}

// isns are pairs of initial sequence numbers around every edge of the space.
var isns = [][2]uint32{{0, 0}, {1<<32 - 1, 1<<32 - 2}, {1<<31 - 1, 1 << 31}, {1<<32 - 500, 1<<31 - 500}, {12345, 1<<32 - 1500}}

// TestAsRFC9293 runs every case from every edge of the sequence space, with either end named client.
func TestAsRFC9293(t *testing.T) {
	for _, c := range rfcCases {
		for i, base := range isns {
			for _, clientIsA := range []bool{false, true} {
				t.Run(fmt.Sprint(c.name, "/", i, clientIsA), func(t *testing.T) {
					s := session.Session{Key: key(1), ClientIsA: clientIsA}
					for n, g := range c.segs {
						p := &packet.Packet{Flags: g.flags, PayloadWire: g.n, Window: 1000, Proto: packet.ProtoTCP, Seq: base[g.dir] + uint32(g.seq)}
						if g.win == 1 {
							p.Window = 0
						}
						if g.flags&ack != 0 {
							p.Ack = base[g.dir^1] + uint32(g.ack)
						}
						before := s
						r := s.Track(p, g.dir, 0)
						if r.Valid == g.invalid || r.Events != g.ev || r.State != g.state || s.State != g.state {
							t.Fatalf("segment %d: got valid %v events %#x state %q, want %v %#x %q", n, r.Valid, r.Events, r.State, !g.invalid, g.ev, g.state)
						}
						if g.invalid && s != before {
							t.Fatalf("segment %d is not valid and changed the session:\n%+v\n%+v", n, before, s)
						}
					}
				})
			}
		}
	}
}

// TestFlagsTable: RFC 9293 3.10.7.4: what a synchronized connection does with each combination of control bits at the right numbers.
func TestFlagsTable(t *testing.T) {
	for f := range uint8(64) {
		s := session.Session{Key: key(1), ClientIsA: true}
		for _, g := range open() {
			s.Track(g.packet(), g.dir, 0)
		}
		p := (seg{dir: 0, seq: 1, ack: 1, flags: f}).packet()
		before := s
		r := s.Track(p, 0, 0)
		want, events := flow.PhaseEstablished, session.Events(0)
		switch {
		case f&(syn|rst|ack) == 0, f&syn != 0 && f&(fin|rst) != 0:
			events = session.BadFlags
		case f&rst != 0:
			want, events = flow.PhaseReset, session.ResetNow
		case f&(syn|ack) == syn:
			events = session.Challenge
		case f&(syn|ack) == syn|ack:
		case f&fin != 0:
			want = flow.PhaseClosing
		}
		if r.State != want || r.Events != events || r.Valid != (events != session.BadFlags) {
			t.Errorf("flags %06b: got %q %#x valid %v, want %q %#x", f, r.State, r.Events, r.Valid, want, events)
		}
		if !r.Valid && s != before {
			t.Errorf("flags %06b: not valid, and changed the session", f)
		}
	}
}
