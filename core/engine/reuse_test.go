package engine_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// began counts the sessions that began, by the ids in records.
func began(b *bench, want int) int {
	seen := map[uint64]bool{}
	b.flows(func(f flow.Record) bool {
		seen[f.Session] = true
		return len(seen) == want
	})
	return len(seen)
}

// TestPortIsUsedAgain reuses a client port soon after its connection closed or was refused:
// each connection has its own session, records and verdict.
func TestPortIsUsedAgain(t *testing.T) {
	cases := []struct {
		name string
		mode policy.Mode
		kind backend.Kind
		use  func(t *testing.T, c *conn) []packet.Frame
	}{
		{"closed", policy.Discover, backend.Tap, func(t *testing.T, c *conn) []packet.Frame {
			fs := append(c.handshake(t), c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))
			return append(fs, c.seg(t, 1, "FA", ""), c.seg(t, 0, "FA", ""), c.seg(t, 1, "A", ""))
		}},
		{"its end was missed", policy.Discover, backend.Tap, func(t *testing.T, c *conn) []packet.Frame {
			return append(c.handshake(t), c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))
		}},
		{"refused", policy.Protect, backend.Inline, func(t *testing.T, c *conn) []packet.Frame {
			return []packet.Frame{c.seg(t, 0, "S", "")}
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				b := newBench(t)
				b.policy(1, tc.mode, policy.WorkloadSpec{})
				q := b.attach(tc.kind)
				const times = 3
				for n := range times {
					c := newConn(v6, 40000, 8080)
					c.seq = [2]uint32{1000 + uint32(n)*1_000_000, 90000 + uint32(n)*1_000_000}
					q.give(tc.use(t, c)...)
				}
				if got := began(b, times); got != times {
					t.Errorf("%d sessions, want %d", got, times)
				}
			})
		})
	}
}
