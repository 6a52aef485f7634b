package path_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/threat"
)

// cross gives the stage a simultaneous open of the workload's port 7778 and the peer's port 7777,
// the SYN of one end first, and returns the actions on its segments.
func (s *stage) cross(v6 bool, first int) (out []packet.Action) {
	c := newConn(v6, 7778, 7777)
	out = append(out, s.give(c.seg(s.t, first, "S", ""))...)
	out = append(out, s.give(c.seg(s.t, 1-first, "S", ""))...)
	for _, end := range []int{first, 1 - first} {
		c.seq[end]--
		out = append(out, s.give(c.seg(s.t, end, "SA", ""))...)
	}
	return append(out, s.give(c.seg(s.t, 0, "A", "from the workload"), c.seg(s.t, 1, "A", "from the peer"))...)
}

// TestSimultaneousOpen: crossed SYNs are one connection of the end whose SYN came first, and no
// threat. Where policy refuses that one, the other end's SYN is judged as the beginning of another
// connection.
func TestSimultaneousOpen(t *testing.T) {
	peer := policy.RuleSpec{ID: 8, From: 2, To: 1, Ports: []policy.PortSpec{{Proto: 6, Lo: 7778, Hi: 7778}}}
	tests := []struct {
		name    string
		rules   []policy.RuleSpec
		first   int // end whose SYN is seen first, the workload's is 0
		passes  []packet.Action
		egress  bool // of the connection that opens
		refused bool // another one was refused before
	}{
		{"rules both ways, the workload first", []policy.RuleSpec{allow(7, 6, 7777), peer}, 0, []packet.Action{pass, pass, pass, pass, pass, pass}, true, false},
		{"rules both ways, the peer first", []policy.RuleSpec{allow(7, 6, 7777), peer}, 1, []packet.Action{pass, pass, pass, pass, pass, pass}, false, false},
		{"one rule, its client first", []policy.RuleSpec{allow(7, 6, 7777)}, 0, []packet.Action{pass, pass, pass, pass, pass, pass}, true, false},
		{"one rule, its server first", []policy.RuleSpec{allow(7, 6, 7777)}, 1, []packet.Action{drop, pass, pass, pass, pass, pass}, true, true},
		{"the peer's rule, its client first", []policy.RuleSpec{peer}, 1, []packet.Action{pass, pass, pass, pass, pass, pass}, false, false},
		{"the peer's rule, its server first", []policy.RuleSpec{peer}, 0, []packet.Action{drop, pass, pass, pass, pass, pass}, false, true},
		{"no rule", nil, 0, []packet.Action{drop, drop, drop, drop, drop, drop}, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			both(t, func(t *testing.T, v6 bool) {
				s := newStage(t, policy.Protect)
				s.policy(1, protect(), tt.rules...)
				s.want("segments", s.cross(v6, tt.first), tt.passes...)
				s.pass(time.Second, 100*time.Millisecond)
				open, refused := map[uint64]flow.Record{}, false
				for _, r := range s.all {
					switch {
					case r.Outcome == flow.OutcomeDenied:
						refused = true
					default:
						open[r.Session] = r
					}
				}
				if len(tt.rules) == 0 {
					if len(open) > 0 || !refused {
						t.Errorf("records %+v, want refused ones", s.all)
					}
					return
				}
				if len(open) != 1 || refused != tt.refused {
					t.Fatalf("records %+v, want one open connection; refused: %v, want %v", s.all, refused, tt.refused)
				}
				for _, r := range open {
					want, port := packet.Ingress, uint16(7778)
					if tt.egress {
						want, port = packet.Egress, 7777
					}
					if r.Dir != want || r.ServerPort != port || r.Simultaneous == refused || r.Verdict != flow.Allow || r.Outcome != flow.OutcomeEstablished {
						t.Errorf("record %+v, want one to port %d, allowed and established; simultaneous: %v", r, port, !refused)
					}
				}
				for _, x := range s.threats() {
					t.Errorf("threat %+v", x)
				}
			})
		})
	}
}

// TestSplitHandshake has a server answer a SYN with a SYN, and the client alone complete it: no
// network stack does that.
func TestSplitHandshake(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		c := newConn(v6, 40000, 8080)
		s.give(c.seg(t, 0, "S", ""), c.seg(t, 1, "S", ""))
		c.seq[0]--
		s.give(c.seg(t, 0, "SA", ""), c.seg(t, 1, "A", ""))
		if list := s.threats(); len(list) != 1 || list[0].ID != threat.SplitHandshake {
			t.Errorf("threats %+v, want a split handshake", list)
		}
	})
}
