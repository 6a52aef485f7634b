package agent

import (
	"maps"
	"slices"

	"github.com/sluicenet/sluice/agent/uplink"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/plugins/host"
)

// Outlook is the status of parts that the agent does not run, for status and metrics. Each function
// may be nil and must be safe for concurrent use.
type Outlook struct {
	Plugins func() []host.Status
	// Warnings returns the warnings of parts that the agent does not run, plugins among them.
	Warnings func() []string
	Store    func() *controlv1.StoreState
	// Controller returns the address of the controller in use.
	Controller func() string
	// Parsers returns where protocols are parsed.
	Parsers string
}

// state returns everything that changes while the agent runs. It is safe for concurrent use.
func (a *Agent) state(s engine.Stats) *controlv1.AgentState {
	o := &a.cfg.Outlook
	out := &controlv1.AgentState{Parsers: o.Parsers, Traffic: a.hosts.traffic.list(), Uplink: a.link()}
	for i := range s.Traffic {
		out.Traffic = append(out.Traffic, traffic(&s.Traffic[i]))
	}
	n := steered(a.cfg.Backend)
	for i := range s.Queues {
		q := queue(&s.Queues[i])
		if q.Backend == backend.Inline.String() {
			steering(q, n)
		}
		out.Queues = append(out.Queues, q)
	}
	if o.Plugins != nil {
		for _, p := range o.Plugins() {
			out.Plugins = append(out.Plugins, plugin(&p))
		}
	}
	if o.Store != nil {
		out.Store = o.Store()
	}
	r := a.report
	r.mu.Lock()
	out.PolicyWanted = max(r.policy, a.seen.Load())
	r.mu.Unlock()
	if h := a.guard.state(); h != nil {
		out.PolicyWanted = h.Offered
	}
	select {
	case <-a.begin.ready:
		out.Ready = true
	default:
	}
	return out
}

// Status returns the agent's status. It is safe for concurrent use.
func (a *Agent) Status() *controlv1.NodeStatus {
	r := a.report
	stats := a.cfg.Engine.Stats()
	n := &controlv1.NodeStatus{Node: a.cfg.Node, Started: a.started.UnixNano(), Version: a.cfg.Version, Counters: a.counters(stats), State: a.state(stats)}
	r.mu.Lock()
	defer r.mu.Unlock()
	n.Policy, n.WorkloadErrors, n.Warnings = r.policy, maps.Clone(r.errors), slices.Concat(r.warnings, a.outside(r.workloads))
	n.Wanted, n.Held = n.State.PolicyWanted, a.guard.state()
	n.Phase = controlv1.AgentPhase_AGENT_PHASE_OWNER
	refused, rivals := a.tenure.State()
	if n.Rivals = rivals; refused != nil {
		n.Phase, n.Owner = controlv1.AgentPhase_AGENT_PHASE_REFUSED, refused
	}
	return n
}

// outside returns the warnings of parts that the agent does not run. list is what was reported last. It is safe for concurrent use.
func (a *Agent) outside(list []*controlv1.Workload) []string {
	out := a.tenure.Warnings()
	if h := a.guard.state(); h != nil {
		out = append(out, heldText(h))
	}
	if text := a.kept.warning(); text != "" {
		out = append(out, text)
	}
	out = append(out, a.unjudged.exceedingNow(list)...)
	if a.cfg.Outlook.Warnings != nil {
		out = append(out, a.cfg.Outlook.Warnings()...)
	}
	return out
}

// Workloads returns the workloads that the agent has reported, or is about to report.
func (a *Agent) Workloads() []*controlv1.Workload {
	a.report.mu.Lock()
	defer a.report.mu.Unlock()
	return a.report.workloads
}

// Unjudged returns all frames since the agent's start that passed or were dropped without a verdict,
// workloads by their ids. It may be called from any goroutine.
func (a *Agent) Unjudged() []uplink.Unjudged { return a.up.UnjudgedTotals() }

// Outcomes returns the number of ended sessions of each workload, by outcome; workloads by their ids.
// It is safe for concurrent use.
func (a *Agent) Outcomes() map[string]uplink.Outcomes { return a.up.Outcomes() }

