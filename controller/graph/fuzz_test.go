package graph_test

import (
	"encoding/json"
	"testing"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// FuzzAdd feeds observations that no honest agent would send: whatever they are, nothing panics, no
// row is without sessions, sums agree, and what is written down can be read.
func FuzzAdd(f *testing.F) {
	f.Add([]byte{0, 1, 1, 4, 1, 1, 1, 5})
	f.Add([]byte{0x80, 3, 0, 4, 0x81, 0, 3, 5, 0x02, 1, 1, 5})
	f.Add([]byte{0x10, 1, 0, 6, 0x10, 0, 1, 5, 0x11, 1, 1, 4})
	f.Fuzz(func(t *testing.T, ops []byte) {
		g := graph.New(graph.Limits{})
		var sessions uint64
		for i := 0; len(ops) >= 4; i, ops = i+1, ops[4:] {
			op, n, ended, verdict := ops[0], uint64(ops[1]), uint64(ops[2]), ops[3]
			o := seen(func(o *graph.Observation) {
				o.Egress, o.Leads = op&1 == 0, op&2 == 0
				o.App = []app.ID{app.HTTP, app.Undecided, app.Unknown, app.TLS}[op>>2&3]
				o.Session, o.Port = uint64(op>>4&3), uint16(op>>6)
				o.Sessions, o.Ended = n, ended
				o.Verdict, o.Outcome = flow.Verdict(verdict%7), flow.Outcome(verdict>>4%7)
				o.First, o.Last = int64(i)*1e9, int64(i)*1e9+int64(op)
			})
			if o.Leads {
				sessions += n
			}
			g.Add(o)
		}
		var counted, violated uint64
		for _, e := range g.Connections(nil) {
			if counted += e.Sessions; e.Sessions == 0 {
				t.Fatalf("a row without sessions: %+v", e)
			}
			if by := e.ByOutcome(); e.Refused != (by[flow.OutcomeDenied] > 0) || e.Refused && by[flow.OutcomeDenied] != e.Sessions {
				t.Fatalf("refused and passed in one row: %+v", e)
			}
		}
		list, _ := g.Violations(nil)
		for _, v := range list {
			if violated += v.Count; v.Count == 0 || v.Verdict != flow.Violate && v.Verdict != flow.Deny {
				t.Fatalf("a violation that is none: %+v", v)
			}
		}
		totals := g.Totals()
		if counted != sessions || totals.Sessions != sessions || totals.Violations != violated {
			t.Fatalf("%d sessions reported, %d in rows; %d violations in rows; totals %+v", sessions, counted, violated, totals)
		}
		b, err := json.Marshal(g)
		if err == nil {
			err = json.Unmarshal(b, graph.New(graph.Limits{}))
		}
		if err != nil {
			t.Fatal(err)
		}
	})
}
