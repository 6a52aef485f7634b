package policy_test

import (
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// shop is a policy in which web may connect to api on 8080 and to db on 5432.
func shop(t *testing.T) *policy.Table {
	t.Helper()
	s := &policy.Spec{
		Version:    1,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/web"}, {Name: "svc:default/api"}, {Name: "svc:default/db"}, {Name: "external"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{4}}, {Groups: []uint32{1}}, {Groups: []uint32{2}}, {Groups: []uint32{3}}},
		Workloads:  []policy.WorkloadSpec{{ID: "web", Identity: 1, Mode: policy.Protect}},
		Rules: []policy.RuleSpec{
			{ID: 1, From: 1, To: 2, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 8080, Hi: 8080}, {Proto: packet.ProtoUDP, Lo: 8080, Hi: 8080}}},
			{ID: 2, From: 1, To: 4, Ports: []policy.PortSpec{{Proto: packet.ProtoTCP, Lo: 443, Hi: 443}}},
		},
	}
	for i, p := range []string{"10.7.0.1/32", "10.7.0.2/32", "10.7.0.3/32"} {
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix(p), Identity: uint32(i + 1)})
	}
	for i, p := range []string{"fd07::1/128", "fd07::2/128", "fd07::3/128"} {
		s.Addresses = append(s.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix(p), Identity: uint32(i + 1)})
	}
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestServices judges connections to translated addresses by where they go.
func TestServices(t *testing.T) {
	to := func(list ...string) (out []netip.AddrPort) {
		for _, s := range list {
			out = append(out, netip.MustParseAddrPort(s))
		}
		return out
	}
	tests := []struct {
		name string
		at   string
		to   []netip.AddrPort
		want flow.Verdict
	}{
		{"unknown", "10.96.0.9:80", to("10.7.0.2:8080"), flow.Deny},
		{"allowed", "10.96.0.10:80", to("10.7.0.2:8080"), flow.Allow},
		{"allowed, IPv6", "[fd96::10]:80", to("[fd07::2]:8080"), flow.Allow},
		{"another port of an allowed workload", "10.96.0.10:80", to("10.7.0.2:9090"), flow.Deny},
		{"forbidden", "10.96.0.10:80", to("10.7.0.3:8080"), flow.Deny},
		{"one of two is forbidden", "10.96.0.10:80", to("10.7.0.2:8080", "10.7.0.3:8080"), flow.Deny},
		{"the same, the other order", "10.96.0.10:80", to("10.7.0.3:8080", "10.7.0.2:8080"), flow.Deny},
		{"one of two has ended", "10.96.0.10:80", to("10.7.0.99:8080", "10.7.0.2:8080"), flow.Allow},
		{"all have ended", "10.96.0.10:80", to("10.7.0.99:8080"), flow.Deny},
		{"a rule for outside does not allow what is inside", "10.96.0.10:443", to("10.7.0.3:443"), flow.Deny},
		{"an address outside in front of another", "10.96.0.10:443", to("203.0.113.5:443"), flow.Allow},
		{"no targets", "10.96.0.10:443", nil, flow.Allow},
	}
	for _, tt := range tests {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
			at := netip.MustParseAddrPort(tt.at)
			if proto == packet.ProtoUDP && at.Port() != 80 {
				continue
			}
			table := shop(t)
			list := []policy.ServiceSpec{{Proto: proto, At: at, Targets: tt.to}}
			if tt.name == "unknown" {
				list[0].At = netip.MustParseAddrPort("10.96.0.10:80")
			}
			q := policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(at.Addr()), IPv6: at.Addr().Is6(), Proto: proto, Port: at.Port(), App: app.Undecided, Base: app.Undecided}
			w := table.Translating(list).Workload("web")
			if d := w.Decide(&q); d.Verdict != tt.want {
				t.Errorf("%s, protocol %d: %v, want %v", tt.name, proto, d.Verdict, tt.want)
			}
			if n := testing.AllocsPerRun(100, func() { w.Decide(&q) }); n != 0 {
				t.Errorf("%s: %v allocations", tt.name, n)
			}
			q.Dir = packet.Ingress
			if d := w.Decide(&q); d.Verdict != flow.Deny {
				t.Errorf("%s: from the address: %v", tt.name, d.Verdict)
			}
		}
	}
	if table := shop(t); table.Translating(nil) != table {
		t.Error("no services make another table")
	}
}

// TestServicesOfGuests: a workload that the policy does not list yet is a target like any other.
func TestServicesOfGuests(t *testing.T) {
	table := shop(t).With([]policy.Guest{{ID: "web", Group: "svc:default/web", Addresses: []netip.Prefix{netip.MustParsePrefix("10.7.0.50/24")}}})
	table = table.Translating([]policy.ServiceSpec{{Proto: packet.ProtoTCP, At: netip.MustParseAddrPort("10.96.0.10:443"),
		Targets: []netip.AddrPort{netip.MustParseAddrPort("10.7.0.99:443"), netip.MustParseAddrPort("10.7.0.50:443")}}})
	q := policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(netip.MustParseAddr("10.96.0.10")), Proto: packet.ProtoTCP, Port: 443, App: app.Undecided, Base: app.Undecided}
	if d := table.Workload("web").Decide(&q); d.Verdict != flow.Deny {
		t.Errorf("%v, want the guest's address to be asked about, not the one of no workload", d.Verdict)
	}
}
