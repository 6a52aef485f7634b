package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/backoff"
	"github.com/sluicenet/sluice/internal/netns"
)

// endpoint is one interface of a workload and how it is attached.
type endpoint struct {
	id    uint32
	iface workload.Interface
	// plans are the possible datapaths, the best first; valid once planned, for a choice.
	plans   []wire.Plan
	planned bool
	choice  choice
	// at is the endpoint as the engine has it; its Kind is NoKind while it is not attached.
	at backend.Endpoint
	// stays is the reason why decided connections stay in its queue; "" if they leave it.
	stays string
	// err is the reason why it is not attached as wanted; the next attempt is at retry.
	err   string
	retry time.Time
	// moved reports whether its interface is in another namespace than the workload's.
	moved bool
	// absent reports whether its interface is gone, and its queues take the packets of others.
	absent bool
	again  backoff.Backoff
	// gone is when its hook was found to be gone from its namespace; zero while it is there.
	gone time.Time
	// sources are the addresses of its workload, as the engine has them; nil before the first.
	sources *own.List
}

const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 30 * time.Second
)

// apply applies a policy. The attachments follow in reconcile: until then the
// engine reports what it would deny.
func (a *Agent) apply(t *policy.Table) {
	a.base = t
	a.adopt()
	for _, w := range a.workloads {
		for _, e := range w.endpoints {
			e.retry = time.Time{} // what failed may no longer be wanted
		}
	}
}

