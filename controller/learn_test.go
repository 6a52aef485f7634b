package controller_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

// rules is the rules in one line each.
func (l *lab) rules() []string {
	l.t.Helper()
	r := must[*controlv1.ListRulesResponse](l.t)(l.control.ListRules(l.t.Context(), &controlv1.ListRulesRequest{}))
	var out []string
	for _, x := range r.Rules {
		out = append(out, fmt.Sprintf("%d %s>%s %s %s %s %s", x.Id, x.From, x.To, strings.Join(x.Ports, ","), strings.Join(x.Apps, ","), vocab.Text(x.Action), vocab.Text(x.Origin)))
	}
	return out
}

// edges is the connections in one line each.
func (l *lab) edges() []string {
	l.t.Helper()
	r := must[*controlv1.ListConnectionsResponse](l.t)(l.control.ListConnections(l.t.Context(), &controlv1.ListConnectionsRequest{}))
	var out []string
	for _, e := range r.Edges {
		out = append(out, fmt.Sprintf("%s>%s %d/%d %s %s %s: %d sessions, %d bytes", e.FromWorkload, e.ToWorkload, e.Proto, e.Port, e.App, vocab.Text(e.Family), vocab.Text(e.Verdict),
			e.Sessions, e.BytesIn+e.BytesOut))
	}
	return out
}

// learned reports what the shop does, each connection by both of its ends, and IPv6 too.
func (l *lab) learned(node string) {
	l.t.Helper()
	l.report(node, 1,
		seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn),
		seen("api", false, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn),
		seen("api", true, "fd07::3", "fd07::4", 5432, app.PostgreSQL, flow.Learn),
		seen("db", false, "fd07::3", "fd07::4", 5432, app.PostgreSQL, flow.Learn),
		seen("web", true, "10.7.0.2", "203.0.113.9", 443, app.TLS, flow.Learn),
		seen("web", false, "192.0.2.1", "10.7.0.2", 80, app.HTTP, flow.Learn),
		seen("web", true, "10.7.0.2", "10.7.0.99", 22, app.SSH, flow.Learn),
	)
}

var shopRules = []string{
	"10001 svc:default/web>external tcp/443 tls allow learned",
	"10002 svc:default/web>svc:default/api tcp/80 http allow learned",
	"10003 svc:default/api>svc:default/db tcp/5432 postgresql allow learned",
	"10004 nodes>svc:default/web tcp/80 http allow learned",
	"10005 svc:default/web>unmanaged tcp/22 ssh allow learned",
}

func TestLearn(t *testing.T) {
	l := newLab(t)
	a := l.agent("n1")
	l.shop("n1")
	l.learned("n1")
	if d := cmp.Diff(shopRules, l.rules()); d != "" {
		t.Fatalf("rules (-want +got):\n%s", d)
	}
	want := []string{
		"192.0.2.1>web 6/80 http ipv4 learn: 1 sessions, 4500 bytes",
		"api>db 6/5432 postgresql ipv6 learn: 1 sessions, 4500 bytes",
		"web>203.0.113.9 6/443 tls ipv4 learn: 1 sessions, 4500 bytes",
		"web>api 6/80 http ipv4 learn: 1 sessions, 4500 bytes",
		"web>10.7.0.99 6/22 ssh ipv4 learn: 1 sessions, 4500 bytes",
	}
	if d := cmp.Diff(want, l.edges()); d != "" {
		t.Fatalf("connections (-want +got):\n%s", d)
	}
	eventually(t, "the agent has the learned rules", func() bool {
		table := a.current()
		if table == nil || table.Workload("netns:db") == nil {
			return false
		}
		d := table.Workload("netns:db").Decide(&policy.Query{Dir: packet.Ingress, Peer: packet.AddrFrom(netip.MustParseAddr("fd07::3")),
			IPv6: true, Proto: 6, Port: 5432, App: app.PostgreSQL, Base: app.PostgreSQL})
		return d == policy.Decision{Verdict: flow.Allow, Reason: flow.ByRule, Rule: 10003}
	})
}

