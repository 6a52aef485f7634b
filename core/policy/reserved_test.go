package policy_test

import (
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestReserved: what is sent to multicast is judged as to its group at both ends, and the
// metadata service is allowed by its name alone.
func TestReserved(t *testing.T) {
	groups := []policy.GroupSpec{{Name: "any", Any: true}, {Name: "multicast", Cast: true}, {Name: "metadata", Named: true}, {Name: "svc:default/w"}, {Name: "svc:default/p"}}
	prefix := netip.MustParsePrefix
	compile := func(rules ...policy.RuleSpec) *policy.Workload {
		table, err := policy.Compile(&policy.Spec{Version: 1, Groups: groups,
			Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}, {Groups: []uint32{2}}, {Groups: []uint32{3}}, {Groups: []uint32{4}}},
			Addresses: []policy.AddressSpec{{Prefix: prefix("224.0.0.0/4"), Identity: 1}, {Prefix: prefix("10.0.0.255/32"), Identity: 1}, {Prefix: prefix("ff00::/8"), Identity: 1},
				{Prefix: prefix("169.254.169.254/32"), Identity: 2}, {Prefix: prefix("fd00:ec2::254/128"), Identity: 2}, {Prefix: prefix("10.0.0.1/32"), Identity: 3}, {Prefix: prefix("fd00::1/128"), Identity: 3},
				{Prefix: prefix("10.0.0.2/32"), Identity: 4}, {Prefix: prefix("fd00::2/128"), Identity: 4}},
			Workloads: []policy.WorkloadSpec{{ID: "w", Identity: 3, Mode: policy.Protect}}, Rules: rules})
		if err != nil {
			t.Fatal(err)
		}
		return table.Workload("w")
	}
	rule := func(from, to uint32) policy.RuleSpec { return policy.RuleSpec{ID: 1, From: from, To: to} }
	deny := rule(0, 0)
	deny.Deny = true
	const out, in = packet.Egress, packet.Ingress
	for _, c := range []struct {
		name        string
		rules       []policy.RuleSpec
		dir         packet.Direction
		local, peer string
		want        flow.Verdict
	}{
		{"sent without a rule", nil, out, "10.0.0.1", "224.0.0.251", flow.Deny},
		{"sent", []policy.RuleSpec{rule(3, 1)}, out, "10.0.0.1", "224.0.0.251", flow.Allow},
		{"sent, IPv6", []policy.RuleSpec{rule(3, 1)}, out, "fd00::1", "ff02::fb", flow.Allow},
		{"sent, broadcast", []policy.RuleSpec{rule(3, 1)}, out, "10.0.0.1", "10.0.0.255", flow.Allow},
		{"received", []policy.RuleSpec{rule(4, 1)}, in, "224.0.0.251", "10.0.0.2", flow.Allow},
		{"received, IPv6", []policy.RuleSpec{rule(4, 1)}, in, "ff02::fb", "fd00::2", flow.Allow},
		{"received, broadcast", []policy.RuleSpec{rule(4, 1)}, in, "10.0.0.255", "10.0.0.2", flow.Allow},
		{"received by a rule for the workload alone", []policy.RuleSpec{rule(4, 3)}, in, "224.0.0.251", "10.0.0.2", flow.Deny},
		{"received by a rule of another sender", []policy.RuleSpec{rule(3, 1)}, in, "224.0.0.251", "10.0.0.2", flow.Deny},
		{"any", []policy.RuleSpec{rule(0, 0)}, in, "224.0.0.251", "10.0.0.2", flow.Allow},
		{"metadata without a rule", nil, out, "10.0.0.1", "169.254.169.254", flow.Deny},
		{"metadata by any", []policy.RuleSpec{rule(0, 0), rule(3, 0)}, out, "10.0.0.1", "169.254.169.254", flow.Deny},
		{"metadata by any, IPv6", []policy.RuleSpec{rule(3, 0)}, out, "fd00::1", "fd00:ec2::254", flow.Deny},
		{"metadata by its name", []policy.RuleSpec{rule(0, 0), rule(3, 2)}, out, "10.0.0.1", "169.254.169.254", flow.Allow},
		{"metadata by its name for everybody, IPv6", []policy.RuleSpec{rule(0, 2)}, out, "fd00::1", "fd00:ec2::254", flow.Allow},
		{"metadata denied by any", []policy.RuleSpec{deny, rule(3, 2)}, out, "10.0.0.1", "169.254.169.254", flow.Deny},
		{"others by any", []policy.RuleSpec{rule(3, 0)}, out, "10.0.0.1", "169.254.1.1", flow.Allow},
	} {
		local, peer := netip.MustParseAddr(c.local), netip.MustParseAddr(c.peer)
		q := &policy.Query{Dir: c.dir, Local: packet.AddrFrom(local), Peer: packet.AddrFrom(peer), IPv6: peer.Is6(), Proto: 17, Port: 5353}
		w := compile(c.rules...)
		d := w.Decide(q)
		if _, e := w.Explain(q); d.Verdict != c.want || e != d {
			t.Errorf("%s: got %v, explained as %v, want %v", c.name, d.Verdict, e.Verdict, c.want)
		}
	}
}
