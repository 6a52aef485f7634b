package controller_test

import (
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
)

// mixed reports connections of many kinds, on two nodes with workloads of one name.
func mixed(l *lab) {
	l.shop("n1")
	must[*controlv1.ReportWorkloadsResponse](l.t)(l.collector.ReportWorkloads(l.t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n2", Run: "boot-1", Workloads: []*controlv1.Workload{
		workload("web", "10.8.0.2/24"), workload("gone", "10.8.0.9/24")}}))
	conns := []*controlv1.Connection{
		seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Allow),
		seen("api", true, "fd07::3", "fd07::4", 5432, app.PostgreSQL, flow.Learn),
		seen("web", true, "10.7.0.2", "203.0.113.9", 443, app.TLS, flow.Violate),
		became(seen("db", false, "198.51.100.7", "10.7.0.4", 22, app.SSH, flow.Deny), flow.OutcomeDenied),
	}
	udp := seen("web", true, "10.7.0.2", "10.7.0.99", 53, app.DNS, flow.Allow)
	udp.Proto = 17
	for i, c := range append(conns, udp) {
		c.ClientPort += uint32(i)
		l.report("n1", uint64(i+1), c)
	}
	for i, c := range []*controlv1.Connection{
		seen("web", true, "10.8.0.2", "203.0.113.10", 443, app.TLS, flow.Violate),
		seen("gone", true, "10.8.0.9", "203.0.113.10", 25, app.SMTP, flow.Violate),
	} {
		c.ClientPort += uint32(i)
		l.report("n2", uint64(i+1), c)
	}
	must[*controlv1.ReportWorkloadsResponse](l.t)(l.collector.ReportWorkloads(l.t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n2", Run: "boot-1", Workloads: []*controlv1.Workload{
		workload("web", "10.8.0.2/24")}}))
}

