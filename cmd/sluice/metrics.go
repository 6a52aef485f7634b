package main

import (
	"cmp"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sluicenet/sluice/agent"
	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/counter"
)

// observed is what a process shows of itself to Prometheus and to those who ask for its health.
type observed struct {
	agent watchedAgent // nil where there is none
	// control is how the controller is, nil while another one leads; a nil func is a process without.
	control func() *controlv1.StatusResponse
	store   func() *controlv1.StoreState
	// controllers are all of the store; nil where there is only this one.
	controllers func() []*controlv1.ControllerState
	now         func() time.Time
}

// watchedAgent is an agent as metrics see it; agent.Agent is one.
type watchedAgent interface {
	Status() *controlv1.NodeStatus
	Workloads() []*controlv1.Workload
	Outcomes() map[string]uplink.Outcomes
	Unjudged() []uplink.Unjudged
	Exceeding() []string
}

var (
	_ prometheus.Collector = (*observed)(nil)
	_ watchedAgent         = (*agent.Agent)(nil)
)

// registry holds the process's metrics and those of the Go runtime.
func (o *observed) registry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(o, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// handler answers /metrics, /healthz, /readyz and /livez.
func (o *observed) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.registry(), promhttp.HandlerOpts{}))
	report := func(problem func() string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if p := problem(); p != "" {
				http.Error(w, p, http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "ok")
		}
	}
	mux.HandleFunc("GET /livez", report(func() string { return "" }))
	mux.HandleFunc("GET /readyz", report(o.unready))
	mux.HandleFunc("GET /healthz", report(o.unwell))
	return mux
}

// unready returns the reason why the process does not do its work yet; "" if it does. What is enforced stays
// in force without
// store and controllers: they are no part of it.
func (o *observed) unready() string {
	if o.agent != nil {
		switch s := o.agent.Status(); {
		case !s.State.Ready:
			return "workloads are being attached"
		case s.Policy == 0:
			return "no policy yet"
		}
		return ""
	}
	if o.control() == nil && o.leader() == "" {
		return "this controller is a standby, and there is no leader"
	}
	return ""
}

// unwell returns what is wrong with the process or what it depends on; "" for nothing.
func (o *observed) unwell() string {
	s := &controlv1.StoreState{}
	if o.store != nil {
		s = o.store()
	}
	if o.agent != nil {
		n := o.agent.Status()
		switch {
		case !n.State.Ready:
			return "workloads are being attached"
		case n.Held != nil:
			return fmt.Sprintf("policy %d is held, policy %d of the store is not enforced: %s", n.Held.Version, n.Held.Offered, n.Held.Reason)
		case !n.State.Uplink.Answers:
			return "controller does not answer"
		case !s.Reachable && s.Checked != 0:
			return "store does not answer: " + s.Error
		}
		return cmp.Or(pluginTrouble(n.State.Plugins), strings.Join(o.agent.Exceeding(), "\n"), o.unstored())
	}
	if !s.Reachable {
		return "store does not answer: " + s.Error
	}
	return cmp.Or(o.unready(), o.unstored())
}

// unstored returns the first warning of the controller in this process, and the nodes that hold a policy; "" for
// nothing.
func (o *observed) unstored() string {
	if o.control == nil {
		return ""
	}
	c := o.control()
	for _, text := range c.GetWarnings() {
		return text
	}
	for _, n := range c.GetNodes() {
		if h := n.Held; h != nil {
			return fmt.Sprintf("the agent of node %s holds policy %d: %s", n.Node, h.Version, h.Reason)
		}
	}
	return ""
}

// leader is the name of the leader, "" where none is known.
func (o *observed) leader() string {
	if o.controllers != nil {
		for _, c := range o.controllers() {
			if c.Phase == controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER {
				return c.Name
			}
		}
	}
	return ""
}

// Describe sends nothing: which metrics there are depends on what runs.
func (o *observed) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (o *observed) Collect(ch chan<- prometheus.Metric) {
	s := sink{ch}
	s.info(mBuild, thisBuild().Version, runtime.Version())
	o.collectStore(s)
	if o.control != nil {
		o.collectController(s)
	}
	if o.agent != nil {
		collectAgent(s, o.agent)
	}
}

func (o *observed) collectStore(s sink) {
	if o.store == nil {
		return
	}
	st := o.store()
	s.yes(mStoreUp, st.Reachable)
	s.gauge(mStoreRevision, float64(st.Revision))
	s.info(mStoreInfo, st.Name, st.Leader)
}

// sink is where metrics go.
type sink struct{ ch chan<- prometheus.Metric }

func (s sink) count(f *family, n uint64, labels ...string) { s.send(f, float64(n), labels) }

func (s sink) gauge(f *family, v float64, labels ...string) { s.send(f, v, labels) }

// send sends one value, of the kind that the family has.
func (s sink) send(f *family, v float64, labels []string) {
	kind := prometheus.CounterValue
	if f.Kind == counter.Gauge {
		kind = prometheus.GaugeValue
	}
	s.ch <- prometheus.MustNewConstMetric(f.desc, kind, v, labels...)
}

func (s sink) info(f *family, labels ...string) {
	for i := range labels {
		labels[i] = clean(validText(labels[i]))
	}
	s.gauge(f, 1, labels...)
}

func (s sink) yes(f *family, v bool, labels ...string) {
	n := 0.0
	if v {
		n = 1
	}
	s.gauge(f, n, labels...)
}

// causes sends a counter for each cause.
func (s sink) causes(f *family, m map[string]uint64, labels ...string) {
	for cause, n := range m {
		s.count(f, n, append(labels[:len(labels):len(labels)], cause)...)
	}
}

// stampSeconds is a time in ns since the epoch as Prometheus has it.
func stampSeconds(ns int64) float64 { return float64(ns) / 1e9 }
