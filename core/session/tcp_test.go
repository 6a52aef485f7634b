package session_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

const (
	fin, syn, rst, ack = packet.FIN, packet.SYN, packet.RST, packet.ACK
	// Sequence numbers wrap in every case: the client's after its first bytes.
	isnC = 1<<32 - 3
	isnS = 1<<32 - 40
)

// seg is a segment and its expected result. Numbers are relative to the sender's ISN.
type seg struct {
	dir      int
	flags    uint8
	seq, ack int64
	n        int
	win      uint16 // 0: 1000
	drop     bool
	invalid  bool
	ev       session.Events
	state    flow.Phase
}

func (g seg) packet() *packet.Packet {
	base := [2]int64{isnC, isnS}
	p := &packet.Packet{Flags: g.flags, PayloadWire: g.n, Window: g.win, Proto: packet.ProtoTCP}
	p.Seq, p.Ack = uint32(base[g.dir]+g.seq), uint32(base[g.dir^1]+g.ack)
	if g.win == 0 {
		p.Window = 1000
	}
	if g.flags&ack == 0 {
		p.Ack = 0
	}
	return p
}

// open returns the three segments of a handshake, followed by more.
func open(more ...seg) []seg {
	return append([]seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, flow.PhaseOpening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, flow.PhaseOpening},
		{0, ack, 1, 1, 0, 0, false, false, session.Opened, flow.PhaseEstablished},
	}, more...)
}

const (
	opening     = flow.PhaseOpening
	established = flow.PhaseEstablished
	closing     = flow.PhaseClosing
	closed      = flow.PhaseClosed
	reset       = flow.PhaseReset
	refused     = flow.PhaseRefused
	midStream   = flow.PhaseMidStream
)

