package graph_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/flow"
)

// full returns a graph that a scan of one workload has filled.
func full() *graph.Graph {
	g := graph.New(graph.Limits{})
	for i := range 60_000 {
		server := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		g.Add(&graph.Observation{Node: "n", Reporter: "w", Egress: true, Leads: true, Share: "w", Kind: graph.Kind{From: "svc:default/evil", To: "external",
			FromWorkload: "evil", ToWorkload: server.String(), Proto: 17, Port: uint16(i)}, Client: netip.AddrFrom4([4]byte{10, 0, 0, 4}), Server: server,
			Verdict: flow.Deny, Reason: flow.ByDefault, Outcome: flow.OutcomeDenied, Sessions: 1, Ended: 1, First: 1, Last: int64(i), Enforced: true})
	}
	return g
}

// BenchmarkSnapshot measures how long the lock of a full graph is held when it is stored.
func BenchmarkSnapshot(b *testing.B) {
	g := full()
	b.ReportAllocs()
	for b.Loop() {
		g.Snapshot()
	}
}

// BenchmarkStore measures a full graph from its lock to the bytes that are stored.
func BenchmarkStore(b *testing.B) {
	g := full()
	b.ReportAllocs()
	for b.Loop() {
		data, err := json.Marshal(g.Snapshot())
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(data)))
	}
}

// BenchmarkAdd measures an observation of a scan in a full graph, where each is a kind of its own.
func BenchmarkAdd(b *testing.B) {
	g := full()
	o := graph.Observation{Node: "n", Reporter: "w", Egress: true, Leads: true, Share: "w", Client: netip.AddrFrom4([4]byte{10, 0, 0, 4}),
		Verdict: flow.Deny, Reason: flow.ByDefault, Outcome: flow.OutcomeDenied, Sessions: 1, Ended: 1}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		o.Kind = graph.Kind{From: "svc:default/evil", To: "external", FromWorkload: "evil", ToWorkload: fmt.Sprint(i), Proto: 17, Port: uint16(i)}
		o.Server, o.Last = netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)}), int64(i)
		g.Add(&o)
	}
}
