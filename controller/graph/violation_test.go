package graph_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/flow"
)

// TestViolateTogether reports several violating sessions of one kind at once, and their end later: they count
// once, at whichever ends.
func TestViolateTogether(t *testing.T) {
	const minute = int64(60e9)
	both := func(verdict flow.Verdict) func(*graph.Observation) {
		return func(o *graph.Observation) { o.Verdict, o.Sessions = verdict, 2 }
	}
	server := func(o *graph.Observation) {
		o.Egress, o.Leads, o.Reporter = false, false, "netns:api"
	}
	end := func(o *graph.Observation) {
		o.Sessions, o.Ended, o.Outcome = 0, 2, flow.OutcomeDenied
		o.First, o.Last = o.First+2*minute, o.Last+2*minute
	}
	for _, tt := range []struct {
		name    string
		restart int // the controller restarts after this report; -1: it does not
		in      [][]func(*graph.Observation)
		want    []string
	}{
		{"refused at one end", -1, [][]func(*graph.Observation){{both(flow.Deny)}, {both(flow.Deny), end}}, []string{"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 0: 2"}},
		{"refused at one end, the controller restarts", 0, [][]func(*graph.Observation){{both(flow.Deny)}, {both(flow.Deny), end}}, []string{"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 0: 2"}},
		{"refused twice", -1, [][]func(*graph.Observation){{both(flow.Deny)}, {both(flow.Deny)}, {both(flow.Deny), end}, {both(flow.Deny), end}}, []string{"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 0: 4"}},
		{"violations at both ends", -1, [][]func(*graph.Observation){{both(flow.Violate)}, {both(flow.Violate), server}, {both(flow.Violate), end}, {both(flow.Violate), server, end}},
			[]string{"netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 2"}},
		{"unknown until they end", -1, [][]func(*graph.Observation){{both(flow.Deny), end}}, []string{"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 0: 2"}},
	} {
		g := graph.New(graph.Limits{})
		for i, f := range tt.in {
			g.Add(seen(f...))
			if i != tt.restart {
				continue
			}
			b, err := json.Marshal(g)
			if err != nil {
				t.Fatal(err)
			}
			if g = graph.New(graph.Limits{}); json.Unmarshal(b, g) != nil {
				t.Fatalf("unreadable: %s", b)
			}
		}
		var got []string
		for _, s := range brief(g) {
			if s[:5] == "netns" {
				got = append(got, s)
			}
		}
		if d := cmp.Diff(got, tt.want); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}
