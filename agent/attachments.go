package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/sluicenet/sluice/agent/wire"
	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/netns"
)

// tracked is one existing workload, with what is attached for it.
type tracked struct {
	workload.Workload
	endpoints map[string]*endpoint // by interface name
	mesh      wire.Mesh            // traffic redirected to a sidecar, over lo
	sockets   *role.Sockets        // as the engine has them; nil before the first reading
	open      openSockets          // connections that its sockets hold open
}

// attachments are all workloads with their endpoints. They belong to Run's goroutine.
type attachments struct {
	attacher *attacher
	log      *slog.Logger
	ended    func(id string) // drops the counters of an ended workload

	workloads map[string]*tracked
	leaving   []leaving
}

func newAttachments(cfg Config, policy *enforcement, names *endpointNames, ended func(id string)) *attachments {
	a := &attachments{log: cfg.Logger, ended: ended, workloads: map[string]*tracked{}}
	a.attacher = newAttacher(cfg, policy, names, newEndpointIDs(a.used))
	return a
}

// used returns the numbers of all endpoints.
func (a *attachments) used() map[uint32]bool {
	used := map[uint32]bool{}
	for _, t := range a.workloads {
		for _, e := range t.endpoints {
			used[e.id] = true
		}
	}
	return used
}

// attachAll attaches every interface as the policy requires, and returns the time of the next attempt for those
// that failed; zero for none.
func (a *attachments) attachAll(ctx context.Context, managed wire.Managed, now time.Time) (next time.Time) {
	ids := a.inOrder()
	sideBySide(ids, func(id string) { a.attachWorkload(ctx, a.workloads[id], managed, now) })
	if ctx.Err() != nil {
		return time.Time{}
	}
	for _, id := range ids {
		for _, e := range a.workloads[id].endpoints {
			if e.err != "" {
				next = earlier(next, e.retry)
			}
		}
	}
	return next
}

// earlier returns the earlier one of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// retryAll makes the next attachAll try again what failed.
func (a *attachments) retryAll() {
	for _, w := range a.workloads {
		for _, e := range w.endpoints {
			e.retry = time.Time{}
		}
	}
}

// attachWorkload attaches the interfaces of a workload. It runs beside those of other workloads, and changes
// nothing that these share but ids.
func (a *attachments) attachWorkload(ctx context.Context, t *tracked, managed wire.Managed, now time.Time) {
	for _, e := range t.belowFirst() {
		if ctx.Err() != nil {
			return
		}
		if e.err == "" || !now.Before(e.retry) {
			a.attacher.attachWanted(ctx, t, e, managed)
		}
	}
	a.attacher.updateQueues(ctx, t)
}

// inOrder returns the workloads by id, enforced ones first, because their traffic passes until they are attached.
func (a *attachments) inOrder() []string {
	ids := slices.Sorted(maps.Keys(a.workloads))
	rank := make(map[string]int, len(ids))
	for _, id := range ids {
		if kind, _ := a.attacher.policy.wanted(id); kind != backend.Inline {
			rank[id] = 1
		}
	}
	slices.SortStableFunc(ids, func(x, y string) int { return rank[x] - rank[y] })
	return ids
}

// managed returns the namespaces that are workloads. The host's is not, although workloads run in it.
func (a *attachments) managed() wire.Managed {
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

// markLost marks an endpoint as detached: reconcile attaches it again.
func (a *attachments) markLost(id uint32) {
	for _, t := range a.workloads {
		for name, e := range t.endpoints {
			if e.id == id && e.at.Kind != backend.NoKind {
				a.log.Warn("interface lost", "workload", t.ID, "interface", name, "kind", e.at.Kind)
				e.at, e.planned = backend.Endpoint{}, false
			}
		}
	}
}

// dropAbsent detaches endpoints without an interface whose queues are no longer wanted.
func (a *attachments) dropAbsent() {
	for _, t := range a.workloads {
		a.attacher.dropAbsent(t)
	}
}

// endpointByID returns an endpoint and its workload.
func (a *attachments) endpointByID(id uint32) (*tracked, *endpoint) {
	if id == 0 {
		return nil, nil
	}
	for _, t := range a.workloads {
		for _, e := range t.endpoints {
			if e.id == id {
				return t, e
			}
		}
	}
	return nil, nil
}

// readSockets reads the sockets of every workload, and detects sidecars; it reports whether one appeared or
// disappeared.
func (a *attachments) readSockets() (changed bool) {
	for _, t := range a.workloads {
		if len(t.endpoints) > 0 {
			a.attacher.sockets.refresh(t)
			a.attacher.sockets.refreshOpen(t)
		}
		before := t.mesh
		a.attacher.detectSidecar(t)
		changed = changed || t.mesh != before
	}
	return changed
}

// twins returns sentences about addresses that workloads of several groups have.
func (a *attachments) twins() (out []string) {
	first := map[netip.Addr]*tracked{}
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		t := a.workloads[id]
		for _, p := range t.guest().Addresses {
			other := first[p.Addr()]
			switch {
			case other == nil:
				first[p.Addr()] = t
			case other.Group() != t.Group():
				out = append(out, fmt.Sprintf("workloads %s and %s both have the address %s: a connection with it needs rules for both", other.Name, t.Name, p.Addr()))
			}
		}
	}
	return out
}
