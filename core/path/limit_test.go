package path_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// TestEvictedIsCounted: half-open connections that make room for others of their workload are counted as its own,
// and are one threat in ten seconds, whatever their addresses; none passes or is dropped for it.
func TestEvictedIsCounted(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect, func(c *path.Config, _ *stage) { c.Session = session.Config{Max: 64, Share: 7} })
		s.policy(1, protect(), allow(7, 6, 8080))
		const n = 300
		for i := range n {
			s.now += 1e6
			s.want("a SYN", s.give(newConn(v6, uint16(20000+i), 8080).seg(t, 1, "S", "")), packet.Drop)
		}
		s.p.Sessions().Publish()
		got := s.shared.Tallies.List()
		if len(got) != 1 || got[0].Workload != "w" || got[0].Evicted < n-64 || got[0].Evicted+got[0].Sessions != n || got[0].Unjudged != 0 {
			t.Errorf("got %+v", got)
		}
		limits := 0
		for _, x := range s.threats() {
			if x.ID == threat.SessionLimit {
				limits++
			}
		}
		if limits != 1 {
			t.Errorf("%d threats, want 1", limits)
		}
	})
}
