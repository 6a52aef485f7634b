package graph_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// seen is one session from web to api, reported by the client's end, as a test changes it.
func seen(change ...func(*graph.Observation)) *graph.Observation {
	o := &graph.Observation{
		Node: "n", Run: "b", Reporter: "netns:web", Egress: true, Leads: true, Share: "web", Client: netip.MustParseAddr("10.0.0.1"), Server: netip.MustParseAddr("10.0.0.2"),
		Kind: graph.Kind{From: "svc:default/web", To: "svc:default/api", FromNode: "n", ToNode: "n", FromWorkload: "web", ToWorkload: "api",
			Proto: 6, Port: 80, App: app.HTTP},
		Verdict: flow.Learn, Outcome: flow.OutcomeEstablished, Evidence: flow.EvidenceHandshake,
		Sessions: 1, PacketsOut: 5, PacketsIn: 4, BytesOut: 500, BytesIn: 4000, First: 10, Last: 20, Answered: true,
	}
	for _, f := range change {
		f(o)
	}
	return o
}

// brief is an edge or violation in one line.
func brief(g *graph.Graph) []string {
	var out []string
	for _, e := range g.Connections(nil) {
		var outcomes []string
		for o, n := range e.ByOutcome() {
			if n > 0 {
				outcomes = append(outcomes, fmt.Sprint(n, " ", flow.Outcome(o)))
			}
		}
		out = append(out, fmt.Sprintf("%s>%s %d %s %s (%s, %s): %d sessions (%s), %d open, %d bytes", e.FromWorkload, e.ToWorkload, e.Port, e.App, e.Decision().Verdict,
			e.Ends[0].Verdict, e.Ends[1].Verdict, e.Sessions, strings.Join(outcomes, ", "), e.Open, e.BytesOut+e.BytesIn))
	}
	list, _ := g.Violations(nil)
	for _, v := range list {
		out = append(out, fmt.Sprintf("%s: %s>%s %d %s %s by rule %d: %d", v.Reporter, v.Client, v.Server, v.Port, v.App, v.Verdict, v.Rule, v.Count))
	}
	return out
}

