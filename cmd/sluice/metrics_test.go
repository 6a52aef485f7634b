package main

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/flow"
)

// fakeAgent is an agent with two workloads of one name.
type fakeAgent struct{ ready, answers bool }

func (a *fakeAgent) Workloads() []*controlv1.Workload {
	return []*controlv1.Workload{{Id: "netns:web", Name: "web", Group: "svc:default/web", Mode: controlv1.Mode_MODE_PROTECT, Source: "netns"},
		{Id: "docker:1", Name: "db", Group: "svc:default/db", Source: "docker"}, {Id: "docker:2", Name: "db", Group: "svc:default/db", Source: "docker"}}
}

func (a *fakeAgent) Outcomes() map[string]uplink.Outcomes {
	return map[string]uplink.Outcomes{"netns:web": {flow.OutcomeClosed: 3, flow.OutcomeRefused: 7}}
}

func (a *fakeAgent) Exceeding() []string { return nil }

func (a *fakeAgent) Unjudged() []uplink.Unjudged {
	return []uplink.Unjudged{{Workload: "netns:web", Interface: "eth0", Backend: "inline", Cause: "heartbeat", Frames: 2}, {Workload: "netns:web", Interface: "eth1", Backend: "inline", Cause: "heartbeat", Frames: 3},
		{Backend: "nfqueue", Cause: "queue_full", Dropped: true, Frames: 9}}
}

func (a *fakeAgent) Status() *controlv1.NodeStatus {
	traffic := func(id, backend string, n uint64) *controlv1.Traffic {
		return &controlv1.Traffic{Workload: id, Interface: "eth0", Backend: backend, FramesOut: n, FramesIn: 2 * n, BytesOut: 100 * n, Verdicts: map[string]uint64{"allow": 3, "deny": 1},
			Dropped: map[string]uint64{"denied": 4}, Opened: 5, Sessions: 2}
	}
	return &controlv1.NodeStatus{Node: "n1", Policy: 6, Wanted: 7, Started: noon.UnixNano(), WorkloadErrors: map[string]string{"docker:2": "eth0 is gone"},
		Counters: map[string]uint64{"engine.frames": 12, "engine.sessions": 3, "engine.reports_lost": 9, "plugin.latency_us_sum": 2_500_000, "hostmode.open": 1, "steering.steered": 5,
			"ring.received": 1, "uplink.sent": 1, "plugin.restarts": 2, "plugin.lost_sessions": 1},
		State: &controlv1.AgentState{Ready: a.ready, Traffic: []*controlv1.Traffic{traffic("netns:web", "tap", 1), traffic("netns:web", "inline", 10), traffic("docker:1", "tap", 100)},
			Queues:  []*controlv1.Queue{{Backend: "inline", Queues: 1, Received: 30, Waiting: 7, Fill: 0.25, Dropped: map[string]uint64{"ring_full": 8}, Bypassed: map[string]uint64{"no_heartbeat": 2}}},
			Plugins: []*controlv1.Plugin{{Name: "standard", Path: "/proc/self/exe", User: "nobody", Phase: controlv1.PluginPhase_PLUGIN_PHASE_RESTARTING, Restarts: 2, Panics: 4, Items: 99, Error: "it has ended\x1b\xff" + strings.Repeat("x", 300)}},
			Uplink:  &controlv1.Uplink{Controller: "10.0.0.1:9474", Answers: a.answers, Backlog: 5, LastReport: noon.UnixNano(), Dropped: map[string]uint64{"uplink_full": 1}}}}
}

func (a *fakeAgent) observed() *observed {
	store := func() *controlv1.StoreState {
		return &controlv1.StoreState{Name: "consul 10.0.0.1:8500", Reachable: true, Revision: 17, Leader: "10.0.0.1:8300"}
	}
	control := func() *controlv1.StatusResponse {
		return &controlv1.StatusResponse{Policy: 7, Workloads: 3, Groups: 6, Rules: 2, Connections: 4, Sessions: 41, Violations: 3, Threats: 4, Unjudged: 14, Dropped: map[string]uint64{"history": 1},
			Nodes: []*controlv1.NodeStatus{{Node: "n1", Policy: 6, Wanted: 7, LastSeen: noon.Add(-time.Second).UnixNano(), Rivals: []*controlv1.Owner{{Run: "r2"}}}, {Node: "n2", LastSeen: noon.Add(-time.Minute).UnixNano()}}}
	}
	controllers := func() []*controlv1.ControllerState {
		return []*controlv1.ControllerState{{Name: "c1", Phase: controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER}, {Name: "c2", Phase: controlv1.ControllerPhase_CONTROLLER_PHASE_STANDBY}}
	}
	return &observed{agent: a, control: control, store: store, controllers: controllers, now: func() time.Time { return noon }}
}

