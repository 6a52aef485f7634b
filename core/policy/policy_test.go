package policy_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// pairSpec is a policy of one workload, web, and one peer, 10.0.0.2 and 2001:db8::2, with the rules
// between them.
func pairSpec(mode policy.Mode, rules ...policy.RuleSpec) *policy.Spec {
	for i := range rules {
		rules[i].ID, rules[i].From, rules[i].To = uint32(i+1), 1, 2
	}
	return &policy.Spec{Version: 4, Groups: []policy.GroupSpec{{Name: "any", Any: true}, {Name: "web"}, {Name: "api"}},
		Identities: []policy.IdentitySpec{{}, {Groups: []uint32{1}}, {Groups: []uint32{2}}},
		Addresses: []policy.AddressSpec{{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Identity: 2},
			{Prefix: netip.MustParsePrefix("2001:db8::2/128"), Identity: 2}},
		Workloads: []policy.WorkloadSpec{{ID: "w", Identity: 1, Mode: mode}}, Rules: rules}
}

func TestDecide(t *testing.T) {
	port := func(n uint16) []policy.PortSpec { return []policy.PortSpec{{Proto: 6, Lo: n, Hi: n}} }
	http := policy.RuleSpec{Ports: port(80), Apps: []app.ID{app.HTTP}}
	denyRedis := policy.RuleSpec{Apps: []app.ID{app.Redis}, Deny: true}
	all := policy.RuleSpec{}
	unnamed := policy.RuleSpec{Apps: []app.ID{app.Unknown}}
	tests := []struct {
		name  string
		mode  policy.Mode
		rules []policy.RuleSpec
		app   app.ID
		mid   bool
		want  string
	}{
		{"default of discover", policy.Discover, nil, app.HTTP, false, "learn default 0"},
		{"default of monitor", policy.Monitor, nil, app.HTTP, false, "violate default 0"},
		{"default of protect", policy.Protect, nil, app.HTTP, false, "deny default 0"},
		{"application listed", policy.Protect, []policy.RuleSpec{http}, app.HTTP, false, "allow rule 1"},
		{"application rides on a listed one", policy.Protect, []policy.RuleSpec{http}, app.Consul, false, "allow rule 1"},
		{"application not listed", policy.Protect, []policy.RuleSpec{http, all}, app.Redis, false, "allow rule 2"},
		{"undecided", policy.Protect, []policy.RuleSpec{http, all}, app.Undecided, false, "pending rule 1"},
		{"decided before an application is asked for", policy.Protect, []policy.RuleSpec{all, http}, app.Undecided, false, "allow rule 1"},
		{"deny waits too", policy.Protect, []policy.RuleSpec{denyRedis, all}, app.Undecided, false, "pending rule 1"},
		{"deny in protect", policy.Protect, []policy.RuleSpec{denyRedis, all}, app.Redis, false, "deny rule 1"},
		{"deny in monitor", policy.Monitor, []policy.RuleSpec{denyRedis, all}, app.Redis, false, "violate rule 1"},
		{"deny in discover", policy.Discover, []policy.RuleSpec{denyRedis, all}, app.Redis, false, "violate rule 1"},
		{"without a name", policy.Protect, []policy.RuleSpec{http}, app.Unknown, false, "deny default 0"},
		{"unknown listed", policy.Protect, []policy.RuleSpec{http, unnamed}, app.Unknown, false, "allow rule 2"},
		{"unknown listed, named", policy.Protect, []policy.RuleSpec{unnamed}, app.HTTP, false, "deny default 0"},
		{"midstream without a name", policy.Protect, []policy.RuleSpec{denyRedis, http}, app.Unknown, true, "allow rule 2"},
		{"midstream with another name", policy.Protect, []policy.RuleSpec{http}, app.Redis, true, "deny default 0"},
	}
	for _, tt := range tests {
		for _, peer := range []string{"10.0.0.2", "2001:db8::2"} {
			t.Run(tt.name+" "+peer, func(t *testing.T) {
				table, err := policy.Compile(pairSpec(tt.mode, tt.rules...))
				if err != nil {
					t.Fatal(err)
				}
				a := netip.MustParseAddr(peer)
				d := table.Workload("w").Decide(&policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(a), IPv6: a.Is6(), Proto: 6, Port: 80,
					App: tt.app, Base: tt.app.Base(), Midstream: tt.mid})
				if got := fmt.Sprintf("%s %s %d", d.Verdict, d.Reason, d.Rule); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		}
	}
}

func TestOpen(t *testing.T) {
	s := pairSpec(policy.Protect)
	s.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	table, err := policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, local, peer string
		proto             uint8
		port              uint16
		want              flow.Verdict
	}{
		{"loopback", "127.0.0.1", "127.0.0.53", 17, 53, flow.Open}, {"loopback, IPv6", "::1", "::1", 6, 80, flow.Open},
		{"itself", "10.0.0.1", "10.0.0.1", 6, 80, flow.Open}, {"link-local", "169.254.1.1", "169.254.1.2", 6, 80, flow.Deny},
		{"link-local, IPv6", "fe80::1", "fe80::2", 6, 80, flow.Deny}, {"multicast", "10.0.0.1", "224.0.0.251", 17, 5353, flow.Deny},
		{"multicast, IPv6", "2001:db8::1", "ff02::1", 58, 0, flow.Deny}, {"to us by multicast", "ff02::fb", "2001:db8::9", 17, 5353, flow.Deny},
		{"ICMPv6 from our link-local", "fe80::1", "2001:db8::9", 58, 0, flow.Deny},
		{"TCP from our link-local", "fe80::1", "2001:db8::9", 6, 80, flow.Deny},
		{"the port of DHCP", "0.0.0.0", "255.255.255.255", 17, 67, flow.Deny}, {"DHCP by TCP", "10.0.0.1", "10.0.0.9", 6, 67, flow.Deny},
		{"the port of DHCPv6", "2001:db8::1", "2001:db8::9", 17, 547, flow.Deny}, {"DHCPv6's port in IPv4", "10.0.0.1", "10.0.0.9", 17, 547, flow.Deny},
		{"exempt", "10.0.0.1", "192.0.2.3", 6, 80, flow.Open}, {"everything else", "10.0.0.1", "198.51.100.1", 6, 80, flow.Deny},
		{"SCTP", "2001:db8::1", "2001:db8::9", 132, 80, flow.Deny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			local, peer := netip.MustParseAddr(tt.local), netip.MustParseAddr(tt.peer)
			q := policy.Query{Dir: packet.Egress, Local: packet.AddrFrom(local), Peer: packet.AddrFrom(peer), IPv6: peer.Is6(), Proto: tt.proto, Port: tt.port}
			if got := table.Workload("w").Decide(&q).Verdict; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	s.Workloads[0].Quarantined = true
	table, err = policy.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	loop := packet.AddrFrom(netip.MustParseAddr("127.0.0.1"))
	if d := table.Workload("w").Decide(&policy.Query{Peer: loop, Local: loop}); d.Verdict != flow.Deny || d.Reason != flow.ByQuarantine {
		t.Errorf("quarantined: got %+v", d)
	}
}

// TestIPv4MappedPacket: an IPv6 packet with an IPv4-mapped address must not have an IPv4
// identity.
func TestIPv4MappedPacket(t *testing.T) {
	table, err := policy.Compile(pairSpec(policy.Protect))
	if err != nil {
		t.Fatal(err)
	}
	a := packet.AddrFrom(netip.MustParseAddr("10.0.0.2"))
	if v4, v6 := table.Identity(a, false), table.Identity(a, true); v4 != 2 || v6 != 0 {
		t.Errorf("got identities %d and %d, want 2 and 0", v4, v6)
	}
}

func TestCompileRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*policy.Spec)
		want   string
	}{
		{"group of an identity", func(s *policy.Spec) { s.Identities[1].Groups[0] = 3 }, "identity 1 is in group 3, but the policy has 3 groups"},
		{"identity of an address", func(s *policy.Spec) { s.Addresses[0].Identity = 3 }, "10.0.0.2/32 have identity 3"},
		{"prefix", func(s *policy.Spec) { s.Addresses[0].Prefix = netip.Prefix{} }, "is not a prefix"},
		{"exempt prefix", func(s *policy.Spec) { s.Exempt = make([]netip.Prefix, 1) }, "is not a prefix"},
		{"identity of a workload", func(s *policy.Spec) { s.Workloads[0].Identity = 9 }, `workload "w" has identity 9`},
		{"mode", func(s *policy.Spec) { s.Workloads[0].Mode = 7 }, "one of which does not exist"},
		{"workload twice", func(s *policy.Spec) { s.Workloads = append(s.Workloads, s.Workloads[0]) }, "twice"},
		{"rule from", func(s *policy.Spec) { s.Rules[0].From = 3 }, "rule 1 (at place 0): comes from group 3"},
		{"rule to", func(s *policy.Spec) { s.Rules[0].To = 3 }, "goes to group 3"},
		{"rule 0", func(s *policy.Spec) { s.Rules[0].ID = 0 }, "reserved for the defaults"},
		{"ports", func(s *policy.Spec) { s.Rules[0].Ports = []policy.PortSpec{{Lo: 2, Hi: 1}} }, "descending order"},
		{"application", func(s *policy.Spec) { s.Rules[0].Apps = []app.ID{app.Undecided} }, "which no session keeps"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := pairSpec(policy.Protect, policy.RuleSpec{})
			tt.change(s)
			if _, err := policy.Compile(s); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestWorkloadSettings(t *testing.T) {
	var s policy.Spec
	text := `{"version":18446744073709551615,"identities":[{"groups":[]}],"workloads":[
		{"id":"a","mode":"protect","on_deny":"drop","unready":"hold","fail_closed":true,"hold_pass":true,"hold":5000000},{"id":"b","mode":"discover"}]}`
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	table, err := policy.Compile(&s)
	if err != nil {
		t.Fatal(err)
	}
	a, b := table.Workload("a"), table.Workload("b")
	got := fmt.Sprint(table.Version(), a.Mode(), a.OnDeny(), a.Unready(), a.FailClosed(), a.HoldPass(), a.Hold(), a.Quarantined(), b.Mode(), b.OnDeny(), b.Hold(), table.Workload("c") == nil)
	const want = "18446744073709551615 protect drop hold true true 5ms false discover reset 3s true"
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := json.Unmarshal([]byte(`{"workloads":[{"mode":"on"}]}`), &s); err == nil || !strings.Contains(err.Error(), "use discover, monitor or protect") {
		t.Errorf("got %v", err)
	}
}

func TestExplain(t *testing.T) {
	port := []policy.PortSpec{{Proto: 6, Lo: 80, Hi: 80}}
	table, err := policy.Compile(pairSpec(policy.Protect, policy.RuleSpec{Ports: port, Apps: []app.ID{app.HTTP}}, policy.RuleSpec{Ports: []policy.PortSpec{{Proto: 6, Lo: 90, Hi: 99}}}))
	if err != nil {
		t.Fatal(err)
	}
	q := policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(netip.MustParseAddr("10.0.0.2")), Proto: 6, Port: 80, App: app.Redis, Base: app.Redis}
	steps, _ := table.Workload("w").Explain(&q)
	want := []policy.Step{
		{Rule: 1, Text: "allow from web to api on tcp/80, http", Outcome: "no: the application is redis"},
		{Rule: 2, Text: "allow from web to api on tcp/90-99, any application", Outcome: "no: the connection is to tcp/80"},
		{Text: "no rule between the two ends matches", Outcome: "mode protect: deny"},
	}
	if fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", steps, want)
	}
}
