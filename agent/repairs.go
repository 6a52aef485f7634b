package agent

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/backend"
)

const (
	repairLog    = 10 * time.Second       // between two log lines of one part
	hookPatience = 300 * time.Millisecond // for the source of a workload to report that it ended
)

// brokenKey is a part that could not be repaired.
type brokenKey struct {
	part, iface string
	endpoint    uint32
}

// repairs counts what other programs changed of the agent's own parts. The agent's loop uses it,
// except for counters.
type repairs struct {
	cfg      Config
	log      *slog.Logger
	up       *uplink.Uplink
	attached *attachments

	broken map[brokenKey]string // sentences for operators
	lines  map[brokenKey]*repairLine

	mu     sync.Mutex
	counts map[string]uint64 // by part; guarded by mu
}

// repairLine is a log line that is not repeated for a while.
type repairLine struct {
	at    time.Time
	count int // of repairs that were not logged
}

func newRepairs(cfg Config, up *uplink.Uplink, attached *attachments) *repairs {
	return &repairs{cfg: cfg, log: cfg.Logger, up: up, attached: attached, broken: map[brokenKey]string{}, lines: map[brokenKey]*repairLine{}, counts: map[string]uint64{}}
}

// repairers returns the backends that watch their parts, with their names.
func (r *repairs) repairers() map[string]backend.Repairer {
	out := map[string]backend.Repairer{}
	for name, be := range map[string]backend.Backend{backend.Inline.String(): r.cfg.Backend, byQueues: r.cfg.Queues} {
		if x, ok := be.(backend.Repairer); ok {
			out[name] = x
		}
	}
	return out
}

// repaired returns the channel of a backend's repairs; nil if it does not watch its parts.
func repaired(be backend.Backend) <-chan struct{} {
	if r, ok := be.(backend.Repairer); ok {
		return r.Repaired()
	}
	return nil
}

// takeRepairs handles what backends found and repaired.
func (r *repairs) takeRepairs() {
	for name, be := range r.repairers() {
		for _, x := range be.TakeRepairs() {
			r.handleRepair(name, &x)
		}
	}
}

// handleRepair counts, logs and reports one repair.
func (r *repairs) handleRepair(be string, x *backend.Repair) {
	t, e := r.attached.endpointByID(x.Endpoint)
	if x.Endpoint != 0 && e == nil {
		return // it was detached
	}
	workload := ""
	if t != nil {
		workload = t.ID
	}
	if errors.Is(x.Err, backend.ErrHookGone) {
		e.gone = time.Now() // the workload may have ended
		return
	}
	k := brokenKey{x.Part, x.Interface, x.Endpoint}
	if x.Err == nil {
		delete(r.broken, k)
	} else {
		where := x.Interface
		if t != nil {
			where = t.Name + "/" + e.iface.Name
		}
		r.broken[k] = fmt.Sprintf("%s of %s was changed by another program (%s) and cannot be repaired: %s", x.Part, cmp.Or(where, be), cmp.Or(x.Detail, "see the reason"), x.Err)
	}
	if x.Detail == "" {
		return // of a change that was reported before
	}
	r.count(x.Part)
	r.logRepair(k, workload, x)
	r.up.Unjudged(uplink.Unjudged{Workload: workload, Interface: x.Interface, Backend: be, Cause: x.Part + uplink.Changed, Dropped: !x.Passed,
		First: x.Sound.UnixNano(), Last: x.At.UnixNano()})
}

// logRepair logs a repair, unless one of the same part was logged a moment ago.
func (r *repairs) logRepair(k brokenKey, workload string, x *backend.Repair) {
	l := r.lines[k]
	now := time.Now()
	if l == nil {
		maps.DeleteFunc(r.lines, func(_ brokenKey, l *repairLine) bool { return now.Sub(l.at) > repairLog })
		l = &repairLine{}
		r.lines[k] = l
	}
	if now.Sub(l.at) < repairLog {
		l.count++
		return
	}
	fields := []any{"part", x.Part, "workload", workload, "interface", x.Interface, "found", x.Detail, "sound", x.Sound.Round(time.Millisecond), "took", x.At.Sub(x.Sound).Round(time.Millisecond)}
	if l.count > 0 {
		fields = append(fields, "unlogged", l.count)
	}
	l.at, l.count = now, 0
	if x.Err != nil {
		r.log.Error("change by another program not repaired", append(fields, "error", x.Err)...)
		return
	}
	r.log.Warn("change by another program repaired", fields...)
}

func (r *repairs) count(part string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[part]++
}

// counters adds the counts by part.
func (r *repairs) counters(to map[string]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, part := range backend.Parts() {
		to["repairs."+part] = r.counts[part]
	}
}

// brokenParts returns sentences about parts that are not repaired, of endpoints that exist.
func (r *repairs) brokenParts() []string {
	var out []string
	for k, text := range r.broken {
		if _, e := r.attached.endpointByID(k.endpoint); k.endpoint != 0 && e == nil {
			delete(r.broken, k)
			continue
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// detachGone detaches the endpoints whose hooks left their namespaces a while ago, and returns when to look
// again; zero for not.
func (r *repairs) detachGone(now time.Time) (next time.Time) {
	for _, t := range r.attached.workloads {
		for _, e := range t.endpoints {
			next = earlier(next, r.hookGone(t, e, now))
		}
	}
	return next
}

// hookGone detaches an endpoint whose hook left its namespace a while ago, so that it is
// attached again where it is now. It returns when to look again; zero for not.
func (r *repairs) hookGone(t *tracked, e *endpoint, now time.Time) time.Time {
	if e.gone.IsZero() {
		return time.Time{}
	}
	if at := e.gone.Add(hookPatience); now.Before(at) {
		return at
	}
	since := e.gone
	e.gone = time.Time{}
	if e.at.Kind != backend.Inline || e.moved {
		return time.Time{}
	}
	r.log.Warn("interface lost", "workload", t.ID, "interface", e.iface.Name, "hook", e.at.Hook.Interface, "reason", backend.ErrHookGone)
	if err := r.cfg.Engine.Detach(e.id); err != nil {
		r.log.Warn("interface not detached cleanly", "workload", t.ID, "interface", e.iface.Name, "error", err)
	}
	e.at, e.planned, e.retry = backend.Endpoint{}, false, time.Time{}
	r.count(backend.PartHook)
	r.up.Unjudged(uplink.Unjudged{Workload: t.ID, Interface: e.iface.Name, Backend: backend.Inline.String(), Cause: backend.PartHook + uplink.Changed,
		First: since.UnixNano(), Last: now.UnixNano()})
	return time.Time{}
}