// reconcile attaches every interface as the policy requires, and returns the time of the next attempt
// for those that failed; zero for none.
func (a *Agent) reconcile(ctx context.Context) time.Time {
	a.watchHost()
	managed := a.managed()
	now := time.Now()
	next := a.detachExpired(now)
	ids := a.inOrder()
	for _, id := range ids {
		a.dropAbsent(a.workloads[id])
		for _, e := range a.workloads[id].endpoints {
			if at := a.hookGone(a.workloads[id], e, now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	sideBySide(ids, func(id string) { a.reconcileOne(ctx, a.workloads[id], managed, now) })
	if ctx.Err() != nil {
		return time.Time{}
	}
	for _, id := range ids {
		for _, e := range a.workloads[id].endpoints {
			if e.err != "" && (next.IsZero() || e.retry.Before(next)) {
				next = e.retry
			}
		}
	}
	return next
}

// reconcileOne attaches the interfaces of a workload. It runs beside those of other workloads, and changes
// nothing of the Agent's own but ids.
func (a *Agent) reconcileOne(ctx context.Context, t *tracked, managed wire.Managed, now time.Time) {
	for _, e := range t.belowFirst() {
		if ctx.Err() != nil {
			return
		}
		if e.err == "" || !now.Before(e.retry) {
			a.attachWanted(ctx, t, e, managed)
		}
	}
	a.updateQueues(ctx, t)
}

// belowFirst returns the endpoints by name, those that carry others first, those without a MAC address, which
// queues enforce, last.
func (t *tracked) belowFirst() []*endpoint {
	out := make([]*endpoint, 0, len(t.endpoints))
	for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
		out = append(out, t.endpoints[name])
	}
	rank := func(e *endpoint) int {
		switch {
		case e.iface.MAC == "" && !e.absent:
			return 2
		case e.iface.Inner != "":
			return 1
		}
		return 0
	}
	slices.SortStableFunc(out, func(a, b *endpoint) int { return rank(a) - rank(b) })
	return out
}

// inOrder returns the workloads by id, enforced ones first, because their traffic passes until they are attached.
func (a *Agent) inOrder() []string {
	ids := slices.Sorted(maps.Keys(a.workloads))
	rank := make(map[string]int, len(ids))
	for _, id := range ids {
		if kind, _ := a.wanted(id); kind != backend.Inline {
			rank[id] = 1
		}
	}
	slices.SortStableFunc(ids, func(x, y string) int { return rank[x] - rank[y] })
	return ids
}

// managed returns the namespaces that are workloads. The host's is not, although workloads run in it.
func (a *Agent) managed() wire.Managed {
	m := wire.Managed{}
	for _, t := range a.workloads {
		if t.HostNet {
			continue
		}
		if id, err := netns.Identity(t.NetNS); err == nil {
			m[id] = t.Name
		}
	}
	return m
}

// attachWanted attaches one endpoint as it is wanted.
func (a *Agent) attachWanted(ctx context.Context, t *tracked, e *endpoint, managed wire.Managed) {
	kind, fail := a.wanted(t.ID)
	if e.iface.Name == loopback {
		kind = backend.Inline // by queue, in every mode
	}
	if e.at.Kind == backend.NoKind && e.choice != a.choice(t) {
		e.planned = false
	}
	if a.elsewhere(t, e, kind) {
		return
	}
	err := a.plan(t, e, kind, managed)
	if err == nil {
		if a.elsewhere(t, e, kind) {
			return
		}
		err = a.attach(ctx, t, e, kind, fail)
	}
	if err == nil {
		e.err, e.retry = "", time.Time{}
		e.again.Reset()
		return
	}
	if errors.Is(err, context.Canceled) {
		return
	}
	if e.at.Kind == backend.NoKind && kind == backend.Inline && e.planned && e.iface.Name != loopback {
		// Traffic that cannot be enforced can still be reported.
		if terr := a.attach(ctx, t, e, backend.Tap, fail); terr != nil {
			a.log.Warn("interface tapped instead of enforced", "workload", t.ID, "interface", e.iface.Name, "error", terr)
		}
	}
	e.again.First, e.again.Last = firstRetry, lastRetry
	wait := e.again.Next()
	e.retry = time.Now().Add(wait)
	if text := sentence(err, kind, &e.at); e.err != text {
		e.err = text
		a.log.Warn("interface not attached as wanted", "workload", t.ID, "interface", e.iface.Name, "kind", kind, "attached", backendText(&e.at), "retry", wait, "error", err)
	}
}

// wanted returns how a workload's interfaces are to be attached.
func (a *Agent) wanted(id string) (backend.Kind, backend.FailMode) {
	var w *policy.Workload
	if a.table != nil {
		w = a.table.Workload(id)
	}
	fail := backend.FailOpen
	if w != nil && w.FailClosed() {
		fail = backend.FailClosed
	}
	if w != nil && (w.Mode() == policy.Protect || w.Quarantined()) {
		return backend.Inline, fail
	}
	return backend.Tap, fail
}

// detach detaches an endpoint and restores its interface.
func (a *Agent) detach(t *tracked, name string) {
	e := t.endpoints[name]
	if e == nil {
		return
	}
	delete(t.endpoints, name)
	a.dropSources(e)
	if e.at.Kind == backend.NoKind {
		return
	}
	if err := a.cfg.Engine.Detach(e.id); err != nil {
		a.log.Warn("interface not detached cleanly", "workload", t.ID, "interface", name, "error", err)
	}
	a.names.remove(e.id, time.Now())
}

// endpointNames maps endpoints to workloads, also for a while after their end, when their last records arrive.
type endpointNames struct {
	mu   sync.RWMutex
	ids  map[uint32]string    // guarded by mu
	gone map[uint32]time.Time // guarded by mu
}

const nameKept = 10 * time.Second

func newEndpointNames() *endpointNames {
	return &endpointNames{ids: map[uint32]string{}, gone: map[uint32]time.Time{}}
}

func (n *endpointNames) workload(id uint32) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.ids[id]
}

func (n *endpointNames) add(id uint32, workload string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ids[id] = workload
	delete(n.gone, id)
}

func (n *endpointNames) remove(id uint32, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone[id] = now
}

func (n *endpointNames) sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, since := range n.gone {
		if now.Sub(since) > nameKept {
			delete(n.gone, id)
			delete(n.ids, id)
		}
	}
}
