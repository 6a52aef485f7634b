package graph_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/flow"
)

// TestOneSourceMakesRoomItself: one address that scans a workload, over both families, does not push out what others
// did to the same workload: edges, violations and threats; nor does it after the history was read back.
func TestOneSourceMakesRoomItself(t *testing.T) {
	for _, from := range []string{"192.0.2.9", "2001:db8:9::1"} {
		g := graph.New(graph.Limits{Edges: 100, Violations: 100, Threats: 100, Sessions: 100})
		session := uint64(0)
		report := func(client netip.Addr, port uint16) {
			session++
			g.Add(&graph.Observation{Node: "n", Reporter: "w", Leads: true, Share: "n/w", Session: session, Client: client, Server: netip.MustParseAddr("10.0.0.1"),
				Kind:    graph.Kind{From: "external", To: "svc:default/w", FromWorkload: client.String(), ToWorkload: "w", Proto: 6, Port: port, IPv6: client.Is6()},
				Verdict: flow.Deny, Reason: flow.ByDefault, Outcome: flow.OutcomeDenied, Sessions: 1, First: 1, Last: int64(port)})
			g.AddThreat(&graph.Threat{ID: 1, Node: "n", Workload: "w", Source: client, DestinationPort: port, Count: 1}, "n/w")
		}
		calm := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8:1::1")}
		for _, a := range calm {
			report(a, 80)
		}
		check := func(when string) {
			t.Helper()
			var edges, violations, threats int
			for _, a := range calm {
				edges += len(g.Connections(func(e *graph.Edge) bool { return e.FromWorkload == a.String() }))
				v, _ := g.Violations(func(v *graph.Violation) bool { return v.Client == a })
				th, _ := g.Threats(func(th *graph.Threat) bool { return th.Source == a })
				violations, threats = violations+len(v), threats+len(th)
			}
			if edges != 3 || violations != 3 || threats != 3 {
				t.Errorf("%s, %s: %d edges, %d violations, %d threats of others are left, want 3 each", from, when, edges, violations, threats)
			}
		}
		scan := func() {
			a := netip.MustParseAddr(from)
			for port := range uint16(1000) {
				if a.Is6() { // a host has a whole /64
					b := a.As16()
					b[15], b[14] = byte(port), byte(port>>8)
					a = netip.AddrFrom16(b)
				}
				report(a, 1000+port)
			}
		}
		scan()
		check("after a scan")
		data, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		g = graph.New(graph.Limits{Edges: 100, Violations: 100, Threats: 100, Sessions: 100})
		if err := json.Unmarshal(data, g); err != nil {
			t.Fatal(err)
		}
		check("read back")
		scan()
		check("after another scan")
	}
}
