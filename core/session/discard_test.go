package session_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// optional is a segment with the fields that seg does not have.
type optional struct {
	seg
	time   uint32 // 0: no timestamps option
	signed bool
	ttl    uint8
}

func (o optional) packet() *packet.Packet {
	p := o.seg.packet()
	p.HasTime, p.TimeValue, p.Signed, p.TTL = o.time != 0, o.time, o.signed, o.ttl
	return p
}

// timed is a handshake with timestamps of 1000 from the client and 5000 from the server.
func timed(more ...optional) []optional {
	return append([]optional{
		{seg{0, syn, 0, 0, 0, 0, false, false, 0, opening}, 1000, false, 64},
		{seg{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening}, 5000, false, 64},
		{seg{0, ack, 1, 1, 0, 0, false, false, session.Opened, established}, 1000, false, 64},
	}, more...)
}

func plain(signed bool, more ...optional) []optional {
	return append([]optional{
		{seg{0, syn, 0, 0, 0, 0, false, false, 0, opening}, 0, signed, 64},
		{seg{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening}, 0, signed, 64},
		{seg{0, ack, 1, 1, 0, 0, false, false, session.Opened, established}, 0, signed, 64},
	}, more...)
}

var discardCases = []struct {
	name string
	segs []optional
}{
	{"RFC 7323 5.3 R1: an older timestamp is discarded, whatever the numbers", timed(
		optional{seg{0, ack, 1, 1, 10, 0, false, true, session.OldTime, established}, 900, false, 64},
		optional{seg{0, ack | fin, 1, 1, 0, 0, false, true, session.OldTime, established}, 900, false, 64},
		optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 1001, false, 64},
		optional{seg{1, ack, 1, 11, 10, 0, false, true, session.OldTime, established}, 4000, false, 64},
		optional{seg{1, ack, 1, 11, 10, 0, false, false, 0, established}, 5000, false, 64},
	)},
	{"segments that arrive out of order do not raise it", timed(
		optional{seg{0, ack, 101, 1, 100, 0, false, false, 0, established}, 1010, false, 64},
		optional{seg{0, ack, 1, 1, 100, 0, false, false, session.Retransmit, established}, 1005, false, 64},
	)},
	{"a segment without a timestamp is accepted, as by Linux", timed(
		optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 0, false, 64},
	)},
	{"RFC 7323 5.2: a reset is not subject to it", timed(
		optional{seg{0, rst | ack, 1, 1, 0, 0, false, false, session.ResetNow, reset}, 1, false, 64},
	)},
	{"timestamps wrap", []optional{
		{seg{0, syn, 0, 0, 0, 0, false, false, 0, opening}, 1<<32 - 5, false, 64},
		{seg{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening}, 5000, false, 64},
		{seg{0, ack, 1, 1, 0, 0, false, false, session.Opened, established}, 1<<32 - 1, false, 64},
		{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 4, false, 64},
		{seg{0, ack, 11, 1, 10, 0, false, true, session.OldTime, established}, 1<<32 - 1, false, 64},
	}},
	{"a client alone with timestamps: they mean nothing", []optional{
		{seg{0, syn, 0, 0, 0, 0, false, false, 0, opening}, 1000, false, 64},
		{seg{1, syn | ack, 0, 1, 0, 0, false, false, 0, opening}, 0, false, 64},
		{seg{0, ack, 1, 1, 0, 0, false, false, session.Opened, established}, 0, false, 64},
		{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 5, false, 64},
	}},
	{"RFC 2385, 5925: an option that the SYN did not have", plain(false,
		optional{seg{0, ack, 1, 1, 10, 0, false, true, session.BadSigning, established}, 0, true, 64},
		optional{seg{0, rst, 1, 0, 0, 0, false, true, session.BadSigning, established}, 0, true, 64},
		optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 0, false, 64},
	)},
	{"a connection that begins with it keeps it", plain(true,
		optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 0, true, 64},
		optional{seg{0, ack, 11, 1, 10, 0, false, true, session.BadSigning, established}, 0, false, 64},
		optional{seg{0, rst, 11, 0, 0, 0, false, true, session.BadSigning, established}, 0, false, 64},
		optional{seg{1, ack, 1, 11, 10, 0, false, false, 0, established}, 0, true, 64},
	)},
	{"what was never sent is not acknowledged", plain(false,
		optional{seg{0, ack, 1, 2, 10, 0, false, true, session.FutureACK, established}, 0, false, 64},
		optional{seg{0, ack, 1, 501, 0, 0, false, true, session.FutureACK, established}, 0, false, 64},
		optional{seg{1, ack, 1, 1, 500, 0, false, false, 0, established}, 0, false, 64},
		optional{seg{0, ack, 1, 501, 10, 0, false, false, 0, established}, 0, false, 64},
	)},
	{"a reset on the heels of data, or from not as far, is not sure", plain(false,
		optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 0, false, 64},
		optional{seg{0, rst, 11, 0, 0, 0, false, false, session.ResetNow | session.UnsureReset, reset}, 0, false, 64},
	)},
	{"the same with a lower hop limit", plain(false,
		optional{seg{0, rst, 1, 0, 0, 0, false, false, session.ResetNow | session.UnsureReset, reset}, 0, false, 9},
	)},
}

