package controller_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// pages reads a list in parts of ten while one of its rows changes, and returns how often each port came.
func (l *lab) pages(part func(p *controlv1.Page) (ports []uint32, next string, total uint64)) map[uint32]int {
	l.t.Helper()
	ports := make(map[uint32]int)
	p := &controlv1.Page{Limit: 10}
	for {
		list, next, total := part(p)
		if len(list) > 10 || total < 25 {
			l.t.Errorf("a page of %d rows, %d in total", len(list), total)
		}
		for _, port := range list {
			ports[port]++
		}
		l.sequence++
		l.report("n1", l.sequence, violating(20)) // moves to the front of what is newest first
		if p.Token = next; next == "" {
			return ports
		}
	}
}

// violating is a connection of web to a port of api, one of a kind of its own.
func violating(port uint32) *controlv1.Connection {
	c := seen("web", true, "10.7.0.2", "10.7.0.3", port, app.HTTP, flow.Violate)
	c.ClientPort = port
	return c
}

// TestPages: a list in parts has each row once, also while rows change.
func TestPages(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	var many []*controlv1.Connection
	for i := range uint32(25) {
		many = append(many, violating(1+i))
	}
	l.sequence = 1
	l.report("n1", 1, many...)
	lists := map[string]func(p *controlv1.Page) ([]uint32, string, uint64){
		"connections": func(p *controlv1.Page) (ports []uint32, next string, total uint64) {
			r := must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{Page: p}))
			for _, e := range r.Edges {
				ports = append(ports, e.Port)
			}
			return ports, r.NextToken, r.Total
		},
		"violations": func(p *controlv1.Page) (ports []uint32, next string, total uint64) {
			r := must[*controlv1.ListViolationsResponse](t)(l.control.ListViolations(t.Context(), &controlv1.ListViolationsRequest{Page: p}))
			for _, v := range r.Violations {
				ports = append(ports, v.Port)
			}
			return ports, r.NextToken, r.Total
		},
	}
	for name, part := range lists {
		ports := l.pages(part)
		for i := range uint32(25) {
			most := 1
			if name == "violations" && 1+i == 20 {
				most = 2 // the one that changed comes once more
			}
			if n := ports[1+i]; n < 1 || n > most {
				t.Errorf("%s: port %d came %d times", name, 1+i, n)
			}
		}
	}
}

