package frag_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
)

// sent is a fragment of an endpoint, with another source where that is not 0.
func sent(t *testing.T, r *frag.Reassembler, b []byte, endpoint uint32, from int) frag.Outcome {
	t.Helper()
	f := &packet.Frame{Data: b, Wire: uint32(len(b)), Endpoint: endpoint}
	p := new(packet.Packet)
	p.Decode(f)
	if from != 0 {
		p.Src[5], p.Src[6] = byte(from>>8), byte(from) // of its network, where it has one
	}
	return r.Add(p, f, 1).Outcome
}

// TestOwnersMakeRoomThemselves: however many fragments one source sends, or many sources send one endpoint, the
// datagrams that others have begun are completed.
func TestOwnersMakeRoomThemselves(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, test := range []struct {
			name     string
			size     int
			endpoint uint32 // of the calm datagrams
			from     func(i int) int
		}{
			{"one source, many datagrams", 16, 1, func(int) int { return 1 }},
			{"one source, large ones", 1400, 1, func(int) int { return 1 }},
			{"many sources at another endpoint", 16, 2, func(i int) int { return i%5000 + 1 }},
			{"many sources at another endpoint, large ones", 1400, 2, func(i int) int { return i%5000 + 1 }},
		} {
			r := frag.New(frag.Config{MaxDatagrams: 200, MaxBytes: 256 << 10, KeepFrames: true})
			const calm = 20
			whole := cut(udp(1000), 512)
			for i := range calm {
				sent(t, r, build(v6, uint16(i), whole[0]), test.endpoint, 0)
			}
			for i := range 5000 {
				sent(t, r, build(v6, uint16(1000+i), part{0, udp(test.size), true}), 1, test.from(i))
			}
			done := 0
			for i := range calm {
				if sent(t, r, build(v6, uint16(i), whole[1]), test.endpoint, 0) == frag.Complete {
					done++
				}
			}
			if done != calm {
				t.Errorf("IPv6 %v, %s: %d of %d datagrams of others are whole", v6, test.name, done, calm)
			}
			if s := r.Stats(); s.Evicted == 0 || s.Datagrams > 200 || s.Bytes > 256<<10 {
				t.Errorf("IPv6 %v, %s: got %+v", v6, test.name, s)
			}
		}
	}
}

// BenchmarkFlood measures a fragment of a flood of forged sources, each of a datagram of its own.
func BenchmarkFlood(b *testing.B) {
	r := frag.New(frag.Config{KeepFrames: true})
	f := packet.Frame{Data: build(false, 0, part{0, udp(64), true}), Endpoint: 1}
	p := new(packet.Packet)
	p.Decode(&f)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p.FragID = uint32(i)
		p.Src[12], p.Src[13], p.Src[14] = byte(i), byte(i>>8), byte(i>>16)
		r.Add(p, &f, int64(i))
	}
}