func TestAdd(t *testing.T) {
	type change = func(*graph.Observation)
	type step []change
	undecided := func(o *graph.Observation) { o.App = app.Undecided }
	follow := func(o *graph.Observation) {
		o.Sessions, o.PacketsOut, o.PacketsIn, o.BytesOut, o.BytesIn = 0, 1, 1, 50, 50
	}
	number := func(o *graph.Observation) { o.Session = 7 }
	ended := func(o *graph.Observation) { o.Ended, o.Outcome = 1, flow.OutcomeClosed }
	server := func(o *graph.Observation) {
		o.Egress, o.Leads, o.Reporter = false, false, "netns:api"
	}
	alone := func(o *graph.Observation) { o.Egress, o.Reporter = false, "netns:api" }
	denied := func(o *graph.Observation) {
		o.Verdict, o.Rule, o.Outcome, o.Ended = flow.Deny, 3, flow.OutcomeDenied, 1
	}
	violates := func(o *graph.Observation) { o.Verdict = flow.Violate }
	refused := func(o *graph.Observation) {
		o.Verdict, o.Outcome, o.Ended, o.Answered = flow.Allow, flow.OutcomeRefused, 1, false
	}
	later := func(o *graph.Observation) { o.First, o.Last = 30, 40 }
	by := func(port uint16) func(*graph.Observation) {
		return func(o *graph.Observation) { o.ClientPort, o.Session = port, uint64(port) }
	}
	opens := func(o *graph.Observation) { o.Outcome, o.Answered, o.Verdict = flow.OutcomeOpening, false, flow.Allow }
	second := later
	much := func(o *graph.Observation) { o.First, o.Last = 60e9, 60e9 }
	tests := []struct {
		name string
		in   []step
		want []string
	}{
		{"sums up", []step{{}, {ended}}, []string{"web>api 80 http learn (learn, none): 2 sessions (1 established, 1 closed), 1 open, 9000 bytes"}},
		{"counts once when both ends report", []step{{}, {server}}, []string{"web>api 80 http learn (learn, learn): 1 sessions (1 established), 1 open, 4500 bytes"}},
		{"whichever end reports first", []step{{server}, {}}, []string{"web>api 80 http learn (learn, learn): 1 sessions (1 established), 1 open, 4500 bytes"}},
		{"shows both verdicts and the stricter one", []step{{ended}, {server, denied}}, []string{
			"web>api 80 http deny (learn, deny): 1 sessions (1 denied), 0 open, 4500 bytes", "netns:api: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"joins an end that did not see the application", []step{{server, undecided}, {}}, []string{
			"web>api 80 http learn (learn, learn): 1 sessions (1 established), 1 open, 4500 bytes"}},
		{"joins an end that lost the application", []step{{}, {server, undecided, violates}}, []string{
			"web>api 80 http violate (learn, violate): 1 sessions (1 established), 1 open, 4500 bytes", "netns:api: 10.0.0.1>10.0.0.2 80 undecided violate by rule 0: 1"}},
		{"counts the server's end where the client is no workload", []step{{alone}}, []string{"web>api 80 http learn (none, learn): 1 sessions (1 established), 1 open, 4500 bytes"}},
		{"what was refused is a row of its own, other verdicts make none", []step{{ended}, {ended, later, func(o *graph.Observation) { o.Verdict = flow.Allow }}, {later, later, denied}}, []string{
			"web>api 80 http allow (allow, none): 2 sessions (2 closed), 0 open, 9000 bytes",
			"web>api 80 http deny (deny, none): 1 sessions (1 denied), 0 open, 4500 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"a refusal by the peer is no violation", []step{{refused}}, []string{"web>api 80 http allow (allow, none): 1 sessions (1 refused), 0 open, 4500 bytes"}},
		{"what was denied is not learned after a change of mode", []step{{number, func(o *graph.Observation) {
			denied(o)
			o.Ended = 0
		}}, {number, follow, later, func(o *graph.Observation) { o.Outcome = flow.OutcomeDenied }}}, []string{
			"web>api 80 http deny (deny, none): 1 sessions (1 denied), 0 open, 4600 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"a row without sessions is none", []step{{follow}}, nil},
		{"packets of a session of another run go to its row", []step{{}, {follow, later, undecided}}, []string{"web>api 80 http learn (learn, none): 1 sessions (1 established), 1 open, 4600 bytes"}},
		{"moves a session to its application", []step{{undecided, number}, {follow, number}, {follow, number, ended}},
			[]string{"web>api 80 http learn (learn, none): 1 sessions (1 closed), 0 open, 4700 bytes"}},
		{"moves only what the session counted", []step{{undecided}, {undecided, number}, {follow, number}},
			[]string{"web>api 80 http learn (learn, none): 1 sessions (1 established), 1 open, 4600 bytes", "web>api 80 undecided learn (learn, none): 1 sessions (1 established), 1 open, 4500 bytes"}},
		{"moves sessions without numbers when they end", []step{
			{undecided, func(o *graph.Observation) { o.Sessions = 3 }}, {follow, func(o *graph.Observation) { o.Ended = 2 }}, {follow, ended}},
			[]string{"web>api 80 http learn (learn, none): 3 sessions (3 closed), 0 open, 4700 bytes"}},
		{"counts a violation of both ends once", []step{{violates, number}, {server, violates, follow, func(o *graph.Observation) { o.Sessions = 1 }}}, []string{
			"web>api 80 http violate (violate, violate): 1 sessions (1 established), 1 open, 4500 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1"}},
		{"whichever reports first", []step{{server, violates}, {violates}}, []string{
			"web>api 80 http violate (violate, violate): 1 sessions (1 established), 1 open, 4500 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1"}},
		{"counts it at the stricter end", []step{{violates}, {server, denied}}, []string{
			"web>api 80 http deny (violate, deny): 1 sessions (1 denied), 0 open, 4500 bytes", "netns:api: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"whichever of them reports first", []step{{server, denied}, {violates}}, []string{
			"web>api 80 http deny (violate, deny): 1 sessions (1 denied), 0 open, 4500 bytes", "netns:api: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"another connection counts again", []step{{violates, ended}, {much, server, violates}}, []string{
			"web>api 80 http violate (violate, violate): 1 sessions (1 closed), 0 open, 4500 bytes",
			"netns:api: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1", "netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1"}},
		{"what was refused stays refused while others are not named yet", []step{{undecided, denied}, {undecided, violates, number, later}, {undecided, violates, server, number, later}, {violates, follow, number, ended, later}, {violates, server, follow, number, ended, later}},
			[]string{"web>api 80 http violate (violate, violate): 1 sessions (1 closed), 0 open, 4600 bytes", "web>api 80 undecided deny (deny, none): 1 sessions (1 denied), 0 open, 4500 bytes",
				"netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1", "netns:web: 10.0.0.1>10.0.0.2 80 undecided deny by rule 3: 1"}},
		{"counts a violation once a session", []step{{violates, number}, {violates, follow, number}, {violates, follow, number, ended}}, []string{
			"web>api 80 http violate (violate, none): 1 sessions (1 closed), 0 open, 4700 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1"}},
		{"a violation moves to its application", []step{{undecided, violates, number}, {violates, follow, number, ended}}, []string{
			"web>api 80 http violate (violate, none): 1 sessions (1 closed), 0 open, 4600 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1"}},
		{"a violation that becomes a refusal is one", []step{{violates, number}, {follow, denied, number, later}}, []string{
			"web>api 80 http deny (deny, none): 1 sessions (1 denied), 0 open, 4600 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"refused once at each end", []step{{number, denied, by(1)}, {second, number, by(2), opens}, {second, server, number, denied, by(2)}}, []string{
			"web>api 80 http deny (deny, deny): 2 sessions (2 denied), 0 open, 9000 bytes",
			"netns:api: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"refused once at each end, the server's first", []step{{second, server, number, denied, by(2)}, {number, denied, by(1)}, {second, number, by(2), opens}}, []string{
			"web>api 80 http deny (deny, deny): 2 sessions (2 denied), 0 open, 9000 bytes",
			"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1", "netns:api: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"both ends refuse the same one", []step{{number, by(1)}, {second, number, by(2)}, {number, follow, denied, by(1), later}, {number, server, denied, by(1), later}}, []string{
			"web>api 80 http learn (learn, none): 1 sessions (1 established), 1 open, 4500 bytes",
			"web>api 80 http deny (deny, deny): 1 sessions (1 denied), 0 open, 4600 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"whichever refuses it first", []step{{number, by(1)}, {second, number, by(2), refused}, {number, server, denied, by(1), later}, {number, follow, denied, by(1), later}}, []string{
			"web>api 80 http allow (allow, none): 1 sessions (1 refused), 0 open, 4500 bytes",
			"web>api 80 http deny (deny, deny): 1 sessions (1 denied), 0 open, 4600 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"refused, and another passes after a change of the mode", []step{{denied, by(1)}, {later, ended, by(2), violates}, {later, server, ended, by(2)}}, []string{
			"web>api 80 http violate (violate, learn): 1 sessions (1 closed), 0 open, 4500 bytes", "web>api 80 http deny (deny, none): 1 sessions (1 denied), 0 open, 4500 bytes",
			"netns:web: 10.0.0.1>10.0.0.2 80 http violate by rule 0: 1", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"refused at the server's end, and another passes", []step{{refused, by(1)}, {server, denied, by(1)}, {later, ended, by(2)}, {later, server, ended, by(2)}}, []string{
			"web>api 80 http learn (learn, learn): 1 sessions (1 closed), 0 open, 4500 bytes", "web>api 80 http deny (allow, deny): 1 sessions (1 denied), 0 open, 4500 bytes",
			"netns:api: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"passed, and one to another address is refused while the first is open", []step{{number}, {later, denied, by(2), func(o *graph.Observation) {
			o.Ended, o.Server = 0, netip.MustParseAddr("10.0.1.2")
		}}, {number, follow, func(o *graph.Observation) { o.Ended, o.Outcome = 1, flow.OutcomeReset }}}, []string{
			"web>api 80 http learn (learn, none): 1 sessions (1 reset), 0 open, 4600 bytes", "web>api 80 http deny (deny, none): 1 sessions (1 denied), 0 open, 4500 bytes",
			"netns:web: 10.0.0.1>10.0.1.2 80 http deny by rule 3: 1"}},
		{"passed, and refused while it was open: others are described as before", []step{{ended}, {number, violates, later}, {number, follow, denied, later}}, []string{
			"web>api 80 http learn (learn, none): 1 sessions (1 closed), 0 open, 4500 bytes", "web>api 80 http deny (deny, none): 1 sessions (1 denied), 0 open, 4600 bytes",
			"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 1"}},
		{"several refused while others of the kind passed", []step{{func(o *graph.Observation) { o.Sessions = 3 }}, {later, denied, func(o *graph.Observation) { o.Sessions, o.Ended = 2, 2 }}, {later, follow, ended}}, []string{
			"web>api 80 http learn (learn, none): 3 sessions (2 established, 1 closed), 2 open, 4600 bytes", "web>api 80 http deny (deny, none): 2 sessions (2 denied), 0 open, 4500 bytes",
			"netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 2"}},
		{"sessions that end with a violation are counted then", []step{{func(o *graph.Observation) { o.Sessions, o.Verdict = 3, flow.Pending }},
			{follow, later, denied, func(o *graph.Observation) { o.Ended = 3 }}}, []string{
			"web>api 80 http deny (deny, none): 3 sessions (3 denied), 0 open, 4600 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 http deny by rule 3: 3"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := graph.New(graph.Limits{})
			for _, f := range tt.in {
				g.Add(seen(f...))
			}
			if d := cmp.Diff(brief(g), tt.want); d != "" {
				t.Error(d)
			}
			list, _ := g.Violations(nil)
			var n uint64
			for _, v := range list {
				n += v.Count
			}
			if got := g.Totals(); got.Violations != n {
				t.Errorf("total of violations: got %d, want %d", got.Violations, n)
			}
		})
	}
}

func TestLossy(t *testing.T) {
	g := graph.New(graph.Limits{})
	g.Add(seen(func(o *graph.Observation) { o.Lossy = true }))
	g.Add(seen())
	if e := g.Connections(nil); len(e) != 1 || !e[0].Lossy || e[0].Evidence != flow.EvidenceHandshake {
		t.Errorf("got %+v", e)
	}
}

func TestBounds(t *testing.T) {
	g := graph.New(graph.Limits{Edges: 3, Violations: 2, Sessions: 2})
	for i := range 10 {
		g.Add(seen(func(o *graph.Observation) {
			o.Port, o.Session, o.Verdict = uint16(i), uint64(i+1), flow.Violate
			o.Attrs = map[string]string{"long": strings.Repeat("é", 300), strings.Repeat("n", 65): "x"}
			for n := range 40 {
				o.Attrs[fmt.Sprint("k", n)] = "v"
			}
		}))
	}
	edges := g.Connections(nil)
	if v, _ := g.Violations(nil); len(edges) != 3 || edges[0].Port != 7 || len(v) != 2 {
		t.Fatalf("got %v", brief(g))
	}
	if got, want := g.Totals(), (graph.Totals{Edges: 3, Sessions: 10, Violations: 10, Evicted: 7 + 8}); got != want {
		t.Errorf("totals: got %+v, want %+v", got, want)
	}
	if got := len(edges[0].Attrs); got != 16 {
		t.Errorf("attributes: got %d, want 16", got)
	}
}

// TestShares: a workload that scans pushes out its own rows and not those of others.
func TestShares(t *testing.T) {
	g := graph.New(graph.Limits{Edges: 100, Violations: 100, Threats: 100})
	add := func(share string, n int) {
		for i := range n {
			g.Add(seen(func(o *graph.Observation) {
				o.Share, o.FromWorkload, o.Verdict, o.Port, o.Reporter = share, share, flow.Violate, uint16(i), share
			}))
			g.AddThreat(&graph.Threat{ID: 2001, Workload: share, DestinationPort: uint16(i), Count: 1}, share)
		}
	}
	for i := range 10 {
		add(fmt.Sprint("quiet-", i), 3)
	}
	add("scanner", 5000)
	for i := range 10 {
		add(fmt.Sprint("quiet-", i), 3)
	}
	edges, violations, threats := map[string]int{}, map[string]int{}, map[string]int{}
	for _, e := range g.Connections(nil) {
		edges[e.FromWorkload]++
	}
	vs, _ := g.Violations(nil)
	for _, v := range vs {
		violations[v.Reporter]++
	}
	ts, _ := g.Threats(nil)
	for _, x := range ts {
		threats[x.Workload]++
	}
	for what, m := range map[string]map[string]int{"edges": edges, "violations": violations, "threats": threats} {
		for i := range 10 {
			if got := m[fmt.Sprint("quiet-", i)]; got != 3 {
				t.Errorf("%s of quiet-%d: got %d, want 3", what, i, got)
			}
		}
		if got := m["scanner"]; got != 70 {
			t.Errorf("%s of the scanner: got %d, want the rest, 70", what, got)
		}
	}
}

func TestThreats(t *testing.T) {
	g := graph.New(graph.Limits{})
	first := make([]byte, 300)
	first[0] = 0x45
	for i, frame := range [][]byte{first, []byte("second")} {
		g.AddThreat(&graph.Threat{ID: 2007, Workload: "w", Text: fmt.Sprint("text ", i), Count: 2, First: int64(10 + i), Last: int64(10 + i), Frame: frame}, "w")
	}
	list, _ := g.Threats(nil)
	if len(list) != 1 || list[0].Count != 4 || list[0].First != 10 || list[0].Last != 11 || list[0].Text != "text 1" || len(list[0].Frame) != graph.MaxFrame || list[0].Frame[0] != 0x45 {
		t.Errorf("got %+v", list)
	}
	if got := g.Totals().Threats; got != 4 {
		t.Errorf("total: got %d, want 4", got)
	}
}

func TestSurvivesRestart(t *testing.T) {
	g := graph.New(graph.Limits{})
	g.Add(seen(func(o *graph.Observation) { o.Ended, o.Outcome = 1, flow.OutcomeClosed }))
	g.Add(seen(func(o *graph.Observation) {
		o.Port, o.Verdict, o.Outcome, o.Ended = 81, flow.Deny, flow.OutcomeDenied, 1
	}))
	g.AddThreat(&graph.Threat{ID: 2001, Workload: "w", Count: 1, Frame: []byte("E")}, "w")
	b, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	h := graph.New(graph.Limits{})
	if err := json.Unmarshal(b, h); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(h.Totals(), g.Totals()); d != "" {
		t.Error(d)
	}
	if list, _ := h.Threats(nil); len(list) != 1 || string(list[0].Frame) != "E" {
		t.Errorf("threats: got %+v", list)
	}
	h.Add(seen())
	want := []string{"web>api 80 http learn (learn, none): 2 sessions (1 established, 1 closed), 1 open, 9000 bytes",
		"web>api 81 http deny (deny, none): 1 sessions (1 denied), 0 open, 4500 bytes", "netns:web: 10.0.0.1>10.0.0.2 81 http deny by rule 0: 1"}
	if d := cmp.Diff(brief(h), want); d != "" {
		t.Error(d)
	}
	if err := json.Unmarshal([]byte(`{"edges":3}`), h); err == nil {
		t.Error("a broken history was accepted")
	}
}

// TestContinued has sessions continue in another run of the agent, where the graph has them, lost
// them, and lost some of them.
func TestContinued(t *testing.T) {
	goes := func(n uint64) func(*graph.Observation) {
		return func(o *graph.Observation) { o.Run, o.Sessions, o.Continued = "next", 0, n }
	}
	ended := func(o *graph.Observation) {
		o.Run, o.Sessions, o.Ended, o.Outcome = "next", 0, 1, flow.OutcomeClosed
	}
	for _, tt := range []struct {
		name   string
		before uint64
		keep   bool // the graph outlives the agent
		want   []string
	}{
		{"the agent alone was restarted", 2, true, []string{"web>api 80 http learn (learn, none): 2 sessions (1 established, 1 closed), 1 open, 13500 bytes"}},
		{"both were restarted", 2, false, []string{"web>api 80 http learn (learn, none): 2 sessions (1 established, 1 closed), 1 open, 13500 bytes"}},
		{"both were restarted, one session not stored", 1, false, []string{"web>api 80 http learn (learn, none): 2 sessions (1 established, 1 closed), 1 open, 13500 bytes"}},
		{"both were restarted, nothing stored", 0, false, []string{"web>api 80 http learn (learn, none): 2 sessions (1 established, 1 closed), 1 open, 9000 bytes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := graph.New(graph.Limits{})
			if tt.before > 0 {
				g.Add(seen(func(o *graph.Observation) { o.Sessions = tt.before }))
			}
			if !tt.keep {
				b, err := json.Marshal(g)
				if err != nil {
					t.Fatal(err)
				}
				g = graph.New(graph.Limits{})
				if err := json.Unmarshal(b, g); err != nil {
					t.Fatal(err)
				}
			}
			g.NewRun("n")
			g.Add(seen(goes(2)))
			g.Add(seen(ended))
			if d := cmp.Diff(brief(g), tt.want); d != "" {
				t.Error(d)
			}
			if got := g.Totals().Sessions; got != 2 {
				t.Errorf("%d sessions in all, want 2", got)
			}
		})
	}
}

// TestContinuedNamed: a session that continues and is named late takes its count along.
func TestContinuedNamed(t *testing.T) {
	g := graph.New(graph.Limits{})
	g.Add(seen(func(o *graph.Observation) { o.Session, o.App, o.Sessions, o.Continued = 7, app.Undecided, 0, 1 }))
	g.Add(seen(func(o *graph.Observation) { o.Session, o.Sessions = 7, 0 }))
	want := []string{"web>api 80 http learn (learn, none): 1 sessions (1 established), 1 open, 9000 bytes"}
	if d := cmp.Diff(brief(g), want); d != "" {
		t.Error(d)
	}
}

// TestAttrsOfOneSession: what one session carried never stands beside what another did; the process of an end stays.
func TestAttrsOfOneSession(t *testing.T) {
	g := graph.New(graph.Limits{})
	for _, attrs := range []map[string]string{
		{"question": "a.example A", "answer": "192.0.2.1", "rcode": "NOERROR"},
		{"process": "dig", "pid": "7"},
		{"question": "b.example A", "rcode": "NXDOMAIN"},
		nil,
	} {
		g.Add(seen(func(o *graph.Observation) { o.Attrs = attrs }))
	}
	want := map[string]string{"question": "b.example A", "rcode": "NXDOMAIN", "process": "dig", "pid": "7"}
	if e := g.Connections(nil); len(e) != 1 || !maps.Equal(e[0].Attrs, want) {
		t.Errorf("got %+v, want one edge with %v", e, want)
	}
}
