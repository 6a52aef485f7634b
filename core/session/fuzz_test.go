package session_test

import (
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// FuzzTrack reads segments of 12 bytes: an invalid one changes nothing, a closed connection
// stays closed, and a result agrees with its session.
func FuzzTrack(f *testing.F) {
	for _, c := range tcpCases {
		var in []byte
		for _, g := range c.segs {
			p := g.packet()
			in = append(in, byte(g.dir), p.Flags)
			in = binary.BigEndian.AppendUint32(in, p.Seq)
			in = binary.BigEndian.AppendUint32(in, p.Ack)
			in = append(in, byte(p.PayloadWire), byte(p.Window>>8))
		}
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := session.Session{Key: key(1), ClientIsA: true}
		for ; len(in) >= 12; in = in[12:] {
			dir := int(in[0] & 1)
			p := packet.Packet{Proto: packet.ProtoTCP, Flags: in[1], Seq: binary.BigEndian.Uint32(in[2:]),
				Ack: binary.BigEndian.Uint32(in[6:]), PayloadWire: int(in[10]) << (in[0] >> 5), Window: uint16(in[11]) << 8,
				HasWScale: in[0]&2 != 0, WScale: in[0] >> 2, FastOpen: in[0]&4 != 0,
				HasTime: in[0]&2 != 0, TimeValue: uint32(in[11]), Signed: in[0]&68 == 68, TTL: in[10]}
			if in[0]&128 != 0 {
				s.Flags |= session.Whole
			}
			was := s
			r := s.Track(&p, dir, start)
			switch {
			case !r.Valid && s != was && !was.Unproven():
				t.Fatalf("%+v is not valid, yet changed %+v to %+v", p, was, s)
			case r.State != s.State:
				t.Fatalf("%+v: result says %v, session %v", p, r.State, s.State)
			case was.State.Over() && s.State != was.State, was.State != flow.NoPhase && s.State == flow.NoPhase:
				t.Fatalf("%+v: from %v to %v", p, was.State, s.State)
			case r.Has(session.Gap) != (r.Lost > 0):
				t.Fatalf("%+v: %+v", p, r)
			}
			if in[0]&8 != 0 {
				s.Dropped(dir, r)
			}
			if in[0]&16 != 0 {
				s.SwapClient()
			}
			s.ResetSeq(dir)
			if s.Timeout() <= 0 {
				t.Fatalf("%+v: no timeout", s)
			}
		}
	})
}
