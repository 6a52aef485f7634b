package agent

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/internal/backoff"
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

// attacher attaches and detaches the endpoints of one workload. Run's goroutine uses it, for several workloads
// side by side.
type attacher struct {
	cfg     Config
	log     *slog.Logger
	finder  wire.Finder
	policy  *enforcement
	names   *endpointNames
	ids     *endpointIDs
	sockets *socketReader
	sources *sourceReader
}

func newAttacher(cfg Config, policy *enforcement, names *endpointNames, ids *endpointIDs) *attacher {
	return &attacher{cfg: cfg, log: cfg.Logger, finder: wire.Finder{Processes: cfg.Processes}, policy: policy, names: names, ids: ids,
		sockets: &socketReader{cfg.Engine, policy, cfg.Logger}, sources: newSourceReader(cfg)}
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

// attachWanted attaches one endpoint as it is wanted.
func (a *attacher) attachWanted(ctx context.Context, t *tracked, e *endpoint, managed wire.Managed) {
	kind, fail := a.policy.wanted(t.ID)
	if e.iface.Name == loopback {
		kind = backend.Inline // by queue, in every mode
	}
	if e.at.Kind == backend.NoKind && e.choice != a.policy.choice(t) {
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

// detach detaches an endpoint and restores its interface.
func (a *attacher) detach(t *tracked, name string) {
	e := t.endpoints[name]
	if e == nil {
		return
	}
	delete(t.endpoints, name)
	a.sources.drop(e)
	if e.at.Kind == backend.NoKind {
		return
	}
	if err := a.cfg.Engine.Detach(e.id); err != nil {
		a.log.Warn("interface not detached cleanly", "workload", t.ID, "interface", name, "error", err)
	}
	a.names.remove(e.id, time.Now())
}