// TestMetrics scrapes and compares single samples; names and texts must please Prometheus's own linter.
func TestMetrics(t *testing.T) {
	srv := httptest.NewServer((&fakeAgent{ready: true, answers: true}).observed().handler())
	defer srv.Close()
	text, code := fetch(t, srv, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "sluice_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, want := range []string{
		`sluice_frames_total{backend="inline",direction="egress",interface="eth0",workload="web"} 10`,
		`sluice_frames_total{backend="tap",direction="ingress",interface="eth0",workload="web"} 2`,
		`sluice_frames_total{backend="tap",direction="egress",interface="eth0",workload="docker:1"} 100`,
		`sluice_bytes_total{backend="inline",direction="egress",interface="eth0",workload="web"} 1000`,
		`sluice_verdicts_total{backend="inline",interface="eth0",verdict="deny",workload="web"} 1`,
		`sluice_verdicts_total{backend="inline",interface="eth0",verdict="violate",workload="web"} 0`,
		`sluice_drops_total{backend="inline",cause="denied",interface="eth0",workload="web"} 4`,
		`sluice_drops_total{backend="inline",cause="ring_full",interface="",workload=""} 8`,
		`sluice_bypassed_total{backend="inline",cause="no_heartbeat",interface="",workload=""} 2`,
		`sluice_sessions{backend="tap",interface="eth0",workload="web"} 2`,
		`sluice_queue_depth{backend="inline",interface="",workload=""} 7`,
		`sluice_plugin_up{plugin="standard"} 0`, `sluice_plugin_restarts_total{plugin="standard"} 2`, `sluice_plugin_items_total{plugin="standard"} 99`, `sluice_plugin_panics_total{plugin="standard"} 4`,
		`sluice_plugin_wait_seconds_total 2.5`, `sluice_engine_frames_total 12`, `sluice_engine_sessions 3`, `sluice_steering_steered_total 5`,
		`sluice_policy_version{kind="enforced"} 6`, `sluice_policy_version{kind="wanted"} 7`, `sluice_policy_version{kind="compiled"} 7`,
		`sluice_records_lost_total{cause="outbox_full"} 9`, `sluice_records_lost_total{cause="uplink_full"} 1`, `sluice_uplink_backlog 5`,
		`sluice_store_up 1`, `sluice_store_revision 17`, `sluice_store_info{leader="10.0.0.1:8300",store="consul 10.0.0.1:8500"} 1`,
		`sluice_controller_leading 1`, `sluice_controllers{state="standby"} 1`, `sluice_controllers{state="refused"} 0`, `sluice_agent_rivals{node="n1"} 1`, `sluice_threats_total 4`, `sluice_reported_unjudged_frames_total 14`,
		`sluice_outcomes_total{outcome="refused",workload="web"} 7`, `sluice_outcomes_total{outcome="denied",workload="docker:1"} 0`,
		`sluice_unjudged_frames_total{backend="inline",cause="heartbeat",dropped="false",workload="web"} 5`, `sluice_unjudged_frames_total{backend="nfqueue",cause="queue_full",dropped="true",workload=""} 9`, `sluice_agent_up{node="n1"} 1`, `sluice_agent_up{node="n2"} 0`,
		`sluice_agents{state="connected"} 1`, `sluice_agent_policy_version{kind="wanted",node="n1"} 7`, `sluice_edges 4`, `sluice_rules 2`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func fetch(t *testing.T, srv *httptest.Server, path string) (string, int) {
	t.Helper()
	r, err := srv.Client().Get(srv.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), r.StatusCode
}

// TestHealth asks processes in all conditions for their health.
func TestHealth(t *testing.T) {
	well := (&fakeAgent{ready: true, answers: true}).observed()
	standby := *well
	standby.agent, standby.control = nil, func() *controlv1.StatusResponse { return nil }
	lost := standby
	lost.controllers = func() []*controlv1.ControllerState { return nil }
	cut := standby
	cut.store = func() *controlv1.StoreState { return &controlv1.StoreState{Error: "no server leads"} }
	for name, c := range map[string]struct {
		o      *observed
		health map[string]string // by path; "" is well
	}{
		"an agent that works":          {well, map[string]string{"/livez": "", "/readyz": "", "/healthz": ""}},
		"an agent that begins":         {(&fakeAgent{answers: true}).observed(), map[string]string{"/livez": "", "/readyz": "being attached", "/healthz": "being attached"}},
		"an agent without controllers": {(&fakeAgent{ready: true}).observed(), map[string]string{"/livez": "", "/readyz": "", "/healthz": "controller does not answer"}},
		"a standby controller":         {&standby, map[string]string{"/livez": "", "/readyz": "", "/healthz": ""}},
		"without a leader":             {&lost, map[string]string{"/livez": "", "/readyz": "there is no leader", "/healthz": "there is no leader"}},
		"a controller without a store": {&cut, map[string]string{"/livez": "", "/readyz": "", "/healthz": "no server leads"}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.o.handler())
			defer srv.Close()
			for path, want := range maps.All(c.health) {
				text, code := fetch(t, srv, path)
				if (code == http.StatusOK) != (want == "") || !strings.Contains(text, want) {
					t.Errorf("%s: got %d %q, want %q", path, code, text, want)
				}
			}
		})
	}
}
