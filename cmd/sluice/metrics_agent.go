package main

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// collectAgent sends what an agent counts.
func collectAgent(s sink, a watchedAgent) {
	n := a.Status()
	st := n.State
	names := workloadNames(a.Workloads())
	for _, w := range a.Workloads() {
		s.info(mWorkload, names(w.Id), w.Id, w.Group, vocab.Text(w.Mode), w.Source)
	}
	s.gauge(mWorkloads, float64(len(a.Workloads())))
	s.gauge(mUnfit, float64(len(n.WorkloadErrors)))
	s.gauge(mPolicy, float64(n.Policy), "enforced")
	s.gauge(mPolicy, float64(n.Wanted), "wanted")
	s.yes(mReady, st.Ready)
	for _, t := range st.Traffic {
		collectTraffic(s, t, names(t.Workload))
	}
	collectOutcomes(s, a, names)
	for _, q := range st.Queues {
		collectQueue(s, q, names(q.Workload))
	}
	for _, p := range st.Plugins {
		collectPlugin(s, p)
	}
	collectUplink(s, st.Uplink, n.Counters)
	collectCounters(s, n.Counters)
}

// workloadNames gives workloads the names that users know, and their ids where two have the same name.
func workloadNames(list []*controlv1.Workload) func(id string) string {
	names, used := map[string]string{}, map[string]int{}
	for _, w := range list {
		used[w.Name]++
	}
	for _, w := range list {
		names[w.Id] = w.Id
		if used[w.Name] == 1 {
			names[w.Id] = w.Name
		}
	}
	return func(id string) string {
		if n, ok := names[id]; ok {
			return validText(n)
		}
		return validText(id)
	}
}

func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "?")
}

func collectTraffic(s sink, t *controlv1.Traffic, workload string) {
	l := []string{workload, t.Interface, t.Backend}
	with := func(more string) []string { return append(l[:3:3], more) }
	s.count(mFrames, t.FramesOut, with("egress")...)
	s.count(mFrames, t.FramesIn, with("ingress")...)
	s.count(mBytes, t.BytesOut, with("egress")...)
	s.count(mBytes, t.BytesIn, with("ingress")...)
	for _, v := range verdicts {
		s.count(mVerdicts, t.Verdicts[v], with(v)...)
	}
	s.causes(mDrops, t.Dropped, l...)
	s.count(mHeld, t.Held, l...)
	s.count(mOpened, t.Opened, l...)
	s.count(mEvicted, t.Evicted, l...)
	s.gauge(mSessions, float64(t.Sessions), l...)
}

// collectOutcomes sends the outcomes of connections, and unjudged frames.
func collectOutcomes(s sink, a watchedAgent, names func(id string) string) {
	counts := a.Outcomes()
	for _, w := range a.Workloads() {
		n := counts[w.Id]
		for o := flow.OutcomeClosed; o <= flow.OutcomeDenied; o++ {
			s.count(mOutcomes, n[o], names(w.Id), o.String())
		}
	}
	type row struct{ workload, backend, cause, dropped string }
	sum := map[row]uint64{}
	for _, u := range a.Unjudged() { // interfaces are added up
		sum[row{names(u.Workload), u.Backend, u.Cause, strconv.FormatBool(u.Dropped)}] += u.Frames
	}
	for r, n := range sum {
		s.count(mUnjudged, n, r.workload, r.backend, r.cause, r.dropped)
	}
}

// verdicts are those that are shown, so that a rate begins at 0.
var verdicts = [...]string{"open", "learn", "allow", "violate", "deny", "pending"}

func collectQueue(s sink, q *controlv1.Queue, workload string) {
	l := []string{workload, q.Interface, q.Backend}
	s.gauge(mDepth, float64(q.Waiting), l...)
	s.gauge(mFill, q.Fill, l...)
	s.gauge(mQueues, float64(q.Queues), l...)
	s.count(mReceived, q.Received, l...)
	s.count(mSent, q.Sent, l...)
	s.causes(mDrops, q.Dropped, l...)
	s.causes(mBypassed, q.Bypassed, l...)
}

// maxError bounds the text of an error in a label.
const maxError = 160

func collectPlugin(s sink, p *controlv1.Plugin) {
	s.yes(mPluginUp, p.Phase == controlv1.PluginPhase_PLUGIN_PHASE_RUNNING, p.Name)
	s.count(mPluginRestarts, p.Restarts, p.Name)
	s.count(mPluginPanics, p.Panics, p.Name)
	s.count(mPluginItems, p.Items, p.Name)
	s.gauge(mPluginApps, float64(p.Protocols), p.Name)
	s.gauge(mPluginStart, stampSeconds(p.Since), p.Name)
	text := validText(p.Error)
	if r := []rune(text); len(r) > maxError {
		text = string(r[:maxError])
	}
	s.info(mPluginInfo, p.Name, p.Path, p.User, vocab.Text(p.Phase), text)
}

func collectUplink(s sink, u *controlv1.Uplink, counters map[string]uint64) {
	s.yes(mAnswers, u.Answers)
	s.info(mLink, u.Controller)
	s.gauge(mLastReport, stampSeconds(u.LastReport))
	s.gauge(mBacklog, float64(u.Backlog))
	s.count(mUplinkSent, u.Sent)
	s.count(mRetries, u.Retries)
	lost := maps.Clone(u.Dropped)
	if lost == nil {
		lost = map[string]uint64{}
	}
	lost["outbox_full"] = counters["engine.reports_lost"]
	lost["sockets_full"] = counters["hostmode.records_dropped"]
	s.causes(mLost, lost)
}

// collectCounters sends the other counters, over everything, as `sluice status --counters` shows them.
func collectCounters(s sink, counters map[string]uint64) {
	s.send(mPluginWait, float64(counters["plugin.latency_us_sum"])/1e6, nil)
	s.gauge(mPluginWaitMax, float64(counters["plugin.latency_us_max"])/1e6)
	var sums familySet
	for _, k := range slices.Sorted(maps.Keys(counters)) {
		if d, ok := counter.Lookup(k); ok && !d.Hidden {
			s.count(sums.add(d), counters[k])
		}
	}
}
