package controller_test

import (
	"context"
	"strings"
	"testing"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// choose sets a workload's backend and waits for its agent.
func (l *lab) choose(workload, backend string) *controlv1.SetBackendResponse {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	return must[*controlv1.SetBackendResponse](l.t)(l.control.SetBackend(ctx, &controlv1.SetBackendRequest{Workload: workload, Backend: backend, Wait: true}))
}

// TestSetBackend: a choice reaches the agent of its workload, outlives the controller, and ends with auto.
func TestSetBackend(t *testing.T) {
	l := newLab(t)
	a := l.agent("n1")
	l.shop("n1")
	l.shop("n2") // with workloads of the same names
	r := l.choose("n1/web", "nfqueue")
	if !r.Enforced || r.Workload.GetId() != "netns:web" || r.Workload.Node != "n1" {
		t.Fatalf("got %v", r)
	}
	if got := a.current().Workload("netns:web").Backend(); got != "nfqueue" {
		t.Fatalf("the agent has %q, want nfqueue", got)
	}
	if got := a.current().Workload("netns:api").Backend(); got != "" {
		t.Errorf("another workload has %q", got)
	}
	if again := l.choose("n1/web", "nfqueue"); again.Policy != r.Policy {
		t.Errorf("the same again made policy %d of %d", again.Policy, r.Policy)
	}
	l.restart()
	a = l.agent("n1")
	l.shop("n1")
	eventually(t, "the choice after a restart", func() bool {
		return a.current() != nil && a.current().Workload("netns:web").Backend() == "nfqueue"
	})
	l.choose("n1/web", "auto")
	if got := a.current().Workload("netns:web").Backend(); got != "" {
		t.Errorf("after auto the agent has %q", got)
	}
}

func TestSetBackendThatIsWrong(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	host := workload("metal", "192.0.2.1/24")
	host.HostNet = true
	must[*controlv1.ReportWorkloadsResponse](t)(l.collector.ReportWorkloads(t.Context(), &controlv1.ReportWorkloadsRequest{Node: "n2",
		Workloads: []*controlv1.Workload{host, workload("api", "10.8.0.3/24")}}))
	cases := []struct{ name, workload, backend, want string }{
		{"backend", "web", "ebpf", `there is no backend "ebpf": use nfqueue, afpacket or auto`},
		{"workload", "wep", "nfqueue", `no workload is called "wep": there are api, db, metal, web`},
		{"host network", "metal", "nfqueue", "nothing is enforced: it has no backend to choose"},
		{"two of a name", "api", "nfqueue", `2 workloads are called "api": choose one: n1/netns:api, n2/netns:api`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := l.control.SetBackend(t.Context(), &controlv1.SetBackendRequest{Workload: c.workload, Backend: c.backend})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
	must[*controlv1.SetBackendResponse](t)(l.control.SetBackend(t.Context(), &controlv1.SetBackendRequest{Workload: "n2/netns:api", Backend: "afpacket"}))
}

// TestAttachmentIsReported: how an agent reports its workloads to be attached is shown and makes no new policy, and what
// it warns of is an event once.
func TestAttachmentIsReported(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	events, err := l.control.Observe(ctx, &controlv1.ObserveRequest{})
	if err == nil {
		_, err = events.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	web := workload("web", "10.7.0.2/24", "fd07::2/64")
	web.Choice, web.ChosenBy = "nfqueue", "a command"
	web.Interfaces[0].Note, web.Interfaces[0].Error, web.Interfaces[0].Backend = "hooked on the host", "no free queue", "inline"
	report := func(policy uint64) {
		must[*controlv1.ReportWorkloadsResponse](t)(l.collector.ReportWorkloads(ctx, &controlv1.ReportWorkloadsRequest{Node: "n1", Run: "boot-1", Workloads: []*controlv1.Workload{web}}))
		must[*controlv1.ReportStatusResponse](t)(l.collector.ReportStatus(ctx, &controlv1.ReportStatusRequest{Node: "n1", Run: "boot-1", Policy: policy,
			Attached: map[string]string{"netns:web/eth0": "inline"}, Warnings: []string{"the label is odd"}}))
	}
	report(1)
	report(1)
	e := must[*controlv1.Event](t)(events.Recv())
	if e.Kind != controlv1.EventKind_EVENT_KIND_WARNING || e.Text != "the label is odd" || e.From != "n1" {
		t.Errorf("event %v", e)
	}
	w := must[*controlv1.ListWorkloadsResponse](t)(l.control.ListWorkloads(ctx, &controlv1.ListWorkloadsRequest{})).Workloads[0]
	if i := w.Interfaces[0]; w.Choice != "nfqueue" || w.ChosenBy != "a command" || i.Backend != "inline" || i.Note != "hooked on the host" || i.Error != "no free queue" {
		t.Errorf("workload %v", w)
	}
	st := must[*controlv1.StatusResponse](t)(l.control.Status(ctx, &controlv1.StatusRequest{}))
	if got := st.Nodes[0].Warnings; len(got) != 1 || got[0] != "the label is odd" {
		t.Errorf("warnings %q", got)
	}
	// A change that changes nothing compiles what is due.
	compiled := func() uint64 {
		return must[*controlv1.SetBackendResponse](t)(l.control.SetBackend(ctx, &controlv1.SetBackendRequest{Workload: "web", Backend: "auto"})).Policy
	}
	before := compiled()
	web.Choice, web.Interfaces[0].Error = "auto", ""
	report(1)
	if after := compiled(); after != before {
		t.Errorf("policy %d after %d: what is shown made a new one", after, before)
	}
}
