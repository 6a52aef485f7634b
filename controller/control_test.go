package controller_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/vocab"
)

func TestSetModeWaits(t *testing.T) {
	l := newLab(t)
	a := l.agent("n1")
	l.shop("n1")
	l.learned("n1")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	begun := time.Now()
	r := must[*controlv1.SetModeResponse](t)(l.control.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"web", "svc:default/db"}, Mode: controlv1.Mode_MODE_PROTECT, Wait: true}))
	t.Logf("enforced after %v", time.Since(begun).Round(time.Millisecond))
	if !r.Enforced || len(r.Groups) != 2 || r.Groups[0].Name != "svc:default/db" || r.Groups[0].Mode != controlv1.Mode_MODE_PROTECT {
		t.Fatalf("got %v", r)
	}
	table := a.current()
	if table.Version() < r.Policy || table.Workload("netns:web").Mode() != policy.Protect || table.Workload("netns:api").Mode() != policy.Discover {
		t.Fatalf("the agent has version %d of %d", table.Version(), r.Policy)
	}
	list := must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(t.Context(), &controlv1.ListWorkloadsRequest{}))
	got := make(map[string]string)
	for _, w := range list.Workloads {
		got[w.Name] = vocab.Text(w.Mode) + " " + w.Interfaces[0].Backend
	}
	if d := cmp.Diff(map[string]string{"web": "protect inline", "db": "protect inline", "api": "discover tap"}, got); d != "" {
		t.Fatalf("workloads (-want +got):\n%s", d)
	}
	// Nothing changes: nothing is compiled, and it is enforced already.
	again := must[*controlv1.SetModeResponse](t)(l.control.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"web"}, Mode: controlv1.Mode_MODE_PROTECT, Wait: true}))
	if !again.Enforced || len(again.Groups) != 0 || again.Policy != r.Policy {
		t.Fatalf("the same again: got %v", again)
	}
}

// TestSetModeWithoutAgent: the caller gets an answer, not its deadline.
func TestSetModeWithoutAgent(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r := must[*controlv1.SetModeResponse](t)(l.control.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"all"}, Mode: controlv1.Mode_MODE_PROTECT, Wait: true}))
	if r.Enforced || len(r.Groups) != 3 {
		t.Fatalf("got %v", r)
	}
	// An agent that has the version but could not attach does not enforce it either.
	_, err := l.collector.ReportStatus(t.Context(), &controlv1.ReportStatusRequest{Node: "n1", Run: "boot-1", Policy: r.Policy, Attached: map[string]string{"netns:web/eth0": "tap"},
		WorkloadErrors: map[string]string{"netns:web": "no peer"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	r = must[*controlv1.SetModeResponse](t)(l.control.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"web"}, Mode: controlv1.Mode_MODE_PROTECT, Wait: true}))
	if r.Enforced {
		t.Fatal("enforced without being inline")
	}
	w := must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(t.Context(), &controlv1.ListWorkloadsRequest{}))
	if got := w.Workloads[2].Interfaces[0]; got.Backend != "tap" || got.Error != "no peer" {
		t.Fatalf("interface: got %v", got)
	}
}

