package compile_test

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluicenet/sluice/controller/compile"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func rule(id uint32, from, to string, ports ...string) model.Rule {
	p, err := model.ParsePorts(ports)
	if err != nil {
		panic(err)
	}
	return model.Rule{ID: id, From: from, To: to, Ports: p, Action: model.Allow, Origin: model.ByUser}
}

// shop is web and api on node a, db on node b, and an outer world.
func shop() *compile.Input {
	w := func(name, node string, addresses ...string) model.Workload {
		return model.Workload{ID: "netns:" + name, Name: name, Namespace: "default", Service: name, Node: node, Addresses: prefixes(addresses...)}
	}
	web := w("web", "a", "10.7.0.2/24", "fd07::2/64", "fe80::2/64")
	web.Labels = map[string]string{"tier": "front"}
	return &compile.Input{
		Version: 9, Node: "a",
		Groups: []model.Group{
			{Name: "svc:default/web", Mode: policy.Protect, Fail: model.FailClosed}, {Name: "svc:default/api", Mode: policy.Monitor},
			{Name: "front", Selector: &model.Selector{Labels: map[string]string{"tier": "front"}}},
			{Name: "office", CIDRs: prefixes("198.51.100.0/24", "10.7.0.128/25")},
		},
		Rules: []model.Rule{
			rule(1, "front", "svc:default/api", "tcp/80"), rule(2, "office", "svc:default/web", "tcp/443"),
			{ID: 3, From: "any", To: "any", Action: model.Allow, Origin: model.ByUser, Disabled: true},
			rule(4, "svc:default/web", "svc:default/db", "tcp/5432"), rule(5, "svc:default/web", "nodes", "icmp"),
			rule(6, "svc:default/web", "external", "tcp/444"), rule(7, "svc:default/web", "unmanaged", "tcp/445"), rule(8, "svc:default/web", "nobody"),
		},
		Workloads: []model.Workload{web, w("api", "a", "10.7.0.3/24", "fd07::3/64"), w("db", "b", "10.8.0.4/24", "fd08::4/64"),
			{ID: "host", Name: "host", Namespace: "default", Service: "host", Node: "a", HostNet: true, Addresses: prefixes("192.0.2.1/24")}},
		Nodes:    []model.Node{{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("fd07::1")}}},
		Settings: model.Settings{Internal: prefixes("172.16.0.0/12")},
	}
}

func TestCompileDecides(t *testing.T) {
	spec, notes := compile.Compile(shop())
	if len(notes) > 0 {
		t.Errorf("notes: %v", notes)
	}
	table, err := policy.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, workload, peer string
		dir                  packet.Direction
		proto                uint8
		port                 uint16
		want                 flow.Verdict
		rule                 uint32
	}{
		{"by label", "web", "10.7.0.3", packet.Egress, 6, 80, flow.Allow, 1},
		{"by label, IPv6", "web", "fd07::3", packet.Egress, 6, 80, flow.Allow, 1},
		{"the server's end", "api", "fd07::2", packet.Ingress, 6, 80, flow.Allow, 1},
		{"another port", "web", "10.7.0.3", packet.Egress, 6, 81, flow.Deny, 0},
		{"monitor", "api", "10.7.0.2", packet.Ingress, 6, 81, flow.Violate, 0},
		{"another node's workload", "web", "10.8.0.4", packet.Egress, 6, 5432, flow.Allow, 4},
		{"a node", "web", "10.7.0.1", packet.Egress, 1, 0, flow.Allow, 5},
		{"a node, ICMPv6", "web", "fd07::1", packet.Egress, 58, 0, flow.Allow, 5},
		{"external", "web", "203.0.113.9", packet.Egress, 6, 444, flow.Allow, 6},
		{"external, IPv6", "web", "2001:db8::9", packet.Egress, 6, 444, flow.Allow, 6},
		{"a subnet of workloads", "web", "10.7.0.77", packet.Egress, 6, 445, flow.Allow, 7},
		{"a subnet of the settings", "web", "172.17.1.1", packet.Egress, 6, 445, flow.Allow, 7},
		{"a subnet is not external", "web", "fd07::77", packet.Egress, 6, 444, flow.Deny, 0},
		{"by prefix", "web", "198.51.100.7", packet.Ingress, 6, 443, flow.Allow, 2},
		{"by prefix, external too", "web", "198.51.100.7", packet.Egress, 6, 444, flow.Allow, 6},
		{"by prefix inside a subnet", "web", "10.7.0.200", packet.Ingress, 6, 443, flow.Allow, 2},
		{"by prefix inside a subnet, unmanaged too", "web", "10.7.0.200", packet.Egress, 6, 445, flow.Allow, 7},
		{"disabled", "web", "10.7.0.3", packet.Egress, 17, 9, flow.Deny, 0},
		{"link-local", "web", "fe80::3", packet.Egress, 6, 445, flow.Allow, 7},
		{"link-local is not external", "web", "fe80::3", packet.Egress, 6, 444, flow.Deny, 0},
		{"metadata is not external", "web", "169.254.169.254", packet.Egress, 6, 444, flow.Deny, 0},
		{"multicast is not external", "web", "ff02::fb", packet.Egress, 6, 444, flow.Deny, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			peer := netip.MustParseAddr(tt.peer)
			d := table.Workload("netns:" + tt.workload).Decide(&policy.Query{Dir: tt.dir, Peer: packet.AddrFrom(peer), IPv6: peer.Is6(), Proto: tt.proto, Port: tt.port})
			if d.Verdict != tt.want || d.Rule != tt.rule {
				t.Errorf("got %s by rule %d, want %s by rule %d", d.Verdict, d.Rule, tt.want, tt.rule)
			}
		})
	}
	if w := table.Workload("netns:web"); !w.FailClosed() || table.Workload("netns:db") != nil || table.Workload("host") == nil {
		t.Error("wrong workloads of the node")
	}
}

// TestCompileIsDeterministic: the order of workloads, groups and nodes does not show.
func TestCompileIsDeterministic(t *testing.T) {
	want, _ := compile.Compile(shop())
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		in := shop()
		r.Shuffle(len(in.Workloads), func(i, j int) { in.Workloads[i], in.Workloads[j] = in.Workloads[j], in.Workloads[i] })
		r.Shuffle(len(in.Groups), func(i, j int) { in.Groups[i], in.Groups[j] = in.Groups[j], in.Groups[i] })
		got, _ := compile.Compile(in)
		if d := cmp.Diff(got, want, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Fatal(d)
		}
	}
}

func TestAddressOfTwo(t *testing.T) {
	in := shop()
	in.Workloads = append(in.Workloads,
		model.Workload{ID: "netns:twin", Name: "twin", Namespace: "default", Service: "twin", Node: "a", Addresses: prefixes("10.7.0.3/24")},
		model.Workload{ID: "a", Name: "far", Namespace: "default", Service: "far", Node: "b", Addresses: prefixes("10.7.0.2/24")})
	spec, notes := compile.Compile(in)
	if len(notes) != 1 || !strings.Contains(notes[0], "netns:api and netns:twin of node a both have the address 10.7.0.3") {
		t.Errorf("notes: %v", notes)
	}
	table, err := policy.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	web := table.Identity(packet.AddrFrom(netip.MustParseAddr("10.7.0.2")), false)
	if want := table.Workload("netns:web").Identity(); web != want {
		t.Errorf("10.7.0.2 has identity %d, want %d: the node's own workload comes first", web, want)
	}
}
