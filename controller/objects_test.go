package controller_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// want fails the test unless err has a code.
func want(t *testing.T, what string, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: got %v, want %v", what, err, code)
	}
}

func (l *lab) group(name string) *controlv1.Group {
	l.t.Helper()
	r := must[*controlv1.ListGroupsResponse](l.t)(l.control.ListGroups(l.t.Context(), &controlv1.ListGroupsRequest{Select: []string{name}}))
	return r.Groups[0]
}

// TestRulesCompareAndSet: of two writers that read the same rule one wins, and the other learns of it.
func TestRulesCompareAndSet(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx := t.Context()
	put := func(r *controlv1.Rule, before uint32) (*controlv1.Rule, error) {
		a, err := l.control.PutRule(ctx, &controlv1.PutRuleRequest{Rule: r, Before: before})
		return a.GetRule(), err
	}
	first := must[*controlv1.Rule](t)(put(&controlv1.Rule{From: "web", To: "api", Ports: []string{"tcp/80"}, Comment: "a"}, 0))
	second := must[*controlv1.Rule](t)(put(&controlv1.Rule{From: "web", To: "db", Ports: []string{"tcp/5432"}}, 0))
	mine, theirs := proto.CloneOf(first), proto.CloneOf(first)
	mine.Comment, theirs.Comment = "mine", "theirs"
	got := must[*controlv1.Rule](t)(put(mine, 0))
	if got.Comment != "mine" || got.Revision <= first.Revision || got.Created != first.Created || got.Id != first.Id {
		t.Errorf("written: %v", got)
	}
	_, err := put(theirs, 0)
	want(t, "the second writer", err, codes.Aborted)
	_, err = l.control.DeleteRule(ctx, &controlv1.DeleteRuleRequest{Id: first.Id, Revision: first.Revision})
	want(t, "delete of what was read before", err, codes.Aborted)
	_, err = put(&controlv1.Rule{Id: 4711, From: "web", To: "api"}, 0)
	want(t, "a rule that does not exist", err, codes.NotFound)
	// Moved before another, and everything else stays.
	moved := must[*controlv1.Rule](t)(put(second, first.Id))
	list := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(ctx, &controlv1.ListRulesRequest{}))
	if len(list.Rules) != 2 || list.Rules[0].Id != second.Id || list.Rules[1].Comment != "mine" {
		t.Errorf("order after the move: %v", list.Rules)
	}
	l.restart()
	if _, err := l.control.DeleteRule(ctx, &controlv1.DeleteRuleRequest{Id: moved.Id, Revision: moved.Revision}); err != nil {
		t.Errorf("delete with the revision that was stored: %v", err)
	}
}

func TestGroupsCompareAndSet(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx := t.Context()
	put := func(g *controlv1.Group) (*controlv1.PutGroupResponse, error) {
		return l.control.PutGroup(ctx, &controlv1.PutGroupRequest{Group: g})
	}
	g := l.group("web")
	old := proto.CloneOf(g)
	g.Mode, g.Fail, g.OnDeny, g.Unready, g.Hold, g.HoldExpired, g.Comment = controlv1.Mode_MODE_PROTECT, controlv1.Fail_FAIL_CLOSED, "drop", "deny", 3e9, controlv1.HoldExpired_HOLD_EXPIRED_PASS, "shop"
	r := must[*controlv1.PutGroupResponse](t)(put(g))
	if x := r.Group; x.Fail != g.Fail || x.OnDeny != "drop" || x.Unready != "deny" || x.Hold != 3e9 || x.HoldExpired != g.HoldExpired || x.Mode != g.Mode || x.Comment != "shop" || x.Revision <= old.Revision {
		t.Errorf("written: %v", x)
	}
	_, err := put(old)
	want(t, "a writer who read before", err, codes.Aborted)
	_, err = put(&controlv1.Group{Name: "svc:default/unknown", Mode: controlv1.Mode_MODE_PROTECT})
	want(t, "a service group that does not exist", err, codes.NotFound)
	for what, bad := range map[string]*controlv1.Group{"nothing": nil, "reserved": {Name: "any"}, "mode of a user group": {Name: "mine", Mode: controlv1.Mode_MODE_PROTECT},
		"on_deny": {Name: "svc:default/web", Mode: controlv1.Mode_MODE_MONITOR, OnDeny: "shout"}, "CIDR": {Name: "mine", Cidrs: []string{"10.0.0.1"}},
		"fail": {Name: "svc:default/web", Mode: controlv1.Mode_MODE_MONITOR, Fail: 9}, "no mode": {Name: "svc:default/web"}} {
		_, err := put(bad)
		want(t, what, err, codes.InvalidArgument)
	}
	mine := &controlv1.Group{Name: "mine", Cidrs: []string{"192.0.2.0/24", "2001:db8::/32"}, Selector: &controlv1.Selector{Service: "web"}}
	made := must[*controlv1.PutGroupResponse](t)(put(mine)).Group
	if made.Revision == 0 || len(made.Cidrs) != 2 || len(made.Members) != 1 {
		t.Errorf("a new user group: %v", made)
	}
	_, err = put(mine)
	want(t, "created twice", err, codes.Aborted)
	l.restart()
	if x := l.group("web"); x.Fail != controlv1.Fail_FAIL_CLOSED || x.Revision != r.Group.Revision {
		t.Errorf("after a restart: %v", x)
	}
}