func TestControlThatIsWrong(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx := t.Context()
	mode := func(group string, mode controlv1.Mode) func() error {
		return func() error {
			_, err := l.control.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{group}, Mode: mode})
			return err
		}
	}
	add := func(r *controlv1.Rule) func() error {
		return func() error { _, err := l.control.PutRule(ctx, &controlv1.PutRuleRequest{Rule: r}); return err }
	}
	why := func(from, to, port string) func() error {
		return func() error {
			_, err := l.control.Why(ctx, &controlv1.WhyRequest{From: from, To: to, Port: port})
			return err
		}
	}
	cases := []struct {
		name string
		call func() error
		code codes.Code
		want string // part of the sentence
	}{
		{"unknown group", mode("wbe", controlv1.Mode_MODE_PROTECT), codes.InvalidArgument, "there are svc:default/api, svc:default/db, svc:default/web"},
		{"reserved group", mode("external", controlv1.Mode_MODE_PROTECT), codes.InvalidArgument, `"external" is a reserved group`},
		{"unknown mode", mode("web", 77), codes.InvalidArgument, "mode 77 does not exist"},
		{"no rule", add(nil), codes.InvalidArgument, "no rule is given"},
		{"unknown end", add(&controlv1.Rule{From: "nosuch", To: "web"}), codes.InvalidArgument, "from: no group is called"},
		{"port without protocol", add(&controlv1.Rule{From: "web", To: "db", Ports: []string{"80"}}), codes.InvalidArgument, "write tcp/80"},
		{"unknown application", add(&controlv1.Rule{From: "web", To: "db", Apps: []string{"htp"}}), codes.InvalidArgument, "htp"},
		{"unknown action", add(&controlv1.Rule{From: "web", To: "db", Action: 77}), codes.InvalidArgument, "action 77 does not exist"},
		{"rule that is not there", func() error {
			_, err := l.control.DeleteRule(ctx, &controlv1.DeleteRuleRequest{Id: 77})
			return err
		}, codes.NotFound, "rule 77"},
		{"why of an unknown name", why("nosuch", "web", "80"), codes.InvalidArgument, "no workload or group is called"},
		{"why between strangers", why("198.51.100.7", "203.0.113.5", "80"), codes.InvalidArgument, "neither 198.51.100.7 nor 203.0.113.5"},
		{"why across families", why("10.7.0.2", "fd07::3", "80"), codes.InvalidArgument, "no addresses of one family"},
		{"why on no port", why("web", "api", "tcp/1-9"), codes.InvalidArgument, "not one port"},
	}
	for _, c := range cases {
		err := c.call()
		if status.Code(err) != c.code || !strings.Contains(status.Convert(err).Message(), c.want) {
			t.Errorf("%s: got %v, want %v: ... %s", c.name, err, c.code, c.want)
		}
	}
}

func TestRules(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.learned("n1")
	add := func(before uint32, r *controlv1.Rule) *controlv1.Rule {
		t.Helper()
		return must[*controlv1.PutRuleResponse](t)(l.control.PutRule(t.Context(), &controlv1.PutRuleRequest{Rule: r, Before: before})).Rule
	}
	first := add(0, &controlv1.Rule{From: "web", To: "db", Ports: []string{"tcp/5432"}, Action: controlv1.Action_ACTION_DENY})
	add(0, &controlv1.Rule{From: "any", To: "svc:default/later"})
	add(first.Id, &controlv1.Rule{From: "external", To: "web", Ports: []string{"tcp/443", "tcp/80"}, Apps: []string{"http", "tls"}})
	want := append([]string{
		"3 external>svc:default/web tcp/80,tcp/443 http,tls allow user",
		"1 svc:default/web>svc:default/db tcp/5432 any deny user",
		"2 any>svc:default/later any any allow user",
	}, shopRules...)
	if d := cmp.Diff(want, l.rules()); d != "" {
		t.Fatalf("rules (-want +got):\n%s", d)
	}
	must[*controlv1.DeleteRuleResponse](t)(l.control.DeleteRule(t.Context(), &controlv1.DeleteRuleRequest{Id: first.Id}))
	l.restart()
	if d := cmp.Diff(append(want[:1:1], want[2:]...), l.rules()); d != "" {
		t.Fatalf("after a deletion and a restart (-want +got):\n%s", d)
	}
}