func TestExactlyOnce(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	web := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn)
	l.report("n1", 1, web)
	l.report("n1", 1, web)
	l.report("n1", 2, web)
	l.report("n1", 1, web)
	if got, want := l.edges(), []string{"web>api 6/80 http ipv4 learn: 2 sessions, 9000 bytes"}; !cmp.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	// Orderly stops keep what was counted: the same report is known afterwards.
	l.restart()
	l.report("n1", 2, web)
	l.report("n1", 3, web)
	if got, want := l.edges(), []string{"web>api 6/80 http ipv4 learn: 3 sessions, 13500 bytes"}; !cmp.Equal(got, want) {
		t.Fatalf("after a restart: got %v, want %v", got, want)
	}
	// Another run, and another node, count for themselves.
	must[*controlv1.RegisterNodeResponse](t)(l.collector.RegisterNode(t.Context(), &controlv1.RegisterNodeRequest{Node: "n1", Self: &controlv1.Owner{Run: "boot-1"}, Release: true}))
	for _, r := range []*controlv1.ReportConnectionsRequest{
		{Node: "n1", Run: "boot-2", Sequence: 1, Connections: []*controlv1.Connection{web}},
		{Node: "n2", Run: "boot-1", Sequence: 1, Connections: []*controlv1.Connection{web}, Dropped: map[string]uint64{"ring": 7}},
	} {
		must[*controlv1.ReportConnectionsResponse](t)(l.collector.ReportConnections(t.Context(), r))
	}
	if got, want := l.edges(), []string{"web>api 6/80 http ipv4 learn: 5 sessions, 22500 bytes"}; !cmp.Equal(got, want) {
		t.Fatalf("another boot and node: got %v, want %v", got, want)
	}
	s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{}))
	if s.Dropped["ring"] != 7 || s.Sessions != 5 {
		t.Fatalf("status: got %v", s)
	}
}

// TestRestart: what was learned, decided and seen is the same after the file was closed and opened.
func TestRestart(t *testing.T) {
	type state struct {
		Rules, Groups, Edges, Violations, Workloads any
	}
	l := newLab(t)
	l.shop("n1")
	l.learned("n1")
	l.report("n1", 2, seen("db", false, "10.7.0.2", "10.7.0.4", 5432, app.PostgreSQL, flow.Violate))
	must[*controlv1.PutRuleResponse](t)(l.control.PutRule(t.Context(), &controlv1.PutRuleRequest{Rule: &controlv1.Rule{
		From: "web", To: "db", Ports: []string{"tcp/5432"}, Action: controlv1.Action_ACTION_DENY, Comment: "no short cuts"}}))
	must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"db"}, Mode: controlv1.Mode_MODE_PROTECT}))
	must[*controlv1.DeleteRuleResponse](t)(l.control.DeleteRule(t.Context(), &controlv1.DeleteRuleRequest{Id: 10005}))
	read := func() (state, uint64) {
		ctx := t.Context()
		rules := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(ctx, &controlv1.ListRulesRequest{}))
		return state{
			Rules:      rules.Rules,
			Groups:     must[*controlv1.ListGroupsResponse](t)(l.control.ListGroups(ctx, &controlv1.ListGroupsRequest{})),
			Edges:      must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(ctx, &controlv1.ListConnectionsRequest{})),
			Violations: must[*controlv1.ListViolationsResponse](t)(l.control.ListViolations(ctx, &controlv1.ListViolationsRequest{})),
			Workloads:  must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(ctx, &controlv1.ListWorkloadsRequest{})),
		}, rules.Policy
	}
	before, version := read()
	l.restart()
	after, again := read()
	if d := cmp.Diff(before, after, protocmp.Transform()); d != "" {
		t.Fatalf("after a restart (-before +after):\n%s", d)
	}
	if again < version {
		t.Fatalf("policy version: got %d after %d", again, version)
	}
	// New traffic: the ids of deleted rules are not given again.
	l.report("n1", 3, seen("api", true, "10.7.0.3", "10.7.0.2", 8080, app.HTTP, flow.Learn))
	if got := l.rules(); got[len(got)-1] != "10006 svc:default/api>svc:default/web tcp/8080 http allow learned" {
		t.Fatalf("a rule learned after it: got %s", got[len(got)-1])
	}
	a := l.agent("n1")
	eventually(t, "a policy above every older one", func() bool { return a.current() != nil && a.current().Version() > version })
}

// TestKilled: a controller that ends without a word has its rules, groups and modes.
func TestKilled(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.learned("n1")
	must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"all"}, Mode: controlv1.Mode_MODE_MONITOR}))
	l.crash()
	if d := cmp.Diff(shopRules, l.rules()); d != "" {
		t.Fatalf("rules (-want +got):\n%s", d)
	}
	for _, g := range must[*controlv1.ListGroupsResponse](t)(l.control.ListGroups(t.Context(), &controlv1.ListGroupsRequest{})).Groups {
		if g.Kind == controlv1.GroupKind_GROUP_KIND_SERVICE && g.Mode != controlv1.Mode_MODE_MONITOR {
			t.Errorf("group %s: got mode %s", g.Name, g.Mode)
		}
	}
}