// TestDiscards: what a receiver discards changes nothing. The cases are from the RFCs.
func TestDiscards(t *testing.T) {
	for _, tt := range discardCases {
		t.Run(tt.name, func(t *testing.T) {
			s := session.Session{Key: key(1), ClientIsA: true, Flags: session.Whole, Last: start}
			for i, g := range tt.segs {
				was := s
				r := s.Track(g.packet(), g.dir, start)
				if r.Valid == g.invalid || r.Events != g.ev || s.State != g.state {
					t.Fatalf("segment %d: valid %v, events %#x, %v; want %v, %#x, %v", i, r.Valid, r.Events, s.State, !g.invalid, g.ev, g.state)
				}
				if !r.Valid && s != was {
					t.Errorf("segment %d is invalid, and changed the session", i)
				}
			}
		})
	}
}

// TestOldTimeOfAWhile: RFC 7323 5.5: after 24 days of silence timestamps are not compared.
func TestOldTimeOfAWhile(t *testing.T) {
	s := session.Session{Key: key(1), ClientIsA: true, Last: start}
	for _, g := range timed() {
		s.Track(g.packet(), g.dir, start)
	}
	old := optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 5, false, 64}
	if r := s.Track(old.packet(), 0, start+23*24*3600e9); r.Valid {
		t.Error("after 23 days: valid, want discarded")
	}
	if r := s.Track(old.packet(), 0, start+25*24*3600e9); !r.Valid {
		t.Error("after 25 days: discarded, want valid")
	}
}

// TestForgedBeginning: one segment with any numbers, in mid-stream, does not keep the tracker from
// the numbers of the connection.
func TestForgedBeginning(t *testing.T) {
	s := session.Session{Key: key(1), ClientIsA: true}
	forged := packet.Packet{Proto: packet.ProtoTCP, Flags: ack, Seq: 0x80000000, Ack: 0x90000000, PayloadWire: 30, Window: 1000}
	s.Track(&forged, 0, start)
	if !s.Unproven() {
		t.Fatal("one segment proves a session")
	}
	real := []*packet.Packet{
		{Proto: packet.ProtoTCP, Flags: ack, Seq: 1000, Ack: 500, PayloadWire: 10, Window: 1000},
		{Proto: packet.ProtoTCP, Flags: ack, Seq: 500, Ack: 1010, PayloadWire: 10, Window: 1000},
		{Proto: packet.ProtoTCP, Flags: ack, Seq: 1010, Ack: 510, PayloadWire: 10, Window: 1000},
		{Proto: packet.ProtoTCP, Flags: ack, Seq: 510, Ack: 1020, PayloadWire: 0, Window: 1000},
	}
	for i, p := range real {
		if r := s.Track(p, 1-i%2, start); i > 1 && !r.Valid {
			t.Errorf("segment %d of the connection is not valid", i)
		}
	}
	if s.Unproven() || s.State != flow.PhaseMidStream {
		t.Errorf("unproven %v, %v", s.Unproven(), s.State)
	}
}

// TestOldTimeOnTap: where an acknowledgement is seen before its data, what it acknowledges is not discarded for the
// timestamp of later data that was seen first. What is not acknowledged is.
func TestOldTimeOnTap(t *testing.T) {
	s := session.Session{Key: key(1), ClientIsA: true, Last: start}
	for _, g := range timed(optional{seg{1, ack, 1, 21, 0, 0, false, false, 0, established}, 5001, false, 64},
		optional{seg{0, ack, 11, 1, 10, 0, false, false, 0, established}, 1010, false, 64}) {
		s.Track(g.packet(), g.dir, start)
	}
	late := optional{seg{0, ack, 1, 1, 10, 0, false, false, 0, established}, 1005, false, 64}
	if r := s.Track(late.packet(), 0, start); !r.Valid || r.Has(session.OldTime) {
		t.Errorf("acknowledged data, seen late: valid %v, events %#x", r.Valid, r.Events)
	}
	next := optional{seg{0, ack, 21, 1, 10, 0, false, false, 0, established}, 1005, false, 64}
	if r := s.Track(next.packet(), 0, start); r.Valid || !r.Has(session.OldTime) {
		t.Errorf("new data of an old time: valid %v, events %#x", r.Valid, r.Events)
	}
}
