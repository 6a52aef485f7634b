package agent

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/policy"
)

const (
	statusEvery = 2 * time.Second
	reportWait  = 2 * time.Second
)

// reporter reports the workloads and the agent's status to the controller: every two seconds, and at
// once after a change. One goroutine runs it.
type reporter struct {
	a    *Agent
	wake chan struct{}

	answers  atomic.Bool  // the controller answered the last report
	reported atomic.Int64 // its last answer, ns since the epoch

	mu        sync.Mutex
	workloads []*controlv1.Workload // nil before all sources are synced
	fresh     bool                  // workloads changed since the last report
	digest    uint64                // of workloads in the last report
	policy    uint64
	errors    map[string]string
	attached  map[string]string
	warnings  []string
}

func newReporter(a *Agent) *reporter { return &reporter{a: a, wake: make(chan struct{}, 1)} }

// publish passes the state of Run's goroutine to the reporter. The policy version is reported only from
// here, when the attachments match that policy.
func (a *Agent) publish() {
	errs, attached := map[string]string{}, map[string]string{}
	list := make([]*controlv1.Workload, 0, len(a.workloads))
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		t := a.workloads[id]
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			e := t.endpoints[name]
			if e.absent {
				continue
			}
			if b := a.backendOf(t, e); b != "" {
				attached[id+"/"+name] = b
			}
			if text := e.wrong(a, id); text != "" && errs[id] == "" && e.at.Kind != backend.Inline {
				errs[id] = text
			}
		}
		m := a.message(t)
		if a.table != nil {
			if p := a.table.Workload(id); p != nil {
				m.Mode = modes[p.Mode()]
			}
		}
		list = append(list, m)
	}
	warnings := a.warnings()
	r := a.report
	r.mu.Lock()
	same := func(a, b *controlv1.Workload) bool { return proto.Equal(a, b) }
	if a.unsynced <= 0 && (r.workloads == nil || !slices.EqualFunc(list, r.workloads, same)) {
		r.workloads, r.fresh = list, true
	}
	if a.unsynced <= 0 && !a.begun && a.hostSettled() {
		a.begun = true
		close(a.ready)
	}
	if a.table != nil {
		r.policy = a.table.Version()
		if e, ok := a.cfg.Engine.(enforcer); ok {
			r.policy = min(r.policy, e.Enforced())
		}
	}
	r.errors, r.attached, r.warnings = errs, attached, warnings
	r.mu.Unlock()
	r.notify()
}

// notify has the status reported soon. It is safe for concurrent use.
func (r *reporter) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// modes maps the modes of core/policy to the API.
var modes = map[policy.Mode]controlv1.Mode{
	policy.Discover: controlv1.Mode_MODE_DISCOVER, policy.Monitor: controlv1.Mode_MODE_MONITOR, policy.Protect: controlv1.Mode_MODE_PROTECT,
}

// wrong returns why an endpoint is not attached as wanted; "" if it is.
func (e *endpoint) wrong(a *Agent, id string) string {
	if kind, _ := a.wanted(id); e.err == "" && kind == backend.Inline && e.planned && e.plans[0].TapOnly {
		return e.plans[0].Note
	}
	return e.err
}

// message returns a workload in the form of the API.
func (a *Agent) message(t *tracked) *controlv1.Workload {
	c := a.choice(t)
	m := &controlv1.Workload{Id: t.ID, Name: t.Name, Namespace: t.Namespace, Service: t.Service, Labels: t.Labels, Image: t.Image, Node: t.Node, Netns: t.NetNS,
		HostNet: t.HostNet, Source: t.Source, Group: t.Group(), Members: t.Members, Choice: cmp.Or(c.backend, policy.AutoBackend), ChosenBy: c.by,
		Note: strings.Join(append(a.workloadNote(t), t.oddLabels()...), "; ")}
	for _, i := range t.Interfaces {
		if i.Name == loopback {
			continue
		}
		p := &controlv1.Interface{Name: i.Name, Index: int32(i.Index), Mac: i.MAC, Kind: i.Kind}
		for _, a := range i.Addresses {
			p.Addresses = append(p.Addresses, a.String())
		}
		for _, a := range i.LinkLocal {
			p.Addresses = append(p.Addresses, netip.PrefixFrom(a, a.BitLen()).String())
		}
		if e := t.endpoints[i.Name]; e != nil {
			a.addEndpoint(t, e, p)
		}
		m.Interfaces = append(m.Interfaces, p)
	}
	if e := t.endpoints[loopback]; e != nil {
		p := &controlv1.Interface{Name: loopback, Index: int32(e.iface.Index), Kind: e.iface.Kind}
		a.addEndpoint(t, e, p)
		m.Interfaces = append(m.Interfaces, p)
	}
	return m
}

// backendOf returns how an endpoint is attached, or the one that judges its frames; "" if it is not.
func (a *Agent) backendOf(t *tracked, e *endpoint) string {
	kind, _ := a.wanted(t.ID)
	if j := t.judge(e, kind); j.at.Kind != backend.NoKind {
		return backendText(&j.at)
	}
	return ""
}

