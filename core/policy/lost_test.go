package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestLost decides sessions that could not be identified, of workloads that fail open and
// closed.
func TestLost(t *testing.T) {
	http := policy.RuleSpec{Ports: []policy.PortSpec{{Proto: 6, Lo: 80, Hi: 80}}, Apps: []app.ID{app.HTTP}}
	unnamed := policy.RuleSpec{Apps: []app.ID{app.Unknown}}
	denyRedis, all := policy.RuleSpec{Apps: []app.ID{app.Redis}, Deny: true}, policy.RuleSpec{}
	elsewhere := policy.RuleSpec{Ports: []policy.PortSpec{{Proto: 6, Lo: 443, Hi: 443}}, Apps: []app.ID{app.TLS}}
	for _, tt := range []struct {
		name         string
		mode         policy.Mode
		rules        []policy.RuleSpec
		open, closed string
	}{
		{"a rule that names an application", policy.Protect, []policy.RuleSpec{http}, "allow unidentified 1", "deny unidentified 0"},
		{"the same in monitor", policy.Monitor, []policy.RuleSpec{http}, "allow unidentified 1", "violate unidentified 0"},
		{"a rule for unidentified traffic", policy.Protect, []policy.RuleSpec{unnamed}, "allow unidentified 1", "deny unidentified 0"},
		{"a rule that denies an application", policy.Protect, []policy.RuleSpec{denyRedis, all}, "allow unidentified 2", "deny unidentified 1"},
		{"a rule for any application", policy.Protect, []policy.RuleSpec{all, http}, "allow rule 1", "allow rule 1"},
		{"no rule for the port", policy.Protect, []policy.RuleSpec{elsewhere}, "deny default 0", "deny default 0"},
		{"nothing learned yet", policy.Discover, nil, "learn unidentified 0", "learn unidentified 0"},
	} {
		for _, peer := range []string{"10.0.0.2", "2001:db8::2"} {
			for closed, want := range map[bool]string{false: tt.open, true: tt.closed} {
				t.Run(fmt.Sprintf("%s, %s, closed %v", tt.name, peer, closed), func(t *testing.T) {
					s := pairSpec(tt.mode, tt.rules...)
					s.Workloads[0].FailClosed = closed
					table, err := policy.Compile(s)
					if err != nil {
						t.Fatal(err)
					}
					a := netip.MustParseAddr(peer)
					d := table.Workload("w").Decide(&policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(a), IPv6: a.Is6(), Proto: 6, Port: 80, Lost: true})
					if got := fmt.Sprintf("%s %s %d", d.Verdict, d.Reason, d.Rule); got != want {
						t.Errorf("got %s, want %s", got, want)
					}
				})
			}
		}
	}
}
