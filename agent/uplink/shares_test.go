package uplink

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
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
