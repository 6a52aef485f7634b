package controller_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// TestDeparted: reports that come when a short-lived workload is gone already still count as its.
func TestDeparted(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	out := seen("web", true, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn)
	in := seen("api", false, "10.7.0.2", "10.7.0.3", 80, app.HTTP, flow.Learn)
	late := seen("api", false, "10.7.0.2", "10.7.0.3", 22, app.SSH, flow.Learn)
	late.First += int64(60e9) // begins long after
	_, err := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: []*controlv1.Workload{workload("api", "10.7.0.3/24")}})
	if err != nil {
		t.Fatal(err)
	}
	l.report("n1", 1, out, in, late)
	rules := must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{})).Rules
	var got []string
	for _, r := range rules {
		got = append(got, r.From+" "+strings.Join(r.Ports, ","))
	}
	if s := strings.Join(got, "; "); s != "svc:default/web tcp/80; unmanaged tcp/22" && s != "unmanaged tcp/22; svc:default/web tcp/80" {
		t.Errorf("rules from %s, want one of web and one of an unmanaged address", s)
	}
}

// TestOwnersThen: a connection is with who had the address when it began, in rows and in rules.
func TestOwnersThen(t *testing.T) {
	l := newLab(t)
	node := func(ws ...*controlv1.Workload) {
		t.Helper()
		ws = append(ws, workload("api", "10.7.0.3/24", "fd07::3/64"))
		if _, err := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: ws}); err != nil {
			t.Fatal(err)
		}
	}
	n := uint64(0)
	began := func(port uint32, ago time.Duration) {
		for _, ends := range [][2]string{{"10.7.0.9", "10.7.0.3"}, {"fd07::9", "fd07::3"}} {
			c := seen("api", true, ends[1], ends[0], port, app.HTTP, flow.Learn)
			c.First -= int64(ago)
			n++
			l.report("n1", n, c)
		}
	}
	// One has the address, loses it and continues; another has it, and ends; a third one has it.
	node(workload("one", "10.7.0.8/24", "10.7.0.9/24", "fd07::8/64", "fd07::9/64"))
	began(8001, time.Hour)
	node(workload("one", "10.7.0.8/24", "fd07::8/64"), workload("two", "10.7.0.9/24", "fd07::9/64"))
	began(8001, time.Minute)
	began(8002, 0)
	began(8002, 200*time.Millisecond) // before it was reported
	time.Sleep(1200 * time.Millisecond)
	node(workload("one", "10.7.0.8/24", "fd07::8/64"), workload("three", "10.7.0.9/24", "fd07::9/64"))
	began(8001, time.Minute)
	began(8002, 1100*time.Millisecond)
	began(8003, 0)
	began(8003, 200*time.Millisecond)
	want := map[string]int{"one 8001": 3, "two 8002": 3, "three 8003": 2} // sessions of each family
	got := map[string]int{}
	for _, e := range must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{})).Edges {
		got[fmt.Sprint(e.ToWorkload, " ", e.Port)] += int(e.Sessions)
	}
	for _, r := range must[*controlv1.ListRulesResponse](t)(l.control.ListRules(t.Context(), &controlv1.ListRulesRequest{})).Rules {
		k := strings.TrimPrefix(r.To, "svc:default/") + strings.Replace(strings.Join(r.Ports, ","), "tcp/", " ", 1)
		if want[k] == 0 {
			t.Errorf("a rule for %s", k)
		}
	}
	for k, sessions := range want {
		want[k] = 2 * sessions
	}
	if !maps.Equal(got, want) {
		t.Errorf("sessions %v, want %v", got, want)
	}
}

