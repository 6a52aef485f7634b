package frag_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
)

func TestFloodStaysInBudget(t *testing.T) {
	for _, keep := range []bool{false, true} {
		cfg := frag.Config{MaxDatagrams: 100, MaxBytes: 64 << 10, KeepFrames: keep}
		r := frag.New(cfg)
		data := udp(1400)
		for i := range 5000 {
			b := build(i%2 == 0, uint16(i), part{rand.IntN(40) * 8, data[:rand.IntN(170)*8+8], true})
			add(t, r, b, int64(i))
			if s := r.Stats(); s.Datagrams > cfg.MaxDatagrams || s.Bytes > cfg.MaxBytes {
				t.Fatalf("after %d: %+v", i, s)
			}
		}
		// A legitimate datagram is still reassembled during the flood.
		for i, c := range cut(data, 720) {
			got := add(t, r, build(true, 60001, c), int64(6000+i))
			if i == 1 && got.Outcome != frag.Complete {
				t.Errorf("got %v %s", got.Outcome, got.Reason)
			}
		}
		if s := r.Stats(); s.Evicted == 0 {
			t.Errorf("got %+v", s)
		}
	}
}

func TestBoundsOfOneDatagram(t *testing.T) {
	r := frag.New(frag.Config{MaxPieces: 10})
	data := udp(4000)
	for i, c := range cut(data, 8)[:11] {
		got := add(t, r, build(false, 1, c), 0)
		if (got.Reason == frag.TooMany) != (i == 10) {
			t.Fatalf("part %d: got %v %s", i, got.Outcome, got.Reason)
		}
	}
	r = frag.New(frag.Config{MaxBytes: 2000})
	var last frag.Result
	for _, c := range cut(data, 800)[:3] {
		if last = add(t, r, build(false, 1, c), 0); last.Outcome == frag.Bad {
			break
		}
	}
	if last.Reason != frag.NoRoom {
		t.Errorf("got %v %q, want %q", last.Outcome, last.Reason, frag.NoRoom)
	}
}

func TestWatchKeepsNoFrames(t *testing.T) {
	r := frag.New(frag.Config{KeepFrames: true})
	for i, c := range cut(udp(1000), 512) {
		f := &packet.Frame{Data: build(false, 1, c)}
		p := new(packet.Packet)
		p.Decode(f)
		got := r.Watch(p, f, 3, 0)
		if want := []frag.Outcome{frag.Held, frag.Complete}[i]; len(got.Frames) != 0 || got.Outcome != want {
			t.Errorf("part %d: got %v with %d frames", i, got.Outcome, len(got.Frames))
		}
	}
}

// TestApart: fragments of one datagram may come by any interface of a workload; those of another workload or
// of the other direction are another datagram's.
func TestApart(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, tt := range []struct {
			name      string
			workloads [2]uint32
			dirs      [2]packet.Direction
			want      frag.Outcome
		}{
			{"two interfaces", [2]uint32{7, 7}, [2]packet.Direction{packet.Egress, packet.Egress}, frag.Complete},
			{"two workloads", [2]uint32{7, 8}, [2]packet.Direction{packet.Egress, packet.Egress}, frag.Held},
			{"two directions", [2]uint32{7, 7}, [2]packet.Direction{packet.Ingress, packet.Egress}, frag.Held},
		} {
			r := frag.New(frag.Config{KeepFrames: true})
			for i, c := range cut(udp(1000), 512) {
				f := &packet.Frame{Data: build(v6, 1, c), Endpoint: uint32(i + 1), Dir: tt.dirs[i]}
				p := new(packet.Packet)
				p.Decode(f)
				got := r.Add(p, f, tt.workloads[i], 0)
				if want := []frag.Outcome{frag.Held, tt.want}[i]; got.Outcome != want {
					t.Errorf("%s, IPv6 %v, part %d: got %v, want %v", tt.name, v6, i, got.Outcome, want)
				}
				if got.Outcome == frag.Complete && (len(got.Frames) != 1 || got.Frames[0].Endpoint != 1) {
					t.Errorf("%s, IPv6 %v: the first part is not sent where it came: %v", tt.name, v6, got.Frames)
				}
			}
		}
	}
}

// FuzzAdd adds arbitrary parts; every result must be a valid datagram, within the budget.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 0, 16, 1, 0, 2, 16, 0}, true)
	f.Add([]byte{0, 0, 16, 1, 0, 1, 16, 0}, false)
	f.Add([]byte{1, 0, 80, 1, 1, 10, 80, 1, 1, 20, 80, 0, 1, 0, 80, 1}, true)
	f.Fuzz(func(t *testing.T, script []byte, v6 bool) {
		r := frag.New(frag.Config{MaxDatagrams: 4, MaxBytes: 8 << 10, MaxPieces: 32, KeepFrames: len(script)%2 == 0})
		data := udp(4000)
		for i := 0; i+4 <= len(script); i += 4 {
			at, n := int(script[i+1])*8, int(script[i+2])
			if script[i+3]&0x80 != 0 {
				at += 63488
			}
			at = min(at, 0xfff8)
			b := build(v6, uint16(script[i]), part{at, data[:n], script[i+3]&1 != 0})
			fr := &packet.Frame{Data: b}
			p := new(packet.Packet)
			p.Decode(fr)
			got := r.Add(p, fr, 3, int64(i)*int64(script[i+3])<<24)
			if s := r.Stats(); s.Datagrams > 4 || s.Bytes > 8<<10 || s.Bytes < 0 {
				t.Fatalf("%+v", s)
			}
			if got.Outcome != frag.Complete {
				continue
			}
			d := got.Datagram.Data
			total := int(binary.BigEndian.Uint16(d[2:]))
			if v6 {
				total = 40 + int(binary.BigEndian.Uint16(d[4:]))
			}
			if total != len(d) {
				t.Fatalf("got a datagram of %d bytes with length field %d", len(d), total)
			}
		}
	})
}

func BenchmarkTwoFragments(b *testing.B) {
	r := frag.New(frag.Config{KeepFrames: true})
	parts := cut(udp(2000), 1480)
	frames := [2]packet.Frame{{Data: build(false, 0, parts[0])}, {Data: build(false, 0, parts[1])}}
	p := new(packet.Packet)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for j := range frames {
			binary.BigEndian.PutUint16(frames[j].Data[18:], uint16(i))
			p.Decode(&frames[j])
			r.Add(p, &frames[j], 3, int64(i))
		}
	}
}
