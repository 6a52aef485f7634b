package path_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
)

// TestReceived sends datagrams that nobody answers: records show which of them a socket of the workload receives.
func TestReceived(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, tt := range []struct {
			name     string
			mode     policy.Mode
			in       []packet.Frame
			received bool // the last record
		}{
			{"to a bound port", policy.Discover, []packet.Frame{udp(t, v6, 1, 40000, 8125, "a:1|c")}, true},
			{"to another port", policy.Discover, []packet.Frame{udp(t, v6, 1, 40000, 8126, "a:1|c")}, false},
			{"from the workload", policy.Discover, []packet.Frame{udp(t, v6, 0, 40000, 8125, "a:1|c")}, false},
			{"answered", policy.Discover, []packet.Frame{udp(t, v6, 1, 40000, 8125, "a:1|c"), udp(t, v6, 0, 8125, 40000, "yes")}, false},
			{"over TCP", policy.Discover, []packet.Frame{newConn(v6, 8125, 40000).seg(t, 1, "PA", "a:1|c")}, false},
		} {
			s := newStage(t, tt.mode, func(_ *path.Config, s *stage) {
				s.end.Sockets = &role.Sockets{Complete: true, Listening: map[role.Port]bool{{Proto: packet.ProtoUDP, Port: 8125}: true}}
			})
			s.policy(1, policy.WorkloadSpec{})
			s.give(tt.in...)
			s.p.Sessions().End(1)
			s.give()
			if len(s.all) == 0 {
				t.Errorf("%s: nothing is reported", tt.name)
				continue
			}
			if r := s.all[len(s.all)-1]; r.Received != tt.received {
				t.Errorf("%s: received %v, want %v: %+v", tt.name, r.Received, tt.received, r)
			}
		}
	})
}