// TestFail: the setting of a group comes before the default, and both reach the agent's policy.
func TestFail(t *testing.T) {
	l := newLab(t)
	a := l.agent("n1")
	l.shop("n1")
	closed := func(web, db bool) {
		t.Helper()
		eventually(t, "the fail modes at the agent", func() bool {
			p := a.current()
			return p != nil && p.Workload("netns:web") != nil && p.Workload("netns:web").FailClosed() == web && p.Workload("netns:db").FailClosed() == db
		})
	}
	closed(false, false)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := must[*controlv1.GetSettingsResponse](t)(l.control.GetSettings(ctx, &controlv1.GetSettingsRequest{})).Settings
	before := proto.CloneOf(s)
	s.DefaultFail, s.Internal = controlv1.Fail_FAIL_CLOSED, []string{"10.99.0.0/16"}
	put := must[*controlv1.PutSettingsResponse](t)(l.control.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: s})).Settings
	if put.Revision <= before.Revision || put.DefaultFail != controlv1.Fail_FAIL_CLOSED || put.DefaultMode != before.DefaultMode {
		t.Errorf("written: %v", put)
	}
	closed(true, true)
	_, err := l.control.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: before})
	want(t, "a writer who read before", err, codes.Aborted)
	_, err = l.control.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: &controlv1.Settings{Internal: []string{"here"}}})
	want(t, "no prefix", err, codes.InvalidArgument)
	r := must[*controlv1.SetFailResponse](t)(l.control.SetFail(ctx, &controlv1.SetFailRequest{Groups: []string{"web"}, Fail: controlv1.Fail_FAIL_OPEN}))
	if len(r.Groups) != 1 || r.Groups[0].Fail != controlv1.Fail_FAIL_OPEN {
		t.Errorf("got %v", r)
	}
	closed(false, true)
	for what, bad := range map[string]*controlv1.SetFailRequest{"no mode": {Groups: []string{"web"}}, "no group": {Fail: controlv1.Fail_FAIL_OPEN}, "unknown group": {Groups: []string{"nosuch"}, Fail: controlv1.Fail_FAIL_OPEN},
		"external": {Groups: []string{"external"}, Fail: controlv1.Fail_FAIL_OPEN}} {
		_, err := l.control.SetFail(ctx, bad)
		want(t, what, err, codes.InvalidArgument)
	}
}

// TestHoldSettings follows the hold times to the agent: the default, a group's own, and back.
func TestHoldSettings(t *testing.T) {
	l := newLab(t)
	a := l.agent("n1")
	l.shop("n1")
	held := func(web, db time.Duration, webPass, dbPass bool) {
		t.Helper()
		eventually(t, "the hold times at the agent", func() bool {
			p := a.current()
			if p == nil || p.Workload("netns:web") == nil || p.Workload("netns:db") == nil {
				return false
			}
			w, d := p.Workload("netns:web"), p.Workload("netns:db")
			return w.Hold() == web && d.Hold() == db && w.HoldPass() == webPass && d.HoldPass() == dbPass
		})
	}
	held(3*time.Second, 3*time.Second, false, false)
	ctx := t.Context()
	s := must[*controlv1.GetSettingsResponse](t)(l.control.GetSettings(ctx, &controlv1.GetSettingsRequest{})).Settings
	s.DefaultHold, s.DefaultHoldExpired = 4e9, controlv1.HoldExpired_HOLD_EXPIRED_PASS
	must[*controlv1.PutSettingsResponse](t)(l.control.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: s}))
	held(4*time.Second, 4*time.Second, true, true)
	_, err := l.control.PutSettings(ctx, &controlv1.PutSettingsRequest{Settings: s})
	want(t, "a writer who read before", err, codes.Aborted)
	two, none, long := int64(2e9), int64(0), int64(3600e9)
	r := must[*controlv1.SetHoldResponse](t)(l.control.SetHold(ctx, &controlv1.SetHoldRequest{Groups: []string{"web"}, Hold: &two, Expired: controlv1.HoldExpired_HOLD_EXPIRED_DENY}))
	if len(r.Groups) != 1 || r.Groups[0].Hold != two || r.Groups[0].HoldExpired != controlv1.HoldExpired_HOLD_EXPIRED_DENY {
		t.Errorf("got %v", r)
	}
	held(2*time.Second, 4*time.Second, false, true)
	must[*controlv1.SetHoldResponse](t)(l.control.SetHold(ctx, &controlv1.SetHoldRequest{Groups: []string{"web"}, Hold: &none}))
	held(4*time.Second, 4*time.Second, false, true)
	for what, bad := range map[string]*controlv1.SetHoldRequest{"nothing": {Groups: []string{"web"}}, "too long": {Groups: []string{"web"}, Hold: &long}, "unknown": {Groups: []string{"web"}, Expired: 9},
		"no group": {Hold: &two}, "unknown group": {Groups: []string{"nosuch"}, Hold: &two}} {
		_, err := l.control.SetHold(ctx, bad)
		want(t, what, err, codes.InvalidArgument)
	}
}
