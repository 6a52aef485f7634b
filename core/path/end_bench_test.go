package path_test

import (
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// BenchmarkEnd measures the end of an endpoint with half a million sessions, as when Sluice stops during a flood.
func BenchmarkEnd(b *testing.B) {
	const sessions, batch = 500_000, 250
	data := udp(b, false, 0, 1, 1, "x").Data
	ports := data[34:38]
	binary.BigEndian.PutUint16(data[40:], 0) // no checksum
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		s := newStage(b, policy.Protect)
		s.policy(1, protect())
		s.p.Begin(s.now)
		for n := range uint32(sessions) {
			binary.BigEndian.PutUint32(ports, (n/50_000+1)<<16|n%50_000+1024)
			s.p.Frame(&packet.Frame{Data: data, Wire: uint32(len(data)), Endpoint: 1, Dir: packet.Egress, Stamp: s.now})
			if n%batch == batch-1 {
				s.p.Finish()
				s.p.Begin(s.now)
				s.p.Sessions().Report().Outbox().Drain(func(*flow.Record) {})
			}
		}
		if n := s.p.Sessions().Len(); n != sessions {
			b.Fatalf("%d sessions, want %d", n, sessions)
		}
		b.StartTimer()
		s.p.Sessions().End(1)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
}