// TestFilter: lists and events are filtered alike.
func TestFilter(t *testing.T) {
	l := newLab(t)
	mixed(l)
	const http, pg, tls, ssh, dns, tls2, smtp = "web>api 80", "api>db 5432", "web>203.0.113.9 443", "198.51.100.7>db 22", "web>10.7.0.99 53", "web>203.0.113.10 443", "gone>203.0.113.10 25"
	all := []string{http, pg, tls, ssh, dns, tls2, smtp}
	violations := map[string]bool{tls: true, ssh: true, tls2: true, smtp: true}
	type f = controlv1.Filter
	now := time.Now()
	tests := []struct {
		name string
		f    *f
		want []string
	}{
		{"nothing", nil, all},
		{"from a name of two", &f{From: []string{"web"}}, []string{http, tls, dns, tls2}},
		{"from NODE/NAME", &f{From: []string{"n1/web"}}, []string{http, tls, dns}},
		{"from NODE/ID", &f{From: []string{"n2/netns:web"}}, []string{tls2}},
		{"from an id", &f{From: []string{"netns:api"}}, []string{pg}},
		{"from NAMESPACE/SERVICE", &f{From: []string{"default/api"}}, []string{pg}},
		{"from a service group", &f{From: []string{"svc:default/web"}}, []string{http, tls, dns, tls2}},
		{"from a workload that is gone", &f{From: []string{"gone"}}, []string{smtp}},
		{"from one that is gone, by id", &f{From: []string{"n2/netns:gone"}}, []string{smtp}},
		{"from an address", &f{From: []string{"10.8.0.2"}}, []string{tls2}},
		{"from an IPv6 address", &f{From: []string{"fd07::3"}}, []string{pg}},
		{"from a network", &f{From: []string{"10.7.0.0/16"}}, []string{http, tls, dns}},
		{"from a network of all", &f{From: []string{"::/0"}}, []string{pg}},
		{"from one of two", &f{From: []string{"api", "external"}}, []string{pg, ssh}},
		{"to a reserved group", &f{To: []string{"external"}}, []string{tls, tls2, smtp}},
		{"to unmanaged", &f{To: []string{"unmanaged"}}, []string{dns}},
		{"to any", &f{To: []string{"any"}}, all},
		{"to an address outside", &f{To: []string{"203.0.113.10"}}, []string{tls2, smtp}},
		{"about", &f{About: []string{"db"}}, []string{pg, ssh}},
		{"from and to", &f{From: []string{"web"}, To: []string{"api"}}, []string{http}},
		{"a port", &f{Ports: []string{"53"}}, []string{dns}},
		{"a port of another protocol", &f{Ports: []string{"tcp/53"}}, nil},
		{"ports", &f{Ports: []string{"tcp/20-80", "udp/53"}}, []string{http, ssh, dns, smtp}},
		{"a range of either", &f{Ports: []string{"22-80"}}, []string{http, ssh, dns, smtp}},
		{"icmp", &f{Ports: []string{"icmp"}}, nil},
		{"an application", &f{Apps: []string{"ssh", "dns"}}, []string{ssh, dns}},
		{"a verdict", &f{Verdicts: []controlv1.Verdict{controlv1.Verdict_VERDICT_DENY}}, []string{ssh}},
		{"a reason", &f{Reasons: []controlv1.Reason{controlv1.Reason_REASON_RULE}}, []string{http, dns}},
		{"an outcome", &f{Outcomes: []controlv1.Outcome{controlv1.Outcome_OUTCOME_DENIED}}, []string{ssh}},
		{"a family", &f{Family: controlv1.Family_FAMILY_IPV6}, []string{pg}},
		{"since then", &f{Since: now.Add(-time.Hour).UnixNano()}, all},
		{"since later", &f{Since: now.Add(time.Hour).UnixNano()}, nil},
		{"until before", &f{Until: now.Add(-time.Hour).UnixNano()}, nil},
	}
	l.events(len(all), nil)
	short := func(from, to string, port uint32) string { return fmt.Sprintf("%s>%s %d", from, to, port) }
	set := func(list []string) map[string]bool {
		out := make(map[string]bool)
		for _, s := range list {
			out[s] = true
		}
		return out
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var rows, bad, events []string
			edges := must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{Filter: tt.f}))
			for _, e := range edges.Edges {
				rows = append(rows, short(e.FromWorkload, e.ToWorkload, e.Port))
			}
			vs := must[*controlv1.ListViolationsResponse](t)(l.control.ListViolations(t.Context(), &controlv1.ListViolationsRequest{Filter: tt.f}))
			for _, v := range vs.Violations {
				bad = append(bad, short(v.FromWorkload, v.ToWorkload, v.Port))
			}
			es := must[*controlv1.ListEventsResponse](t)(l.control.ListEvents(t.Context(), &controlv1.ListEventsRequest{Filter: tt.f}))
			for _, e := range es.Events {
				events = append(events, short(e.From, e.To, e.Port))
			}
			want, wantBad := set(tt.want), map[string]bool{}
			for s := range want {
				if violations[s] {
					wantBad[s] = true
				}
			}
			if d := cmp.Diff(want, set(rows)); d != "" || edges.Total != uint64(len(want)) {
				t.Errorf("connections, %d in total (-want +got):\n%s", edges.Total, d)
			}
			if d := cmp.Diff(wantBad, set(bad)); d != "" {
				t.Errorf("violations (-want +got):\n%s", d)
			}
			if d := cmp.Diff(want, set(events)); d != "" || len(events) != len(want) {
				t.Errorf("events, %d of them (-want +got):\n%s", len(events), d)
			}
		})
	}
}

