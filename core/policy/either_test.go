package policy_test

import (
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// passing orders verdicts by how much they let through, as DecideEither documents it.
var passing = map[flow.Verdict]int{flow.Deny: 0, flow.Violate: 1, flow.Learn: 2, flow.Pending: 3, flow.Allow: 4, flow.Open: 4}

// TestDecideEither compares the decision for both orientations with a direct evaluation of
// the rules for each: it is one of the two, never worse than the other, and never denies what
// one of them allows, waits for, or learns.
func TestDecideEither(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	saved, turned := 0, 0
	for n := range 1000 {
		s := randomSpec(r)
		table, err := policy.Compile(s)
		if err != nil {
			t.Fatalf("spec %d: %v", n, err)
		}
		for range 100 {
			ws := &s.Workloads[r.IntN(len(s.Workloads))]
			q, port := randomQuery(r), randomPort(r)
			other := q
			other.Dir, other.Port = q.Dir.Reverse(), port
			given, back := naive(s, ws, &q), naive(s, ws, &other)
			before := q
			got, reversed := table.Workload(ws.ID).DecideEither(&q, port)
			if q != before {
				t.Fatalf("the query was changed to %+v", q)
			}
			if want := map[bool]policy.Decision{false: given, true: back}[reversed]; got != want {
				t.Fatalf("spec %d, %+v of %+v, or port %d: got %+v, reversed %v, want %+v\nrules %+v", n, q, ws, port, got, reversed, want, s.Rules)
			}
			if passing[got.Verdict] < max(passing[given.Verdict], passing[back.Verdict]) {
				t.Fatalf("spec %d, %+v of %+v, or port %d: got %+v, though the orientations have %+v and %+v", n, q, ws, port, got, given, back)
			}
			if reversed && passing[given.Verdict] >= passing[back.Verdict] {
				t.Fatalf("reversed without need: %+v and %+v", given, back)
			}
			if given.Verdict == flow.Deny && got.Verdict != flow.Deny {
				saved++
			}
			if reversed {
				turned++
			}
		}
	}
	if saved < 500 || turned < 500 {
		t.Errorf("%d denials avoided and %d decisions reversed: the random cases cover too little", saved, turned)
	}
}

func TestDecideEitherAllocatesNothing(t *testing.T) {
	table, err := policy.Compile(&policy.Spec{
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "web"}, {Name: "api"}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{0, 1}}},
		Workloads:  []policy.WorkloadSpec{{ID: "w", Mode: policy.Protect}},
		Rules:      []policy.RuleSpec{{ID: 9, From: 0, To: 1, Ports: []policy.PortSpec{{Proto: 6, Lo: 40000, Hi: 40000}}, Apps: []app.ID{app.HTTP}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	q := policy.Query{Dir: packet.Egress, Peer: packet.AddrFrom(randomAddr(rand.New(rand.NewPCG(1, 1)), true)), IPv6: true, Proto: 6, Port: 50051, App: app.HTTP, Base: app.HTTP, Midstream: true}
	w := table.Workload("w")
	if d, reversed := w.DecideEither(&q, 40000); d.Verdict != flow.Allow || d.Rule != 9 || !reversed {
		t.Errorf("got %+v, reversed %v, want rule 9 for the other orientation", d, reversed)
	}
	if n := testing.AllocsPerRun(100, func() { w.DecideEither(&q, 40000) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