// TestVacantAddress: attempts at the address of a workload that is gone are shown with its name, until another
// one has the address.
func TestVacantAddress(t *testing.T) {
	l := newLab(t)
	node := func(ws ...*controlv1.Workload) {
		t.Helper()
		ws = append(ws, workload("api", "10.7.0.3/24", "fd07::3/64"))
		if _, err := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: ws}); err != nil {
			t.Fatal(err)
		}
	}
	n := uint64(0)
	attempt := func(port uint32, in time.Duration, answered bool) {
		for _, ends := range [][2]string{{"10.7.0.3", "10.7.0.9"}, {"fd07::3", "fd07::9"}} {
			c := seen("api", true, ends[0], ends[1], port, app.None, flow.Learn)
			c.First += int64(in)
			c.Last += int64(in)
			c.Answered = answered
			n++
			l.report("n1", n, c)
		}
	}
	node(workload("one", "10.7.0.9/24", "fd07::9/64"))
	node()
	attempt(8001, 10*time.Second, false)
	attempt(8002, 10*time.Second, true) // somebody else has it
	attempt(8003, 31*time.Second, false)
	node(workload("two", "10.7.0.9/24", "fd07::9/64"))
	attempt(8004, 10*time.Second, false)
	want := map[string]int{"one 8001": 2, "two 8004": 2}
	for _, a := range []string{"10.7.0.9", "fd07::9"} {
		want[a+" 8002"], want[a+" 8003"] = 1, 1
	}
	got := map[string]int{}
	for _, e := range must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{})).Edges {
		got[fmt.Sprint(e.ToWorkload, " ", e.Port)]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}
}

// TestHostNetwork: the output for workloads in the host's network shows that nothing is refused.
func TestHostNetwork(t *testing.T) {
	l := newLab(t)
	host := &controlv1.Workload{Id: "host:n1", Name: "n1", Namespace: "default", Service: "host", HostNet: true, Source: "host", Note: "watched, never refused: host network"}
	_, err := l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", NodeAddresses: []string{"192.0.2.1"},
		Workloads: []*controlv1.Workload{workload("api", "10.7.0.3/24"), host}})
	if err != nil {
		t.Fatal(err)
	}
	c := seen("x", true, "192.0.2.1", "10.7.0.3", 80, app.Unknown, flow.Learn)
	c.Workload = "host:n1"
	l.report("n1", 1, c)
	in := seen("api", false, "192.0.2.1", "10.7.0.3", 80, app.HTTP, flow.Learn)
	in.Peer = "host:n1"
	l.report("n1", 2, in)
	es := must[*controlv1.ListConnectionsResponse](t)(l.control.ListConnections(t.Context(), &controlv1.ListConnectionsRequest{})).Edges
	if len(es) != 1 || es[0].FromWorkload != "n1" || es[0].From != "nodes" || es[0].ToWorkload != "api" || es[0].App != "http" || es[0].Sessions != 1 {
		t.Errorf("edges %v, want the host's connection once, from the workload's packets", es)
	}
	r := must[*controlv1.SetModeResponse](t)(l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"host"}, Mode: controlv1.Mode_MODE_PROTECT}))
	const note = "watched, never refused: host network"
	if len(r.Groups) != 1 || r.Groups[0].Note != note {
		t.Errorf("groups %v, want one with the note", r.Groups)
	}
	ws := must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(t.Context(), &controlv1.ListWorkloadsRequest{})).Workloads
	if len(ws) != 2 || ws[0].Id != "host:n1" || ws[0].Note != note || ws[0].Mode != controlv1.Mode_MODE_PROTECT {
		t.Errorf("workloads %v, want the host's with its note", ws)
	}
	eventually(t, "the policy speaks of it", func() bool {
		w, err := l.control.Why(t.Context(), &controlv1.WhyRequest{From: "n1", To: "203.0.113.9", Port: "443"})
		return err == nil && w.Verdict == controlv1.Verdict_VERDICT_VIOLATE && len(w.Ends) == 1 && strings.Contains(w.Text, note)
	})
	w := must[*controlv1.WhyResponse](t)(l.control.Why(t.Context(), &controlv1.WhyRequest{From: "n1", To: "api", Port: "80", App: "unknown"}))
	if len(w.Ends) != 2 || w.Ends[0].Verdict != controlv1.Verdict_VERDICT_ALLOW {
		t.Errorf("learned connection: got %v", w.Ends)
	}
}
