package controller_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// scan is a connection with one answer and many attempts without, by web.
func scan() []*controlv1.Connection {
	conns := []*controlv1.Connection{seen("web", true, "10.7.0.2", "10.7.0.4", 5432, app.PostgreSQL, flow.Learn), seen("web", true, "fd07::2", "fd07::4", 5433, app.PostgreSQL, flow.Learn)}
	for p := range 60 {
		c := seen("web", true, "10.7.0.2", "10.7.0.4", uint32(1000+p), app.Undecided, flow.Learn)
		c.Answered, c.Outcome, c.PacketsIn, c.BytesIn = false, vocab.Outcome(flow.OutcomeUnanswered), 0, 0
		conns = append(conns, c)
	}
	return conns
}

func (l *lab) asides() *controlv1.ListSetAsideResponse {
	l.t.Helper()
	return must[*controlv1.ListSetAsideResponse](l.t)(l.control.ListSetAside(l.t.Context(), &controlv1.ListSetAsideRequest{}))
}

// TestSetAside: what a scan teaches is not in force; it is shown, survives a restart, and a user decides.
func TestSetAside(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.report("n1", 1, scan()...)
	if got := l.rules(); len(got) > 0 {
		t.Fatalf("rules: %v", got)
	}
	l.restart()
	got := l.asides()
	if got.Total != 1 || strings.Join(got.Rules[0].Rule.Ports, ",") != "tcp/5432,tcp/5433" || got.Rules[0].Cause != controlv1.AsideCause_ASIDE_CAUSE_SCAN || got.Rules[0].Source != "n1/web" {
		t.Fatalf("set aside: %v", got)
	}
	list := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{}))
	if list.SetAside != 1 {
		t.Errorf("rules report %d that are set aside", list.SetAside)
	}
	decide := func(id uint32, revision uint64, d controlv1.AsideDecision, want codes.Code) *controlv1.Rule {
		t.Helper()
		r, err := l.control.DecideSetAside(t.Context(), &controlv1.DecideSetAsideRequest{Id: id, Revision: revision, Decision: d})
		if status.Code(err) != want {
			t.Fatalf("decision: %v, want %v", err, want)
		}
		return r.GetRule()
	}
	const accept, drop = controlv1.AsideDecision_ASIDE_DECISION_ACCEPT, controlv1.AsideDecision_ASIDE_DECISION_DROP
	id, revision := got.Rules[0].Rule.Id, got.Rules[0].Rule.Revision
	decide(id, revision+1, accept, codes.Aborted)
	decide(id+1, 0, accept, codes.NotFound)
	decide(id, revision, controlv1.AsideDecision_ASIDE_DECISION_UNSPECIFIED, codes.InvalidArgument)
	if r := decide(id, revision, accept, codes.OK); r.GetId() != id {
		t.Errorf("accepted: %v", r)
	}
	decide(id, 0, drop, codes.NotFound)
	l.restart()
	if got := l.asides(); got.Total != 0 || len(l.rules()) != 1 {
		t.Errorf("after accepting and a restart: set aside %v, rules %v", got, l.rules())
	}
}

// TestNothingFromRefusals: connections that began under protect teach nothing after a switch back, but by what
// they carry since.
func TestNothingFromRefusals(t *testing.T) {
	for _, restart := range []bool{false, true} {
		l := newLab(t)
		l.shop("n1")
		mode := func(m controlv1.Mode) {
			must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"db"}, Mode: m}))
		}
		mode(controlv1.Mode_MODE_PROTECT)
		began := time.Now().UnixNano()
		mode(controlv1.Mode_MODE_DISCOVER)
		if restart {
			l.restart()
		}
		now := time.Now().UnixNano()
		late := func(change func(*controlv1.Connection)) *controlv1.Connection {
			c := seen("web", true, "10.7.0.2", "10.7.0.4", 5432, app.PostgreSQL, flow.Learn)
			c.First, c.Last, c.Ended = began, now, 0
			c.Outcome = vocab.Outcome(flow.OutcomeEstablished)
			change(c)
			return c
		}
		l.report("n1", 1,
			late(func(c *controlv1.Connection) { c.Last = began }),
			late(func(c *controlv1.Connection) { c.Outcome, c.Ended = vocab.Outcome(flow.OutcomeReset), 1 }),
			late(func(c *controlv1.Connection) { c.Outcome, c.Ended = vocab.Outcome(flow.OutcomeDenied), 1 }),
			late(func(c *controlv1.Connection) { c.PacketsIn, c.BytesIn = 0, 0 }))
		if got := l.rules(); len(got) > 0 {
			t.Fatalf("rules of what was refused: %v", got)
		}
		l.report("n1", 2, late(func(*controlv1.Connection) {}))
		if got := l.rules(); len(got) != 1 {
			t.Errorf("rules of what continues: %v", got)
		}
	}
}

// TestWideIsShown: a learned rule to outside is wide in the list and in the answer to a switch.
func TestWideIsShown(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	c := seen("web", true, "10.7.0.2", "203.0.113.9", 443, app.TLS, flow.Learn)
	c.Attrs = map[string]string{"host": "api.vendor.example"}
	l.report("n1", 1, c, seen("db", true, "10.7.0.4", "169.254.169.254", 80, app.HTTP, flow.Learn),
		seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn))
	list := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{}))
	wide := 0
	for _, r := range list.Rules {
		if r.Wide {
			wide++
		}
		if r.Wide != strings.Contains(strings.Join(r.Warnings, ";"), "wide") {
			t.Errorf("rule %v", r)
		}
	}
	if wide != 2 {
		t.Errorf("%d wide rules of %v", wide, list.Rules)
	}
	r := must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"web"}, Mode: controlv1.Mode_MODE_PROTECT}))
	if len(r.Wide) != 1 || r.Wide[0].To != "external" || strings.Join(r.Wide[0].Names, ",") != "api.vendor.example" {
		t.Errorf("wide rules of the switch: %v", r.Wide)
	}
	if r = must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"web"}, Mode: controlv1.Mode_MODE_DISCOVER})); len(r.Wide) > 0 {
		t.Errorf("wide rules of a switch to discover: %v", r.Wide)
	}
}
