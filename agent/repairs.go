package agent

import (
	"cmp"
	"errors"
	"fmt"
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

func newRepairs() *repairs {
	return &repairs{broken: map[brokenKey]string{}, lines: map[brokenKey]*repairLine{}, counts: map[string]uint64{}}
}

// repairers returns the backends that watch their parts, with their names.
func (a *Agent) repairers() map[string]backend.Repairer {
	out := map[string]backend.Repairer{}
	for name, be := range map[string]backend.Backend{backend.Inline.String(): a.cfg.Backend, byQueues: a.cfg.Queues} {
		if r, ok := be.(backend.Repairer); ok {
			out[name] = r
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
func (a *Agent) takeRepairs() {
	for name, r := range a.repairers() {
		for _, x := range r.TakeRepairs() {
			a.handleRepair(name, &x)
		}
	}
}

// handleRepair counts, logs and reports one repair.
func (a *Agent) handleRepair(be string, x *backend.Repair) {
	t, e := a.endpointByID(x.Endpoint)
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
		delete(a.repairs.broken, k)
	} else {
		where := x.Interface
		if t != nil {
			where = t.Name + "/" + e.iface.Name
		}
		a.repairs.broken[k] = fmt.Sprintf("%s of %s was changed by another program (%s) and cannot be repaired: %s", x.Part, cmp.Or(where, be), cmp.Or(x.Detail, "see the reason"), x.Err)
	}
	if x.Detail == "" {
		return // of a change that was reported before
	}
	a.repairs.count(x.Part)
	a.logRepair(k, workload, x)
	a.up.Unjudged(uplink.Unjudged{Workload: workload, Interface: x.Interface, Backend: be, Cause: x.Part + uplink.Changed, Dropped: !x.Passed,
		First: x.Sound.UnixNano(), Last: x.At.UnixNano()})
}

// logRepair logs a repair, unless one of the same part was logged a moment ago.
func (a *Agent) logRepair(k brokenKey, workload string, x *backend.Repair) {
	l := a.repairs.lines[k]
	now := time.Now()
	if l == nil {
		maps.DeleteFunc(a.repairs.lines, func(_ brokenKey, l *repairLine) bool { return now.Sub(l.at) > repairLog })
		l = &repairLine{}
		a.repairs.lines[k] = l
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
		a.log.Error("change by another program not repaired", append(fields, "error", x.Err)...)
		return
	}
	a.log.Warn("change by another program repaired", fields...)
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
func (a *Agent) brokenParts() []string {
	var out []string
	for k, text := range a.repairs.broken {
		if _, e := a.endpointByID(k.endpoint); k.endpoint != 0 && e == nil {
			delete(a.repairs.broken, k)
			continue
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// endpointByID returns an endpoint and its workload.
func (a *Agent) endpointByID(id uint32) (*tracked, *endpoint) {
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

// hookGone detaches an endpoint whose hook left its namespace a while ago, so that it is
// attached again where it is now. It returns when to look again; zero for not.
func (a *Agent) hookGone(t *tracked, e *endpoint, now time.Time) time.Time {
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
	a.log.Warn("interface lost", "workload", t.ID, "interface", e.iface.Name, "hook", e.at.Hook.Interface, "reason", backend.ErrHookGone)
	if err := a.cfg.Engine.Detach(e.id); err != nil {
		a.log.Warn("interface not detached cleanly", "workload", t.ID, "interface", e.iface.Name, "error", err)
	}
	e.at, e.planned, e.retry = backend.Endpoint{}, false, time.Time{}
	a.repairs.count(backend.PartHook)
	a.up.Unjudged(uplink.Unjudged{Workload: t.ID, Interface: e.iface.Name, Backend: backend.Inline.String(), Cause: backend.PartHook + uplink.Changed,
		First: since.UnixNano(), Last: now.UnixNano()})
	return time.Time{}
}