func TestWhy(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.learned("n1")
	must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"all"}, Mode: controlv1.Mode_MODE_PROTECT}))
	must[*controlv1.PutRuleResponse](t)(l.control.PutRule(t.Context(), &controlv1.PutRuleRequest{Rule: &controlv1.Rule{
		From: "api", To: "db", Ports: []string{"tcp/22"}, Action: controlv1.Action_ACTION_DENY}}))
	cases := []struct{ from, to, port, app, verdict, text string }{
		{"web", "api", "80", "http", "allow", "web to api on tcp/80 with http is allowed: rule 10002 decides."},
		{"web", "api", "80", "", "pending", "web to api on tcp/80 with http, wordpress, couchdb is allowed: rule 10002 decides; with anything else it is denied: no rule matches in mode protect at the client's end."},
		{"web", "db", "tcp/5432", "", "deny", "web to db on tcp/5432 is denied: no rule matches in mode protect at the client's end, whatever the application."},
		{"svc:default/api", "fd07::4", "tcp/22", "ssh", "deny", "api to db on tcp/22 with ssh is denied: rule 1 decides at the client's end."},
		{"external", "web", "udp/53", "", "deny", "198.51.100.1 to web on udp/53 is denied: no rule matches in mode protect at the server's end, whatever the application."},
		{"nodes", "web", "80", "http", "allow", "192.0.2.1 to web on tcp/80 with http is allowed: rule 10004 decides."},
		{"fd07::2", "unmanaged", "icmp", "", "deny", "web to fd07::1 on icmpv6 is denied: no rule matches in mode protect at the client's end, whatever the application."},
	}
	for _, c := range cases {
		r := must[*controlv1.WhyResponse](t)(l.control.Why(t.Context(), &controlv1.WhyRequest{From: c.from, To: c.to, Port: c.port, App: c.app}))
		text := strings.ReplaceAll(c.text, "http, wordpress, couchdb", "http")
		if vocab.Text(r.Verdict) != c.verdict || r.Text != text {
			t.Errorf("%s to %s on %s: got %s: %s\nwant %s: %s", c.from, c.to, c.port, vocab.Text(r.Verdict), r.Text, c.verdict, text)
		}
	}
	r := must[*controlv1.WhyResponse](t)(l.control.Why(t.Context(), &controlv1.WhyRequest{From: "web", To: "api", Port: "80", App: "http"}))
	if len(r.Ends) != 2 || r.Ends[0].End != "egress" || r.Ends[1].Workload != "api" || len(r.Ends[0].Steps) == 0 || r.Ends[1].Rule != 10002 {
		t.Errorf("ends: got %v", r.Ends)
	}
}

func TestObserve(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	observe := func(r *controlv1.ObserveRequest) controlv1.Control_ObserveClient {
		s := must[controlv1.Control_ObserveClient](t)(l.control.Observe(ctx, r))
		if _, err := s.Header(); err != nil {
			t.Fatal(err)
		}
		return s
	}
	all := observe(&controlv1.ObserveRequest{})
	denied := observe(&controlv1.ObserveRequest{Filter: &controlv1.Filter{About: []string{"db"}, Verdicts: []controlv1.Verdict{controlv1.Verdict_VERDICT_DENY}}})
	update := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Allow)
	update.Sessions, update.Ended = 0, 0
	l.report("n1", 1, seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Allow), update,
		seen("db", false, "203.0.113.9", "10.7.0.4", 5432, app.PostgreSQL, flow.Deny))
	text := func(s controlv1.Control_ObserveClient) string {
		e := must[*controlv1.Event](t)(s.Recv())
		return fmt.Sprintf("%s %s>%s %s>%s %d %s %s by %s", vocab.Text(e.Kind), e.From, e.To, e.FromGroup, e.ToGroup, e.Port, e.App, vocab.Text(e.Verdict), e.Reporter)
	}
	violation := "violation 203.0.113.9>db external>svc:default/db 5432 postgresql deny by db"
	if d := cmp.Diff([]string{"ended web>api svc:default/web>svc:default/api 80 http allow by web", violation}, []string{text(all), text(all)}); d != "" {
		t.Errorf("all (-want +got):\n%s", d)
	}
	if got := text(denied); got != violation {
		t.Errorf("denied at db: got %s, want %s", got, violation)
	}
}

// TestObserveSlowly: a reader that does not read delays no other and is reported what it missed.
func TestObserveSlowly(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := must[controlv1.Control_ObserveClient](t)(l.control.Observe(ctx, &controlv1.ObserveRequest{}))
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	const reports, each = 60, 1000
	conns := make([]*controlv1.Connection, each)
	for i := range conns {
		conns[i] = seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Allow)
	}
	begun := time.Now()
	for i := range reports {
		l.report("n1", uint64(i+1), conns...)
	}
	t.Logf("%d connections past a reader that does not read: %v", reports*each, time.Since(begun).Round(time.Millisecond))
	var got, missed uint64
	for got+missed < reports*each {
		e := must[*controlv1.Event](t)(s.Recv())
		got, missed = got+1, missed+e.Missed
	}
	if missed == 0 || got+missed != reports*each {
		t.Fatalf("got %d events and missed %d, want %d together and some missed", got, missed, reports*each)
	}
}
