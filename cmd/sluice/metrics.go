package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicenet/sluice/agent"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// metrics gives the agent's counters and the controller's totals to Prometheus.
type metrics struct {
	agent   *agent.Agent
	control controlv1.ControlClient
}

var _ prometheus.Collector = (*metrics)(nil)

// newMetrics answers /healthz and /metrics.
func newMetrics(a *agent.Agent, cl controlv1.ControlClient) http.Handler {
	m := &metrics{a, cl}
	reg := prometheus.NewRegistry()
	reg.MustRegister(m)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", m.health)
	return mux
}

// health is 200 when the workloads are attached and the controller answers, 503 otherwise.
func (m *metrics) health(w http.ResponseWriter, r *http.Request) {
	select {
	case <-m.agent.Ready():
	default:
		http.Error(w, "workloads are being attached", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if _, err := m.control.Status(ctx, &controlv1.StatusRequest{}); err != nil {
		http.Error(w, "controller does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// Describe sends nothing: names depend on what the engine counts.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the agent's counters, then the controller's totals if it answers.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	send := func(name, help string, kind prometheus.ValueType, v uint64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), kind, float64(v))
	}
	for name, v := range m.agent.Counters() {
		kind, suffix := prometheus.CounterValue, "_total"
		if name == "engine.sessions" {
			kind, suffix = prometheus.GaugeValue, ""
		}
		send("sluice_"+strings.NewReplacer(".", "_", "-", "_", "/", "_").Replace(name)+suffix, "Counter "+name+" of the agent.", kind, v)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	st, err := m.control.Status(ctx, &controlv1.StatusRequest{})
	if err != nil {
		return
	}
	send("sluice_workloads", "Workloads that are known.", prometheus.GaugeValue, st.Workloads)
	send("sluice_groups", "Groups that there are.", prometheus.GaugeValue, st.Groups)
	send("sluice_rules", "Rules that there are.", prometheus.GaugeValue, st.Rules)
	send("sluice_connections", "Kinds of connection that were seen.", prometheus.GaugeValue, st.Connections)
	send("sluice_policy_version", "Version of the policy that was compiled last.", prometheus.GaugeValue, st.Policy)
	send("sluice_sessions_total", "Sessions that were reported.", prometheus.CounterValue, st.Sessions)
	send("sluice_violations_total", "Violations that were reported.", prometheus.CounterValue, st.Violations)
}