var tcpCases = []struct {
	name string
	segs []seg
}{
	{"open, data, close", open(
		seg{0, ack, 1, 1, 100, 0, false, false, 0, established},
		seg{1, ack, 1, 101, 500, 0, false, false, 0, established},
		seg{0, ack | fin, 101, 501, 0, 0, false, false, 0, closing},
		seg{1, ack | fin, 501, 102, 0, 0, false, false, 0, closing},
		seg{0, ack, 102, 502, 0, 0, false, false, session.ClosedNow, closed},
		seg{1, ack | fin, 501, 102, 0, 0, false, false, 0, closed},
		seg{0, syn, 5000, 0, 0, 0, false, false, session.Reopen, closed},
	)},
	{"half closed, the server continues", open(
		seg{0, ack | fin, 1, 1, 10, 0, false, false, 0, closing},
		seg{1, ack, 1, 12, 800, 0, false, false, 0, closing},
		seg{0, ack, 12, 801, 0, 0, false, false, 0, closing},
		seg{0, ack, 12, 801, 5, 0, false, true, session.AfterFIN, closing},
		seg{0, ack | fin, 1, 1, 10, 0, false, false, session.Retransmit, closing},
		seg{1, syn, 9000, 0, 0, 0, false, false, session.Challenge, closing},
		seg{0, syn, 9000, 0, 0, 0, false, false, session.Reopen, closing},
		seg{1, ack | fin, 801, 12, 0, 0, false, false, 0, closing},
		seg{0, ack, 12, 802, 0, 0, false, false, session.ClosedNow, closed},
	)},
	{"SYN and SYN+ACK repeated", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 77, 0, 0, false, true, 0, opening},
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{0, syn, 50000, 0, 0, 0, false, false, session.Challenge, opening},
		{0, ack, 1, 50, 0, 0, false, true, 0, opening},
		{0, ack, 1, 1, 0, 0, false, false, session.Opened, established},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, established},
		{0, syn, 50000, 0, 0, 0, false, false, session.Challenge, established},
	}},
	{"its end was missed, the port is reused", open(
		seg{0, ack, 1, 1, 100, 0, false, false, 0, established},
		seg{0, syn, 90000, 0, 0, 0, false, false, session.Challenge, established},
		seg{1, ack, 1, 101, 0, 0, false, false, 0, established},
		seg{1, syn | ack, 0, 1, 0, 0, false, false, 0, established},
		seg{0, syn, 190000, 0, 0, 0, false, false, session.Challenge, established},
		seg{1, syn | ack, 70000, 90001, 0, 0, false, false, 0, established},
		seg{1, syn | ack, 70000, 190001, 0, 0, false, true, session.Reopen, established},
	)},
	{"its handshake's end was missed, the port is reused", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, syn, 90000, 0, 0, 0, false, false, session.Challenge, opening},
		{1, syn | ack, 70000, 90001, 0, 0, false, true, session.Reopen, opening},
	}},
	{"a client retries with another number", []seg{
		{0, syn, 7777, 0, 0, 0, false, false, 0, opening},
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, ack, 1, 1, 9, 0, false, false, session.Opened, established},
	}},
	{"refused, and again", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, rst, 0, 0, 0, 0, false, true, 0, opening},
		{1, rst | ack, 0, 2, 0, 0, false, true, 0, opening},
		{1, rst | ack, 0, 1, 0, 0, false, false, session.RefusedNow, refused},
		{1, syn | ack, 0, 1, 0, 0, false, true, 0, refused},
		{0, syn, 800, 0, 0, 0, false, false, session.Reopen, refused},
	}},
	{"simultaneous open", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn, 0, 0, 0, 0, false, false, session.Simultaneous, opening},
		{0, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, session.Opened, established},
		{0, ack, 1, 1, 20, 0, false, false, 0, established},
	}},
	{"split handshake", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn, 0, 0, 0, 0, false, false, session.Simultaneous, opening},
		{0, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{1, ack, 1, 1, 0, 0, false, false, session.Opened | session.Split, established},
	}},
	{"fast open", []seg{
		{0, syn, 0, 0, 30, 0, false, false, 0, opening},
		{1, syn | ack, 0, 31, 10, 0, false, false, 0, opening},
		{1, ack, 11, 31, 10, 0, false, false, 0, opening},
		{0, ack, 31, 21, 0, 0, false, false, session.Opened, established},
	}},
	{"fast open, data refused", []seg{
		{0, syn, 0, 0, 30, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, ack, 1, 1, 30, 0, false, false, session.Opened | session.Retransmit, established},
	}},
	{"resets", open(
		seg{0, ack, 1, 1, 100, 0, false, false, 0, established},
		seg{0, rst, 5000, 0, 0, 0, false, true, 0, established},
		seg{0, rst, -20, 0, 0, 0, false, true, 0, established},
		seg{0, rst, 300, 0, 0, 0, false, false, session.Challenge, established},
		seg{1, ack, 1, 101, 0, 0, false, false, 0, established},
		seg{0, syn, 900, 0, 0, 0, false, false, session.Reopen, established}, // doubtful
		seg{0, ack, 101, 1, 10, 0, false, false, 0, established},             // alive
		seg{0, syn, 900, 0, 0, 0, false, false, session.Challenge, established},
		seg{1, ack, 1, 901, 0, 0, false, false, session.Gap, established},
		seg{0, rst, 901, 0, 0, 0, false, false, session.ResetNow, reset},
		seg{0, rst, 901, 0, 0, 0, false, false, 0, reset},
	)},
	{"half open, reset by the client", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, rst, 1, 0, 0, 0, false, false, session.ResetNow, reset},
	}},
	{"windows, probes, reordering", open(
		seg{0, ack, 1, 1, 990, 0, false, false, 0, established},
		seg{0, ack, 70000, 1, 1, 0, false, true, 0, established},
		seg{1, ack, 1, 991, 0, 1, false, false, 0, established},
		seg{0, ack, 990, 1, 0, 0, false, false, session.KeepAlive, established},
		seg{0, ack, 990, 1, 1, 0, false, false, session.KeepAlive, established},
		seg{0, ack, 500, 1, 100, 0, false, false, session.Retransmit, established},
		seg{0, ack, 1091, 1, 100, 0, false, false, 0, established},
		seg{0, ack, 991, 1, 100, 0, false, false, session.Retransmit, established},
		seg{1, ack, 1, 1191, 0, 0, false, false, 0, established},
		seg{1, ack, 1, 991, 0, 0, false, false, 0, established},
		seg{1, ack, 1, 991 + 1<<17, 0, 0, false, true, 0, established},
	)},
	{"frames missed by the capture", open(
		seg{1, ack, 1, 401, 10, 0, false, false, session.Gap, established},
		seg{0, ack, 401, 11, 10, 0, false, false, 0, established},
	)},
	{"SYN+ACK missed by the capture", []seg{
		{0, syn, 0, 0, 0, 0, false, false, 0, opening},
		{0, ack, 1, 1, 10, 0, false, false, 0, opening},
		{1, ack, 1, 11, 10, 0, false, false, session.Opened, established},
	}},
	{"SYN missed by the capture", []seg{
		{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening},
		{0, ack, 1, 1, 10, 0, false, false, session.Opened, established},
	}},
	{"mid-stream", []seg{
		{0, ack, 1000, 900, 50, 0, false, false, 0, midStream},
		{1, ack, 900, 1050, 9000, 0, false, false, 0, midStream},
		{0, ack, 1050, 9900, 0, 0, false, false, 0, midStream},
		{0, ack | fin, 1050, 9900, 0, 0, false, false, 0, closing},
		{1, ack | fin, 9900, 1051, 0, 0, false, false, 0, closing},
		{0, ack, 1051, 9901, 0, 0, false, false, session.ClosedNow, closed},
	}},
	{"invalid flags", []seg{
		{0, 0, 0, 0, 5, 0, false, true, session.BadFlags, 0},
		{0, syn | fin, 0, 0, 0, 0, false, true, session.BadFlags, 0},
		{0, syn | rst, 0, 0, 0, 0, false, true, session.BadFlags, 0},
		{0, fin, 0, 0, 0, 0, false, true, session.BadFlags, 0},
	}},
}

