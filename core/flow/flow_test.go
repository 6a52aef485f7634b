package flow_test

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
)

// TestNames checks that every value has a name of its own, and that values from elsewhere
// (another version's) have the name of the zero value instead of panicking.
func TestNames(t *testing.T) {
	check := func(kind string, n int, at func(uint8) fmt.Stringer) {
		seen := map[string]int{}
		for i := range n {
			s := at(uint8(i)).String()
			if other, ok := seen[s]; ok {
				t.Errorf("%s: %d and %d are both %q", kind, other, i, s)
			}
			seen[s] = i
		}
		if got, want := at(250).String(), at(0).String(); got != want {
			t.Errorf("%s(250) is %q, want the zero value's %q", kind, got, want)
		}
	}
	check("Phase", 8, func(i uint8) fmt.Stringer { return flow.Phase(i) })
	check("Verdict", 7, func(i uint8) fmt.Stringer { return flow.Verdict(i) })
	check("Reason", 12, func(i uint8) fmt.Stringer { return flow.Reason(i) })
	check("Outcome", 7, func(i uint8) fmt.Stringer { return flow.Outcome(i) })
	check("Evidence", 6, func(i uint8) fmt.Stringer { return flow.Evidence(i) })
}

func TestOver(t *testing.T) {
	for p := flow.NoPhase; p <= flow.PhaseMidStream; p++ {
		if got, want := p.Over(), p == flow.PhaseClosed || p == flow.PhaseReset || p == flow.PhaseRefused; got != want {
			t.Errorf("%v.Over() = %v, want %v", p, got, want)
		}
	}
	for o := flow.OutcomeOpening; o <= flow.OutcomeDenied; o++ {
		if got, want := o.Over(), o > flow.OutcomeEstablished; got != want {
			t.Errorf("%v.Over() = %v, want %v", o, got, want)
		}
	}
}

func TestEvidenceOrder(t *testing.T) {
	order := []flow.Evidence{flow.EvidencePort, flow.EvidenceMemory, flow.EvidenceProtocol, flow.EvidenceListener, flow.EvidenceSocket, flow.EvidenceHandshake}
	for i := 1; i < len(order); i++ {
		if order[i] <= order[i-1] {
			t.Errorf("%v is not stronger than %v", order[i], order[i-1])
		}
	}
	if !flow.EvidencePort.Guessed() || flow.EvidenceMemory.Guessed() {
		t.Error("only a guess by ports is a guess")
	}
}

func TestCountersAdd(t *testing.T) {
	c := flow.Counters{Packets: [2]uint64{1, 2}, Bytes: [2]uint64{10, 20}}
	c.Add(&flow.Counters{Packets: [2]uint64{3, 4}, Bytes: [2]uint64{30, 40}})
	if want := (flow.Counters{Packets: [2]uint64{4, 6}, Bytes: [2]uint64{40, 60}}); c != want {
		t.Errorf("sum is %+v, want %+v", c, want)
	}
}

func TestDetailGet(t *testing.T) {
	var none *flow.Detail
	d := &flow.Detail{Attrs: []flow.Pair{{Key: "host", Value: "a"}}}
	if none.Get("host") != "" || d.Get("path") != "" || d.Get("host") != "a" {
		t.Error("Get does not return the value of its key, or an empty string")
	}
}
