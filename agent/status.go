package agent

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
)

const (
	statusEvery = 2 * time.Second
	reportWait  = 2 * time.Second
)

// reporter tells the controller which workloads there are and how the agent is: every two
// seconds, and at once when something changed. One goroutine runs it.
type reporter struct {
	a    *Agent
	wake chan struct{}

	answers atomic.Bool  // the controller did, the last time
	told    atomic.Int64 // when it did last, ns since the epoch

	mu        sync.Mutex
	workloads []*controlv1.Workload // nil before all sources are synced
	fresh     bool                  // workloads changed since they were told
	policy    uint64
	errors    map[string]string
	attached  map[string]string
}

func newReporter(a *Agent) *reporter { return &reporter{a: a, wake: make(chan struct{}, 1)} }

// publish gives the reporter what Run's goroutine knows now. The policy version is told only from
// here, when the attachments are as that policy wants them.
func (a *Agent) publish() {
	errs, attached := map[string]string{}, map[string]string{}
	list := make([]*controlv1.Workload, 0, len(a.workloads))
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		t := a.workloads[id]
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			e := t.endpoints[name]
			if e.at.Kind != backend.NoKind {
				attached[id+"/"+name] = shown(&e.at)
			}
			text := e.err
			if kind, _ := a.wanted(id); text == "" && kind == backend.Inline && e.plan.TapOnly {
				text = e.plan.Note
			}
			if text != "" && errs[id] == "" {
				errs[id] = text
			}
		}
		m := t.message()
		m.Note = a.note(t)
		list = append(list, m)
	}
	r := a.report
	r.mu.Lock()
	same := func(a, b *controlv1.Workload) bool { return proto.Equal(a, b) }
	if a.unsynced <= 0 && (r.workloads == nil || !slices.EqualFunc(list, r.workloads, same)) {
		if r.workloads == nil {
			close(a.ready)
		}
		r.workloads, r.fresh = list, true
	}
	if a.table != nil {
		r.policy = a.table.Version()
	}
	r.errors, r.attached = errs, attached
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// message is a workload as the controller takes it.
func (t *tracked) message() *controlv1.Workload {
	m := &controlv1.Workload{Id: t.ID, Name: t.Name, Namespace: t.Namespace, Service: t.Service, Labels: t.Labels, Image: t.Image, Node: t.Node, Netns: t.NetNS,
		HostNet: t.HostNet, Source: t.Source, Group: t.Group(), Members: t.Members}
	for _, i := range t.Interfaces {
		if i.Name == loopback {
			continue
		}
		p := &controlv1.Interface{Name: i.Name, Index: int32(i.Index), Mac: i.MAC, Kind: i.Kind}
		for _, a := range i.Addresses {
			p.Addresses = append(p.Addresses, a.String())
		}
		if e := t.endpoints[i.Name]; e != nil {
			p.Note = e.plan.Note
			if e.err != "" {
				p.Note = e.err
			}
			if e.at.Kind != backend.NoKind {
				p.Backend = shown(&e.at)
			}
		}
		m.Interfaces = append(m.Interfaces, p)
	}
	if e := t.endpoints[loopback]; e != nil && e.at.Kind != backend.NoKind {
		m.Interfaces = append(m.Interfaces, &controlv1.Interface{Name: loopback, Index: int32(e.iface.Index), Kind: e.iface.Kind, Backend: shown(&e.at), Note: e.plan.Note})
	}
	return m
}

func (r *reporter) run(ctx context.Context) {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-tick.C:
		}
		err := r.tell(ctx, away)
		switch {
		case ctx.Err() != nil:
		case err != nil && !away:
			r.a.log.Warn("controller does not answer", "error", err)
		case err == nil && away:
			r.a.log.Info("controller answers again")
		}
		away = err != nil
	}
}

// tell sends workloads, when they changed or with again, and then status, whose policy version
// is only worth something to those who know the workloads.
func (r *reporter) tell(ctx context.Context, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	r.mu.Lock()
	list, send := r.workloads, (r.fresh || again) && r.workloads != nil
	r.fresh = false
	status := &controlv1.ReportStatusRequest{Node: r.a.cfg.Node, Boot: r.a.boot, Policy: r.policy, WorkloadErrors: r.errors, Attached: r.attached,
		Version: r.a.cfg.Version, Started: r.a.started.UnixNano()}
	r.mu.Unlock()
	if send {
		req := &controlv1.ReportWorkloadsRequest{Node: r.a.cfg.Node, Workloads: list, NodeAddresses: nodeAddresses()}
		if _, err := r.a.cfg.Collector.ReportWorkloads(ctx, req); err != nil {
			r.mu.Lock()
			r.fresh = true
			r.mu.Unlock()
			return err
		}
	}
	stats := r.a.cfg.Engine.Stats()
	status.Counters, status.State = r.a.counters(stats), r.a.state(stats)
	_, err := r.a.cfg.Collector.ReportStatus(ctx, status)
	if r.answers.Store(err == nil); err == nil {
		r.told.Store(time.Now().UnixNano())
	}
	return err
}

// counters are the engine's and the uplink's.
func (a *Agent) counters(s engine.Stats) map[string]uint64 {
	c := map[string]uint64{}
	maps.Copy(c, s.Counters)
	maps.Copy(c, a.host.Counters())
	for name, n := range a.steered() {
		c["steering."+name] = n
	}
	u := a.up.Stats()
	c["uplink.records"], c["uplink.sent"], c["uplink.requests"], c["uplink.retries"], c["uplink.dropped"] = u.Records, u.Sent, u.Requests, u.Retries, u.Dropped
	return c
}

// Counters may be called from any goroutine.
func (a *Agent) Counters() map[string]uint64 { return a.counters(a.cfg.Engine.Stats()) }

// nodeAddresses are the host's own addresses that others can reach.
func nodeAddresses() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		out = append(out, p.Addr().Unmap().String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}
