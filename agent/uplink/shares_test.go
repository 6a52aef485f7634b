package uplink

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/report"
)

// TestKindShares: a workload that is scanned, or scans, while the controller is away loses kinds of its own beyond
// its share, and others none, whether they came before or come later; sent kinds free its share.
func TestKindShares(t *testing.T) {
	const most = 800
	a := newAggregate(most, func(id uint32) string { return fmt.Sprint("w", id) })
	next := uint64(0)
	report := func(endpoint uint32, port int) {
		next++
		a.record(&flow.Record{Key: flow.Key{Proto: 6, ServerPort: uint16(port)}, Session: next, Endpoint: endpoint, Kind: flow.Start, Verdict: flow.Deny, Outcome: flow.OutcomeDenied})
		a.fold(true)
	}
	kinds := func(workload string) (n int) {
		for k := range a.kinds {
			if k.workload == workload {
				n++
			}
		}
		return n
	}
	for i := range 20 {
		report(1, i)
	}
	for _, scanner := range []uint32{2, 3} {
		for port := range 5000 {
			report(scanner, port)
		}
	}
	for i := range 5 {
		report(1, 100+i)
		report(4, i)
	}
	if n, m := kinds("w1"), kinds("w4"); n != 25 || m != 5 {
		t.Errorf("%d and %d kinds of quiet workloads are left, want 25 and 5", n, m)
	}
	if n := kinds("w2"); n < most/2 || len(a.kinds) > most || a.dropped["uplink_full"] == 0 {
		t.Errorf("%d kinds of the scanner in %d, %d dropped", n, len(a.kinds), a.dropped["uplink_full"])
	}
	for w, n := range a.shares {
		if got := kinds(w); got != n {
			t.Errorf("%s: share %d, %d kinds", w, n, got)
		}
	}
	a.reset()
	report(2, 1)
	if kinds("w2") != 1 || a.shares["w2"] != 1 {
		t.Errorf("after sending: %d kinds, share %d", kinds("w2"), a.shares["w2"])
	}
}

// TestLossesAreTheirs: a workload whose records or threats have no room, in either aggregate, is marked, and no other one.
func TestLossesAreTheirs(t *testing.T) {
	const most = 800
	name := func(id uint32) string { return fmt.Sprint("w", id) }
	for _, absorbed := range []bool{false, true} {
		a, pending := newAggregate(most, name), newAggregate(most, name)
		for port := range 5000 {
			a.record(&flow.Record{Key: flow.Key{Proto: 6, ServerPort: uint16(port)}, Session: uint64(port + 1), Endpoint: 2, Kind: flow.Start, Verdict: flow.Learn})
			a.fold(true)
		}
		for i := range 20_000 {
			a.threat(&report.Threat{Endpoint: 2, ID: 1, SrcPort: uint16(i)})
		}
		a.record(&flow.Record{Key: flow.Key{Proto: 6, ServerPort: 80}, Session: 9999, Endpoint: 1, Kind: flow.Start, Verdict: flow.Learn})
		a.threat(&report.Threat{Endpoint: 1, ID: 1})
		a.fold(true)
		if absorbed {
			pending.absorb(a)
			a = pending
		}
		threats := map[string]int{}
		for _, r := range a.pack() {
			for _, c := range r.Connections {
				if c.Lossy != (c.Workload == "w2") {
					t.Fatalf("absorbed %v: a connection of %s is marked lossy: %v", absorbed, c.Workload, c.Lossy)
				}
			}
			for _, th := range r.Threats {
				threats[th.Workload]++
			}
		}
		if threats["w1"] != 1 || threats["w2"] < maxThreats/2 || a.dropped["threats_full"]+a.dropped["uplink_full"] == 0 {
			t.Errorf("absorbed %v: got threats %v, dropped %v", absorbed, threats, a.dropped)
		}
		a.reset()
		a.record(&flow.Record{Key: flow.Key{Proto: 6, ServerPort: 80}, Session: 1, Endpoint: 2, Kind: flow.Start, Verdict: flow.Learn})
		a.fold(true)
		if c := a.pack()[0].Connections; len(c) != 1 || c[0].Lossy {
			t.Errorf("absorbed %v: after sending: got %v", absorbed, c)
		}
	}
}
