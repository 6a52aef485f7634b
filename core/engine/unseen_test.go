package engine_test

import (
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
)

// TestAnswerFirst attaches an endpoint between question and answer of an allowed
// conversation: the answer is not taken for a denied question. A real question is, from
// either end.
func TestAnswerFirst(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		cases := []struct {
			name     string
			end      int // who sends the first datagram that is seen; 0 is the workload
			from, to layers.UDPPort
			want     string
		}{
			{"answer", 1, 7007, 40000, "pass"},
			{"question", 0, 40001, 7007, "pass"},
			{"question that is not allowed", 0, 40001, 7008, "drop"},
			{"question to the workload", 1, 40002, 7007, "drop"},
			{"question between high ports", 1, 40003, 50000, "drop"},
		}
		for _, c := range cases {
			b := newBench(t)
			b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, []policy.PortSpec{{Proto: 17, Lo: 7007, Hi: 7007}}))
			q := b.attach(backend.Inline)
			first := frameOf(t, v6, c.end, layers.IPProtocolUDP, &layers.UDP{SrcPort: c.from, DstPort: c.to}, "hello")
			second := frameOf(t, v6, 1-c.end, layers.IPProtocolUDP, &layers.UDP{SrcPort: c.to, DstPort: c.from}, "hello")
			if got, want := actions(q.give(first, second)), c.want+" "+c.want; got != want {
				t.Errorf("%s: got %s, want %s", c.name, got, want)
			}
		}
	})
}
