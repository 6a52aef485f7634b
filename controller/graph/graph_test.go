package graph_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// seen is one session from web to api, told by the client's end, as a test changes it.
func seen(change func(*graph.Observation)) *graph.Observation {
	o := &graph.Observation{
		Node: "n", Run: "b", Reporter: "netns:web", Egress: true, ClientReports: true, Client: "10.0.0.1", Server: "10.0.0.2",
		Kind: graph.Kind{From: "svc:default/web", To: "svc:default/api", FromWorkload: "web", ToWorkload: "api",
			Proto: 6, Port: 80, App: app.HTTP, Verdict: flow.Learn},
		Sessions: 1, PacketsOut: 5, PacketsIn: 4, BytesOut: 500, BytesIn: 4000, First: 10, Last: 20, Answered: true,
	}
	if change != nil {
		change(o)
	}
	return o
}

// brief is an edge or violation in one line.
func brief(g *graph.Graph) []string {
	var out []string
	for _, e := range g.Connections() {
		out = append(out, fmt.Sprintf("%s>%s %d %s %s: %d sessions, %d open, %d bytes", e.FromWorkload, e.ToWorkload, e.Port, e.App, e.Now,
			e.Sessions, e.Open, e.BytesOut+e.BytesIn))
	}
	for _, v := range g.Violations(0) {
		out = append(out, fmt.Sprintf("%s: %s>%s %d %s by rule %d: %d", v.Reporter, v.Client, v.Server, v.Port, v.Verdict, v.Rule, v.Count))
	}
	return out
}

func TestAdd(t *testing.T) {
	undecided := func(o *graph.Observation) { o.App = app.Undecided }
	follow := func(o *graph.Observation) {
		o.Sessions, o.PacketsOut, o.PacketsIn, o.BytesOut, o.BytesIn = 0, 1, 1, 50, 50
	}
	with := func(fs ...func(*graph.Observation)) func(*graph.Observation) {
		return func(o *graph.Observation) {
			for _, f := range fs {
				f(o)
			}
		}
	}
	number := func(o *graph.Observation) { o.Session = 7 }
	ended := func(o *graph.Observation) { o.Ended = 1 }
	server := func(o *graph.Observation) { o.Egress, o.Reporter = false, "netns:api" }
	denied := func(o *graph.Observation) { o.Verdict, o.Rule = flow.Deny, 3 }
	tests := []struct {
		name string
		in   []func(*graph.Observation)
		want []string
	}{
		{"sums up", []func(*graph.Observation){nil, ended}, []string{"web>api 80 http learn: 2 sessions, 1 open, 9000 bytes"}},
		{"counts once when both ends report", []func(*graph.Observation){nil, server}, []string{"web>api 80 http learn: 1 sessions, 1 open, 4500 bytes"}},
		{"counts the server's end where the client is nobody's", []func(*graph.Observation){with(server, func(o *graph.Observation) { o.ClientReports = false })},
			[]string{"web>api 80 http learn: 1 sessions, 1 open, 4500 bytes"}},
		{"counts once what a socket and packets tell", []func(*graph.Observation){nil, with(denied, func(o *graph.Observation) { o.Doubled = true })},
			[]string{"web>api 80 http learn: 1 sessions, 1 open, 4500 bytes", "netns:web: 10.0.0.1>10.0.0.2 80 deny by rule 3: 1"}},
		{"moves a session to its application", []func(*graph.Observation){with(undecided, number), with(follow, number), with(follow, number, ended)},
			[]string{"web>api 80 http learn: 1 sessions, 0 open, 4700 bytes"}},
		{"moves only what the session counted", []func(*graph.Observation){undecided, with(undecided, number), with(follow, number)},
			[]string{"web>api 80 http learn: 1 sessions, 1 open, 4600 bytes", "web>api 80 undecided learn: 1 sessions, 1 open, 4500 bytes"}},
		{"moves sessions without numbers when they end", []func(*graph.Observation){
			with(undecided, func(o *graph.Observation) { o.Sessions = 3 }), with(follow, func(o *graph.Observation) { o.Ended = 2 }), with(follow, ended)},
			[]string{"web>api 80 http learn: 3 sessions, 0 open, 4700 bytes"}},
		{"counts a violation of either end once a session", []func(*graph.Observation){with(undecided, number), with(denied, follow, number), with(denied, follow, number, ended),
			with(server, denied), with(server, denied, follow)}, []string{
			"web>api 80 http deny: 1 sessions, 0 open, 4700 bytes",
			"netns:api: 10.0.0.1>10.0.0.2 80 deny by rule 3: 1", "netns:web: 10.0.0.1>10.0.0.2 80 deny by rule 3: 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := graph.New(graph.Limits{})
			for _, f := range tt.in {
				g.Add(seen(f))
			}
			if d := cmp.Diff(brief(g), tt.want); d != "" {
				t.Error(d)
			}
		})
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
	edges := g.Connections()
	if len(edges) != 3 || edges[0].Port != 7 || len(g.Violations(0)) != 2 {
		t.Fatalf("got %v", brief(g))
	}
	if got, want := g.Totals(), (graph.Totals{Edges: 3, Sessions: 10, Violations: 10, Evicted: 7 + 8}); got != want {
		t.Errorf("totals: got %+v, want %+v", got, want)
	}
	if got := len(edges[0].Attrs); got != 16 {
		t.Errorf("attributes: got %d, want 16", got)
	}
	if got := len(g.Violations(1)); got != 1 {
		t.Errorf("violations with limit 1: got %d", got)
	}
}

func TestSurvivesRestart(t *testing.T) {
	g := graph.New(graph.Limits{})
	g.Add(seen(nil))
	g.Add(seen(func(o *graph.Observation) { o.Port, o.Verdict = 81, flow.Deny }))
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
	h.Add(seen(nil))
	want := []string{"web>api 80 http learn: 2 sessions, 1 open, 9000 bytes", "web>api 81 http deny: 1 sessions, 0 open, 4500 bytes",
		"netns:web: 10.0.0.1>10.0.0.2 81 deny by rule 0: 1"}
	if d := cmp.Diff(brief(h), want); d != "" {
		t.Error(d)
	}
	if err := json.Unmarshal([]byte(`{"edges":3}`), h); err == nil {
		t.Error("a broken history is taken")
	}
}