// TestPagesOfWorkloads reads workloads one by one, and lists with tokens that are none.
func TestPagesOfWorkloads(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	names := make(map[string]bool)
	w := &controlv1.ListWorkloadsRequest{Page: &controlv1.Page{Limit: 1}}
	for range 3 {
		r := must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(t.Context(), w))
		names[r.Workloads[0].Name], w.Page.Token = true, r.NextToken
	}
	if len(names) != 3 || w.Page.Token != "" {
		t.Errorf("workloads: got %v", names)
	}
	for _, err := range []error{
		second(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{Page: &controlv1.Page{Token: "junk!"}})),
		second(l.control.ListViolations(t.Context(), &controlv1.ListViolationsRequest{Page: &controlv1.Page{Token: "junk!"}})),
		second(l.control.ListEvents(t.Context(), &controlv1.ListEventsRequest{Page: &controlv1.Page{Token: "junk!"}})),
		second(l.control.ListWorkloads(t.Context(), &controlv1.ListWorkloadsRequest{Page: &controlv1.Page{Token: "junk!"}})),
	} {
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("a token that is none: got %v", err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestSelect: workloads, groups and rules are selected by the same names.
func TestSelect(t *testing.T) {
	l := newLab(t)
	mixed(l)
	l.report("n1", 9, seen("web", true, "10.7.0.2", "10.7.0.3", 8080, app.HTTP, flow.Learn))
	put := func(from, to string) {
		must[*controlv1.PutRuleResponse](t)(l.control.PutRule(t.Context(), &controlv1.PutRuleRequest{Rule: &controlv1.Rule{From: from, To: to}}))
	}
	put("any", "db")
	put("external", "svc:shop/later")
	workloads := func(r *controlv1.ListWorkloadsRequest) (out []string, err error) {
		x, err := l.control.ListWorkloads(t.Context(), r)
		for _, w := range x.GetWorkloads() {
			out = append(out, w.Node+"/"+w.Name)
		}
		return out, err
	}
	rules := func(r *controlv1.ListRulesRequest) (out []string, err error) {
		x, err := l.control.ListRules(t.Context(), r)
		for _, w := range x.GetRules() {
			out = append(out, w.From+">"+w.To)
		}
		return out, err
	}
	groups := func(r *controlv1.ListGroupsRequest) (out []string, err error) {
		x, err := l.control.ListGroups(t.Context(), r)
		for _, w := range x.GetGroups() {
			out = append(out, w.Name)
		}
		return out, err
	}
	tests := []struct {
		name string
		call func() ([]string, error)
		want string // or the error
	}{
		{"workloads", func() ([]string, error) { return workloads(&controlv1.ListWorkloadsRequest{Select: []string{"web"}}) }, "n1/web n2/web"},
		{"of a node", func() ([]string, error) { return workloads(&controlv1.ListWorkloadsRequest{Nodes: []string{"n2"}}) }, "n2/web"},
		{"of no node", func() ([]string, error) { return workloads(&controlv1.ListWorkloadsRequest{Nodes: []string{"n3"}}) }, `no node is called "n3": there are n1, n2`},
		{"by address", func() ([]string, error) {
			return workloads(&controlv1.ListWorkloadsRequest{Select: []string{"10.7.0.0/24"}})
		}, "n1/api n1/db n1/web"},
		{"by mode", func() ([]string, error) {
			return workloads(&controlv1.ListWorkloadsRequest{Modes: []controlv1.Mode{controlv1.Mode_MODE_PROTECT}})
		}, ""},
		{"no workload", func() ([]string, error) { return workloads(&controlv1.ListWorkloadsRequest{Select: []string{"wbe"}}) }, `no workload or group is called "wbe"`},
		{"groups", func() ([]string, error) { return groups(&controlv1.ListGroupsRequest{Select: []string{"web", "any"}}) }, "svc:default/web any"},
		{"groups by kind", func() ([]string, error) {
			return groups(&controlv1.ListGroupsRequest{Kinds: []controlv1.GroupKind{controlv1.GroupKind_GROUP_KIND_RESERVED}})
		}, "any external nodes unmanaged multicast metadata"},
		{"no group", func() ([]string, error) { return groups(&controlv1.ListGroupsRequest{Select: []string{"wbe"}}) }, `no group is called "wbe"`},
		{"rules", func() ([]string, error) { return rules(&controlv1.ListRulesRequest{To: []string{"db"}}) }, "any>svc:default/db svc:default/api>svc:default/db"},
		{"rules by a workload", func() ([]string, error) { return rules(&controlv1.ListRulesRequest{From: []string{"n1/web"}}) }, "svc:default/web>svc:default/api"},
		{"rules by an address", func() ([]string, error) { return rules(&controlv1.ListRulesRequest{About: []string{"10.7.0.2"}}) }, "svc:default/web>svc:default/api"},
		{"rules of a group without members", func() ([]string, error) {
			return rules(&controlv1.ListRulesRequest{To: []string{"svc:shop/later"}})
		}, "external>svc:shop/later"},
		{"rules by origin", func() ([]string, error) {
			return rules(&controlv1.ListRulesRequest{Origins: []controlv1.Origin{controlv1.Origin_ORIGIN_USER}})
		}, "any>svc:default/db external>svc:shop/later"},
		{"no rule", func() ([]string, error) { return rules(&controlv1.ListRulesRequest{About: []string{"wbe"}}) }, `about: no workload or group is called "wbe"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.call()
			if err != nil {
				if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.want) || tt.want == "" {
					t.Errorf("got %v, want %q", err, tt.want)
				}
				return
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// TestRuleWarnings: a rule that matches no workload has a warning, in the answer and in the list.
func TestRuleWarnings(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	tests := []struct{ name, from, to, want string }{
		{"both are there", "web", "api", ""},
		{"a typo", "web", "svc:shop/typo", "to: no group is called svc:shop/typo, so the rule matches nothing"},
		{"at the client", "svc:shop/typo", "any", "from: no group is called svc:shop/typo, so the rule matches nothing"},
		{"both", "svc:a/b", "svc:a/b", "from: no group is called svc:a/b, so the rule matches nothing"},
		{"outside", "external", "web", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := must[*controlv1.PutRuleResponse](t)(l.control.PutRule(t.Context(), &controlv1.PutRuleRequest{Rule: &controlv1.Rule{From: tt.from, To: tt.to, Action: controlv1.Action_ACTION_DENY}})).Rule
			if got := strings.Join(r.Warnings, "; "); got != tt.want {
				t.Errorf("answer: got %q, want %q", got, tt.want)
			}
			for _, x := range must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{})).Rules {
				if got := strings.Join(x.Warnings, "; "); x.Id == r.Id && got != tt.want {
					t.Errorf("list: got %q, want %q", got, tt.want)
				}
			}
		})
	}
	for _, name := range []string{"svc:x/*", "*", "svc:*/web", "we?"} {
		_, err := l.control.PutRule(t.Context(), &controlv1.PutRuleRequest{Rule: &controlv1.Rule{From: name, To: "web"}})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "names have no wildcards") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// The workloads of a group that are gone leave it empty.
	must[*controlv1.ReportWorkloadsResponse](t)(l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: []*controlv1.Workload{workload("web", "10.7.0.2/24")}}))
	r := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{From: []string{"web"}})).Rules
	if len(r) == 0 || len(r[0].Warnings) != 1 || r[0].Warnings[0] != "to: group svc:default/api has no members, so the rule matches nothing" {
		t.Errorf("got %v", r)
	}
}