func TestTrack(t *testing.T) {
	for _, c := range tcpCases {
		t.Run(c.name, func(t *testing.T) {
			for _, swap := range []bool{false, true} {
				s := session.Session{Key: key(1), ClientIsA: true}
				for i, g := range c.segs {
					dir := g.dir
					if swap && i > 0 { // another idea of who the client is changes nothing
						s.SwapClient()
						if !s.ClientIsA {
							dir ^= 1
						}
					}
					r := s.Track(g.packet(), dir, start)
					if r.Valid == g.invalid || r.Events != g.ev || r.State != g.state || s.State != g.state {
						t.Fatalf("segment %d %+v: got %+v, want state %v", i, g, r, g.state)
					}
				}
			}
		})
	}
}

// TestExpectedAfterAck checks an ACK of a direction's first bytes that is seen before them:
// they are where its stream begins.
func TestExpectedAfterAck(t *testing.T) {
	var s session.Session
	for _, g := range open(seg{1, ack, 1, 11, 0, 0, false, false, session.Gap, established}) {
		s.Track(g.packet(), g.dir, 0)
	}
	first := seg{0, ack, 1, 1, 10, 0, false, false, 0, established}.packet()
	if r := s.Track(first, 0, 0); !r.Valid || r.Expected() != first.Seq || r.Has(session.Retransmit) {
		t.Errorf("valid %v, expected %d, retransmit %v; want valid, %d, new", r.Valid, r.Expected(), r.Has(session.Retransmit), first.Seq)
	}
	if r := s.Track(first, 0, 0); !r.Has(session.Retransmit) || r.Expected() == first.Seq {
		t.Errorf("again: retransmit %v, expected %d; want a repetition", r.Has(session.Retransmit), r.Expected())
	}
}

func TestWindowScale(t *testing.T) {
	for _, c := range []struct {
		name       string
		client     bool
		server     bool
		data, seq  int64
		want       bool
		wantEvents session.Events
	}{
		{"both scale", true, true, 100, 1 + 100_000, true, 0},
		{"both scale, far beyond", true, true, 100, 1 + 400_000, false, 0},
		{"only the client", true, false, 100, 1 + 100_000, false, 0},
		{"only the server", false, true, 100, 1 + 100_000, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s session.Session
			s.Key.Proto = packet.ProtoTCP
			step := func(g seg, scale bool) session.TCPResult {
				p := g.packet()
				p.HasWScale, p.WScale = scale, 7
				return s.Track(p, g.dir, start)
			}
			step(seg{dir: 0, flags: syn}, c.client)
			step(seg{dir: 1, flags: syn | ack, ack: 1}, c.server)
			step(seg{dir: 0, flags: ack, seq: 1, ack: 1}, false)
			if r := step(seg{dir: 1, flags: ack, seq: c.seq, ack: 1, n: 10}, false); r.Valid != c.want {
				t.Errorf("got %+v, want valid %v", r, c.want)
			}
		})
	}
}