// TestBrokenHistory: a graph that cannot be read costs the history and nothing else.
func TestBrokenHistory(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.learned("n1")
	l.stop()
	st := must[*embedded.Store](t)(embedded.Open(l.path, embedded.Options{}))
	must[store.Revision](t)(st.Commit(t.Context(), store.Op{Key: "graph/1/0", Value: []byte("?"), Revision: store.Any}))
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	l.start()
	if got := l.edges(); len(got) != 0 {
		t.Fatalf("got %v", got)
	}
	if d := cmp.Diff(shopRules, l.rules()); d != "" {
		t.Fatalf("rules (-want +got):\n%s", d)
	}
	l.report("n1", 1, seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Allow))
	l.restart()
	if got := l.edges(); len(got) != 1 {
		t.Fatalf("after the next save: got %v", got)
	}
}

func TestReportsThatAreWrong(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	cases := []struct {
		name string
		call func() error
		want string
	}{
		{"no node", func() error {
			_, err := l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Run: "b", Sequence: 1})
			return err
		}, "the node's name must have 1 to 253 bytes"},
		{"no sequence", func() error {
			_, err := l.collector.ReportConnections(t.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: "b"})
			return err
		}, "node n1: a report needs the run of its agent and a sequence from 1 on"},
		{"address without its length", func() error {
			_, err := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: []*controlv1.Workload{workload("x", "10.0.0.1")}})
			return err
		}, `node n1: workload "netns:x": "10.0.0.1" is not an address with its prefix length`},
		{"a workload twice", func() error {
			_, err := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: []*controlv1.Workload{workload("x"), workload("x")}})
			return err
		}, `node n1: workload "netns:x" is listed twice`},
	}
	for _, c := range cases {
		if err := c.call(); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != c.want {
			t.Errorf("%s: got %v, want InvalidArgument: %s", c.name, err, c.want)
		}
	}
	// One bad connection does not spoil the report.
	bad := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn)
	bad.Client = []byte{1, 2, 3}
	l.report("n1", 1, bad, nil, seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn))
	s := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{}))
	if s.Dropped["malformed"] != 2 || s.Sessions != 1 {
		t.Errorf("status: got %v", s)
	}
}

func BenchmarkReportConnections(b *testing.B) {
	const each = 1000
	l := newLab(b)
	l.shop("n1")
	var conns []*controlv1.Connection
	for i := range each {
		c := seen("web", true, "10.7.0.2", fmt.Sprintf("10.7.%d.%d", i%4, i%250+1), uint32(1+i%500), app.HTTP, flow.Learn)
		c.Session, c.Attrs = uint64(i+1), map[string]string{"host": "api.example.com", "method": "GET"}
		conns = append(conns, c)
	}
	seq := uint64(0)
	begun := time.Now()
	for b.Loop() {
		seq++
		_, err := l.collector.ReportConnections(b.Context(), &controlv1.ReportConnectionsRequest{Node: "n1", Run: "boot-1", Sequence: seq, Connections: conns})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(seq*each)/time.Since(begun).Seconds(), "connections/s")
}

// What ended before a workload's first policy came is learned too, in discover mode only.
func TestLearnBeforePolicy(t *testing.T) {
	early := func(port uint32) *controlv1.Connection {
		c := seen("web", true, "10.7.0.2", "10.7.0.3", port, app.HTTP, flow.Open)
		c.Reason = vocab.Reason(flow.ByUnready)
		return c
	}
	l := newLab(t)
	l.shop("n1")
	l.report("n1", 1, early(80))
	if d := cmp.Diff([]string{"10001 svc:default/web>svc:default/api tcp/80 http allow learned"}, l.rules()); d != "" {
		t.Errorf("in discover mode (-want +got):\n%s", d)
	}
	if _, err := l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"web"}, Mode: controlv1.Mode_MODE_MONITOR}); err != nil {
		t.Fatal(err)
	}
	l.report("n1", 2, early(81))
	if got := l.rules(); len(got) != 1 {
		t.Errorf("in monitor mode too: %v", got)
	}
}

// Sessions that are unidentified because parsers were unavailable are not learned.
func TestLearnNothingUnidentified(t *testing.T) {
	lost := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.Unknown, flow.Learn)
	lost.Reason = vocab.Reason(flow.ByUnidentified)
	l := newLab(t)
	l.shop("n1")
	l.report("n1", 1, lost)
	if got := l.rules(); len(got) != 0 {
		t.Errorf("rules %v, want none", got)
	}
	lost.Reason = vocab.Reason(flow.ByDefault)
	l.report("n1", 2, lost)
	if got := l.rules(); len(got) != 1 {
		t.Errorf("rules %v of one that every parser declined, want one", got)
	}
}