// link returns the state of the connection to the controllers.
func (a *Agent) link() *controlv1.Uplink {
	s := a.up.Stats()
	l := &controlv1.Uplink{Backlog: s.Backlog, Sent: s.Sent, Retries: s.Retries, Dropped: s.Lost, LastReport: max(s.Acknowledged, a.report.reported.Load()), Answers: a.report.answers.Load()}
	if a.cfg.Outlook.Controller != nil {
		l.Controller = a.cfg.Outlook.Controller()
	}
	return l
}

func traffic(t *engine.Traffic) *controlv1.Traffic {
	return &controlv1.Traffic{Workload: t.Workload, Interface: t.Interface, Backend: t.Backend,
		FramesOut: t.Frames[packet.Egress], FramesIn: t.Frames[packet.Ingress] + t.Frames[packet.NoDirection],
		BytesOut: t.Bytes[packet.Egress], BytesIn: t.Bytes[packet.Ingress] + t.Bytes[packet.NoDirection],
		Dropped: t.Dropped, Held: t.Held, Verdicts: t.Verdicts, Opened: t.Opened, Sessions: t.Sessions, Evicted: t.Evicted}
}

// queue returns losses by what was full: a ring, the socket of a netfilter queue, or that queue.
func queue(q *engine.QueueStats) *controlv1.Queue {
	full := "ring_full"
	if q.Backend == byQueues {
		full = "socket_full"
	}
	out := &controlv1.Queue{Backend: q.Backend, Workload: q.Workload, Interface: q.Interface, Queues: uint32(q.Queues), Received: q.Received, Sent: q.Sent,
		Waiting: q.Waiting, Fill: q.Fill, Dropped: map[string]uint64{full: q.Dropped}, Bypassed: map[string]uint64{}}
	if q.Backend == backend.Tap.String() {
		return out // it sends nothing
	}
	out.Dropped["send_failed"] = q.SendDrop
	if q.Backend == byQueues {
		out.Dropped["queue_full"], out.Bypassed[full] = q.Full, q.Bypassed
	} else {
		out.Dropped["oversize"] = q.Oversize
	}
	return out
}

// steering adds the frames that the steering programs handled without the engine.
func steering(q *controlv1.Queue, n map[string]uint64) {
	if n == nil {
		return
	}
	q.Bypassed["no_heartbeat"], q.Dropped["no_heartbeat"] = n["bypassed"], n["stopped"]
	q.Dropped[backend.Flood], q.Dropped[backend.RingShare] = n["flooded"], n["crowded"]
	q.Dropped["forged"], q.Dropped["unknown"] = n["forged"]+n["spoofed"], n["unknown"]
}

// steered returns the counters of a backend's steering programs; nil if unavailable.
func steered(be backend.Backend) map[string]uint64 {
	k, ok := be.(interface {
		Counters() (map[string]uint64, error)
	})
	if !ok {
		return nil
	}
	n, err := k.Counters()
	if err != nil {
		return nil
	}
	return n
}

// pluginPhases is a table.
var pluginPhases = map[host.State]controlv1.PluginPhase{host.Starting: controlv1.PluginPhase_PLUGIN_PHASE_STARTING, host.Running: controlv1.PluginPhase_PLUGIN_PHASE_RUNNING,
	host.Restarting: controlv1.PluginPhase_PLUGIN_PHASE_RESTARTING, host.Failed: controlv1.PluginPhase_PLUGIN_PHASE_FAILED, host.Refused: controlv1.PluginPhase_PLUGIN_PHASE_REFUSED}

func plugin(p *host.Status) *controlv1.Plugin {
	out := &controlv1.Plugin{Name: p.Name, Path: p.Path, User: p.User, Pid: uint32(p.PID), Phase: pluginPhases[p.State], Restarts: p.Restarts, Items: p.Items,
		Error: p.Last, Protocols: uint32(len(p.Apps)), Panics: p.Panics, Apps: p.Apps, Warning: p.Warning, Away: p.Away}
	if !p.Since.IsZero() {
		out.Since = p.Since.UnixNano()
	}
	return out
}

// uncount drops the counters of an ended workload.
func (a *Agent) uncount(id string) {
	a.hosts.traffic.forget(id)
	a.up.ForgetOutcomes(id)
	if f, ok := a.cfg.Engine.(interface{ Forget(workload string) }); ok {
		f.Forget(id)
	}
}