func TestResetSeq(t *testing.T) {
	const none = -1 << 40
	for _, c := range []struct {
		name     string
		segs     []seg
		toServer int64 // seq of the RST, relative to the client's ISN; none: not ok
		toClient int64 // relative to the server's; its number is 0 where ackOnly
		ackOnly  bool  // the RST to the client is believed by its ACK, 1
	}{
		{"SYN dropped", []seg{{dir: 0, flags: syn, drop: true}}, none, 0, true},
		{"SYN passed", []seg{{dir: 0, flags: syn}}, 1, 0, true},
		{"SYN dropped, repeated and passed", []seg{{dir: 0, flags: syn, drop: true}, {dir: 0, flags: syn}}, 1, 0, true},
		{"SYN+ACK dropped", []seg{{dir: 0, flags: syn}, {dir: 1, flags: syn | ack, ack: 1, drop: true}}, 1, 0, true},
		{"SYN+ACK passed", []seg{{dir: 0, flags: syn}, {dir: 1, flags: syn | ack, ack: 1}}, 1, 1, false},
		{"open", open(), 1, 1, false},
		{"request passed, not acknowledged", open(seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 90}), 91, 1, false},
		{"request dropped", open(seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 90, drop: true}), 1, 1, false},
		{"two held segments, reported late", open(seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 90}, seg{dir: 0, flags: ack, seq: 91, ack: 1, n: 90, drop: true},
			seg{dir: 0, flags: ack, seq: 91, ack: 1, n: 20, drop: true}), 91, 1, false},
		{"a dropped repetition changes nothing", open(seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 90}, seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 90, drop: true}), 91, 1, false},
		{"behind a hole", open(seg{dir: 1, flags: ack, seq: 101, ack: 1, n: 90}), 1, 1, false},
		{"dropped FIN", open(seg{dir: 1, flags: ack | fin, seq: 1, ack: 1, drop: true}), 1, 1, false},
		{"acknowledged, never seen", open(seg{dir: 1, flags: ack, seq: 1, ack: 301}), 301, 1, false},
		{"mid-stream", []seg{{dir: 0, flags: ack, seq: 500, ack: 600, n: 10}}, 510, 600, false},
		{"mid-stream, dropped", []seg{{dir: 0, flags: ack, seq: 500, ack: 600, n: 10, drop: true}}, 500, 600, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s session.Session
			s.Key.Proto = packet.ProtoTCP
			for _, g := range c.segs {
				if r := s.Track(g.packet(), g.dir, start); g.drop {
					s.Dropped(g.dir, r)
				}
			}
			seq, _, ok := s.ResetSeq(0)
			if want := c.toServer; ok != (want != none) || ok && seq != uint32(isnC+want) {
				t.Errorf("to the server: got %d %v, want %d", int32(seq-isnC&0xffffffff), ok, want)
			}
			seq, ackNo, ok := s.ResetSeq(1)
			if c.ackOnly {
				if want := int64(isnC + 1); !ok || seq != 0 || ackNo != uint32(want) {
					t.Errorf("to the client: got %d, %d, %v, want 0 and the SYN acknowledged", seq, ackNo, ok)
				}
			} else if !ok || seq != uint32(isnS+c.toClient) {
				t.Errorf("to the client: got %d %v, want %d", seq, ok, c.toClient)
			}
		})
	}
}

func TestDroppedTogetherAndDelivered(t *testing.T) {
	var s session.Session
	s.Key.Proto = packet.ProtoTCP
	for _, g := range open() {
		s.Track(g.packet(), g.dir, start)
	}
	one, two := seg{dir: 0, flags: ack, seq: 1, ack: 1, n: 50}, seg{dir: 0, flags: ack, seq: 51, ack: 1, n: 50}
	a, b := s.Track(one.packet(), 0, start), s.Track(two.packet(), 0, start)
	want := func(n int64) {
		t.Helper()
		if seq, _, _ := s.ResetSeq(0); seq != uint32(isnC+n) {
			t.Errorf("got %d, want %d", seq, uint32(isnC+n))
		}
	}
	want(101)
	s.Dropped(0, a)
	s.Dropped(0, b)
	want(1)
	s.Delivered(0, one.packet())
	want(51)
	s.Delivered(0, two.packet())
	want(101)
}