// TestFilterThatIsWrong: an unknown name is refused by every call alike, and the answer has what to check.
func TestFilterThatIsWrong(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	type f = controlv1.Filter
	ctx := t.Context()
	calls := map[string]func(*f) error{
		"connections": func(x *f) error {
			_, err := l.control.ListConnections(ctx, &controlv1.ListConnectionsRequest{Filter: x})
			return err
		},
		"violations": func(x *f) error {
			_, err := l.control.ListViolations(ctx, &controlv1.ListViolationsRequest{Filter: x})
			return err
		},
		"threats": func(x *f) error {
			_, err := l.control.ListThreats(ctx, &controlv1.ListThreatsRequest{Filter: x})
			return err
		},
		"events": func(x *f) error {
			_, err := l.control.ListEvents(ctx, &controlv1.ListEventsRequest{Filter: x})
			return err
		},
		"observe": func(x *f) error {
			s, err := l.control.Observe(ctx, &controlv1.ObserveRequest{Filter: x})
			if err == nil {
				_, err = s.Recv()
			}
			return err
		},
	}
	tests := []struct {
		name string
		f    *f
		only string // a call; "" is all but those of except
		want string
	}{
		{"a typo", &f{From: []string{"wbe"}}, "", `from: no workload or group is called "wbe"`},
		{"it lists what there is", &f{To: []string{"wbe"}}, "", "svc:default/web"},
		{"nothing", &f{About: []string{" "}}, "", "about: the name is empty"},
		{"a network that is none", &f{From: []string{"10.7.0.0/99"}}, "", `"10.7.0.0/99"`},
		{"a port", &f{Ports: []string{"tcp/99999"}}, "", "99999"},
		{"a port in words", &f{Ports: []string{"webs"}}, "", "webs"},
		{"a family", &f{Family: 9}, "", "no family has the number 9"},
		{"times", &f{Since: 2, Until: 1}, "", "since is after until"},
		{"an application", &f{Apps: []string{"htp"}}, "connections", "htp"},
		{"a verdict", &f{Verdicts: []controlv1.Verdict{77}}, "violations", "no verdict has the number 77"},
		{"an outcome", &f{Outcomes: []controlv1.Outcome{77}}, "events", "no outcome has the number 77"},
		{"kinds of no event", &f{Kinds: []controlv1.EventKind{controlv1.EventKind_EVENT_KIND_ENDED}}, "connections", "connections have no kind of event"},
		{"verdicts of a threat", &f{Verdicts: []controlv1.Verdict{controlv1.Verdict_VERDICT_DENY}}, "threats", "threats have no"},
		{"threats of a violation", &f{Threats: []uint32{1}}, "violations", "violations have no"},
		{"too much", &f{From: make([]string, 1001)}, "", "1001 entries"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name, call := range calls {
				if tt.only != "" && tt.only != name {
					continue
				}
				if err := call(tt.f); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%s: got %v, want InvalidArgument with %q", name, err, tt.want)
				}
			}
		})
	}
}

// TestFilterBeforeLimit: 250 kinds of violation of others do not hide that of web.
func TestFilterBeforeLimit(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.report("n1", 1, seen("web", true, "10.7.0.2", "10.7.0.3", 1000, app.HTTP, flow.Violate))
	var many []*controlv1.Connection
	for i := range 250 {
		many = append(many, seen("db", true, "10.7.0.4", "10.7.0.3", uint32(2000+i), app.HTTP, flow.Violate))
	}
	l.report("n1", 2, many...)
	r := must[*controlv1.ListViolationsResponse](t)(l.control.ListViolations(t.Context(), &controlv1.ListViolationsRequest{Filter: &controlv1.Filter{From: []string{"web"}}, Page: &controlv1.Page{Limit: 200}}))
	if len(r.Violations) != 1 || r.Total != 1 || r.Violations[0].Port != 1000 {
		t.Errorf("got %v", r)
	}
}

// TestFilterDeparted: a workload that is gone is found by its rows, also by a controller that never saw it.
func TestFilterDeparted(t *testing.T) {
	l := newLab(t)
	mixed(l)
	l.restart()
	for _, name := range []string{"gone", "n2/gone", "netns:gone", "n2/netns:gone", "default/gone"} {
		r, err := l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{Filter: &controlv1.Filter{From: []string{name}}})
		if err != nil || len(r.Edges) != 1 || r.Edges[0].Port != 25 {
			t.Errorf("%s: got %v, %v", name, r, err)
		}
	}
}