// addEndpoint adds how an endpoint is attached.
func (a *Agent) addEndpoint(t *tracked, e *endpoint, p *controlv1.Interface) {
	p.Note, p.Error = a.why(t, e), e.wrong(a, t.ID)
	p.Backend = a.backendOf(t, e)
	if text := t.insideNote(e); text != "" && p.Note != "" {
		p.Note += "; " + text
	} else if text != "" {
		p.Note = text
	}
	if t.bridges(e) {
		p.Note += "; what a bridge inside passes between it and other interfaces is dropped"
	}
	if e.stays != "" && inStack(&e.at) {
		p.Note += "; decided connections stay in the queue: " + e.stays
	}
}

// noted handles a note of a source for operators.
func (a *Agent) setNote(about, note string) {
	if note == "" {
		delete(a.notes, about)
		return
	}
	a.notes[about] = note
}

// warnings returns sentences about unusable configuration and unavailable datapaths.
func (a *Agent) warnings() []string {
	var out []string
	for _, about := range slices.Sorted(maps.Keys(a.notes)) {
		out = append(out, a.notes[about])
	}
	if len(a.hosted) > 0 {
		out = append(out, fmt.Sprintf("workloads in the host's network, of which there are %d: %s", len(a.hosted), a.host.Note()))
	}
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		t := a.workloads[id]
		for _, text := range t.oddLabels() {
			out = append(out, t.Name+": "+text)
		}
		for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
			e := t.endpoints[name]
			if e.err != "" && e.at.Kind == backend.Inline {
				out = append(out, t.Name+"/"+name+": "+e.err)
			}
			if text := e.movedNote(); text != "" {
				out = append(out, t.Name+": "+text)
			}
		}
	}
	out = append(out, a.twins()...)
	out = append(out, a.brokenParts()...)
	for _, text := range out {
		if !slices.Contains(a.warned, text) {
			a.log.Warn(text)
		}
	}
	a.warned = out
	return out
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
		err := r.sendReport(ctx, away)
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

// report sends workloads, if they changed or again is set, and then status, whose policy version needs the
// workloads.
func (r *reporter) sendReport(ctx context.Context, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	defer cancel()
	r.mu.Lock()
	list, send := r.workloads, (r.fresh || again) && r.workloads != nil
	if r.fresh {
		r.digest = digestOf(list)
	}
	digest := r.digest
	r.fresh = false
	status := &controlv1.ReportStatusRequest{Node: r.a.cfg.Node, Run: r.a.run, Policy: r.policy, WorkloadErrors: r.errors, Attached: r.attached, Warnings: slices.Concat(r.warnings, r.a.outside(r.workloads)),
		Version: r.a.cfg.Version, Started: r.a.started.UnixNano(), WorkloadsDigest: digest, Held: r.a.guard.state()}
	r.mu.Unlock()
	if refused, _ := r.a.tenure.State(); again || refused != nil {
		granted, err := r.a.tenure.Register(ctx)
		if err != nil {
			return r.failed(err)
		}
		if !granted {
			r.resend()
			r.answers.Store(true)
			return nil // it answers, and accepts no report of this agent
		}
	}
	if send {
		req := &controlv1.ReportWorkloadsRequest{Node: r.a.cfg.Node, Run: r.a.run, Workloads: list, NodeAddresses: nodeAddresses(), Digest: digest}
		if _, err := r.a.cfg.Collector.ReportWorkloads(ctx, req); err != nil {
			r.resend()
			r.a.tenure.Refused(ctx, err)
			return r.failed(err)
		}
	}
	stats := r.a.cfg.Engine.Stats()
	status.Counters, status.State = r.a.counters(stats), r.a.state(stats)
	answer, err := r.a.cfg.Collector.ReportStatus(ctx, status)
	if err != nil {
		r.a.tenure.Refused(ctx, err)
		return r.failed(err)
	}
	r.answers.Store(true)
	r.reported.Store(time.Now().UnixNano())
	r.a.tenure.Rivals(answer.Rivals)
	if answer.ResendWorkloads {
		r.a.log.Info("controller requests the list of workloads again")
		r.resend()
	}
	return nil
}

// failed handles a report that the controller did not accept.
func (r *reporter) failed(err error) error {
	r.answers.Store(false)
	return err
}

// resend adds the list of workloads to the next report.
func (r *reporter) resend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = true
}

// digestOf returns a hash of a list, 0 for none. It is compared with hashes of the same agent only.
func digestOf(list []*controlv1.Workload) uint64 {
	h := fnv.New64a()
	for _, w := range list {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(w)
		if err != nil {
			return 0
		}
		fmt.Fprintf(h, "%d:", len(b))
		h.Write(b)
	}
	return h.Sum64() | 1
}

// counters returns the engine's and the uplink's counters.
func (a *Agent) counters(s engine.Stats) map[string]uint64 {
	c := map[string]uint64{}
	maps.Copy(c, s.Counters)
	maps.Copy(c, a.host.Counters())
	for name, n := range a.steered() {
		c["steering."+name] = n
	}
	a.repairs.counters(c)
	u := a.up.Stats()
	maps.Copy(c, u.Counters())
	return c
}

// Counters returns the agent's counters by name. It is safe for concurrent use.
func (a *Agent) Counters() map[string]uint64 { return a.counters(a.cfg.Engine.Stats()) }

// nodeAddresses returns the host's own reachable addresses.
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
