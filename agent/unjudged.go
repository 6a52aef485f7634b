package agent

import (
	"context"
	"sync"
	"time"

	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
)

// Causes of frames without a verdict, beside those of core/backend.
const (
	socketFull = "socket_full"
	queueFull  = "queue_full"
	tableFull  = "table_full"
	unready    = "unready"  // the workload's policy had not arrived
	noPlugin   = "plugin"   // parsers were away
	detached   = "detached" // the interface could not be attached inline
)

const (
	unjudgedEvery = time.Second      // between two readings of the counters
	unjudgedLog   = 10 * time.Second // between two log lines of one workload and cause
)

// ifaceKey names an interface of a workload and how it is attached.
type ifaceKey struct{ workload, iface, backend string }

// lastCounts are the counters of one interface at the last reading.
type lastCounts struct {
	queue   backend.Stats
	traffic engine.Traffic
}

// lossWindow is when frames of an endpoint were lost, ns since the epoch.
type lossWindow struct{ first, last int64 }

// logLine is a warning that is not repeated for a while.
type logLine struct {
	at                        time.Time
	frames                    uint64
	workload, backend, reason string
	dropped                   bool
}

// unjudgedWatch reads the dataplane's counters of frames without a verdict and reports the differences
// as rows of the uplink and as log lines. It also marks records of sessions during which frames of
// their interface were lost.
type unjudgedWatch struct {
	a     *Agent
	first time.Time // of the next reading's period

	mu       sync.Mutex // guards what follows
	last     map[ifaceKey]lastCounts
	lines    map[string]*logLine
	lost     map[uint32]lossWindow // by endpoint
	ids      map[ifaceKey]uint32   // endpoints by workload and interface; backend is ""
	names    map[uint32]ifaceKey   // the reverse
	degraded map[ifaceKey]bool     // tapped although they are to be enforced; backend is ""
	inline   int                   // interfaces that are enforced
	over     map[shareKey]*excess
	beat     *beatFile
}

func newUnjudgedWatch(a *Agent) *unjudgedWatch {
	return &unjudgedWatch{a: a, first: time.Now(), last: map[ifaceKey]lastCounts{}, lines: map[string]*logLine{}, lost: map[uint32]lossWindow{},
		ids: map[ifaceKey]uint32{}, names: map[uint32]ifaceKey{}, degraded: map[ifaceKey]bool{}, over: map[shareKey]*excess{}, beat: newBeatFile(a.cfg.Data, a.cfg.Node)}
}

// run reads the counters until ctx ends. Run collects the rest.
func (w *unjudgedWatch) run(ctx context.Context) {
	tick := time.NewTicker(unjudgedEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			w.collect(time.Now())
		case <-ctx.Done():
		}
	}
}

// attachments sets how the agent's interfaces are attached. The agent's loop calls it.
func (w *unjudgedWatch) attachments(a *attachments) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.degraded)
	w.inline = 0
	for id, t := range a.workloads {
		kind, _ := a.attacher.policy.wanted(id)
		for name, e := range t.endpoints {
			k := ifaceKey{workload: id, iface: name}
			w.ids[k], w.names[e.id] = e.id, k
			if e.at.Kind == backend.Inline {
				w.inline++
			} else if kind == backend.Inline && e.err != "" {
				w.degraded[k] = true
			}
		}
	}
	if len(w.names) > maxEndpointNames {
		clear(w.names) // of ended workloads
		clear(w.ids)
		clear(w.lost)
	}
}

// maxEndpointNames bounds the endpoints in names; existing ones are added again.
const maxEndpointNames = 100_000

// collect reads the counters and reports the differences.
func (w *unjudgedWatch) collect(now time.Time) {
	st := w.a.cfg.Engine.Stats()
	rings, queues := takeUnjudged(w.a.cfg.Backend), takeUnjudged(w.a.cfg.Queues)
	w.mu.Lock()
	defer w.mu.Unlock()
	first, last := w.first.UnixNano(), now.UnixNano()
	w.first = now
	w.addCounts(backend.Inline.String(), rings, first, last)
	w.addCounts(byQueues, queues, first, last)
	for i := range st.Queues {
		w.queue(&st.Queues[i], first, last)
	}
	for i := range st.Traffic {
		w.traffic(&st.Traffic[i], first, last)
	}
	if len(w.last) > len(st.Queues)+len(st.Traffic) {
		w.prune(&st)
	}
	w.absence(now)
	w.beat.touch(now, w.inline > 0)
	w.flushLog(now)
}

// takeUnjudged returns a backend's counts since the last call.
func takeUnjudged(be backend.Backend) []backend.Unjudged {
	if c, ok := be.(backend.UnjudgedCounter); ok {
		return c.TakeUnjudged()
	}
	return nil
}

// addCounts reports the counts of a backend. The lock is held.
func (w *unjudgedWatch) addCounts(be string, list []backend.Unjudged, first, last int64) {
	for _, u := range list {
		k := w.names[u.Endpoint]
		w.addFrames(uplink.Unjudged{Workload: k.workload, Interface: k.iface, Backend: be, Cause: u.Cause, Dropped: u.Dropped,
			Frames: u.Frames, Bytes: u.Bytes, First: first, Last: last})
	}
}

// prune deletes the counters of interfaces that no longer exist. The lock is held.
func (w *unjudgedWatch) prune(st *engine.Stats) {
	there := map[ifaceKey]lastCounts{}
	for i := range st.Queues {
		k := ifaceKey{st.Queues[i].Workload, st.Queues[i].Interface, st.Queues[i].Backend}
		there[k] = w.last[k]
	}
	for i := range st.Traffic {
		k := ifaceKey{st.Traffic[i].Workload, st.Traffic[i].Interface, st.Traffic[i].Backend}
		there[k] = w.last[k]
	}
	w.last = there
}

// since returns the growth of a counter; one that was reset is smaller than before.
func since(now, before uint64) uint64 {
	if now < before {
		return now
	}
	return now - before
}

// queue reports losses of queues. The backend reports those of a service port. The lock is held.
func (w *unjudgedWatch) queue(q *engine.QueueStats, first, last int64) {
	k := ifaceKey{q.Workload, q.Interface, q.Backend}
	c := w.last[k]
	old := c.queue
	c.queue = q.Stats
	w.last[k] = c
	lost := since(q.Dropped, old.Dropped)
	if q.Backend == backend.Tap.String() {
		if lost > 0 {
			w.lossy(w.ids[ifaceKey{workload: q.Workload, iface: q.Interface}], first, last)
		}
		return
	}
	if q.Backend != byQueues {
		return
	}
	u := uplink.Unjudged{Workload: q.Workload, Interface: q.Interface, Backend: q.Backend, First: first, Last: last}
	for _, x := range []struct {
		cause   string
		dropped bool
		frames  uint64
	}{{socketFull, true, lost}, {socketFull, false, since(q.Bypassed, old.Bypassed)}, {queueFull, true, since(q.Full, old.Full)}} {
		u.Cause, u.Dropped, u.Frames = x.cause, x.dropped, x.frames
		w.addFrames(u)
	}
}

// traffic reports frames of one interface for which the engine had no room, or no right to act. The lock is held.
func (w *unjudgedWatch) traffic(t *engine.Traffic, first, last int64) {
	k := ifaceKey{t.Workload, t.Interface, t.Backend}
	c := w.last[k]
	old := c.traffic
	c.traffic = *t
	w.last[k] = c
	u := uplink.Unjudged{Workload: t.Workload, Interface: t.Interface, Backend: t.Backend, First: first, Last: last}
	frames, bytes := uint64(0), uint64(0)
	if t.Backend == backend.Tap.String() && w.degraded[ifaceKey{workload: t.Workload, iface: t.Interface}] {
		for d := range t.Frames {
			frames += since(t.Frames[d], old.Frames[d])
			bytes += since(t.Bytes[d], old.Bytes[d])
		}
	}
	for _, x := range []struct {
		cause         string
		dropped       bool
		frames, bytes uint64
	}{
		{tableFull, false, since(t.Unjudged, old.Unjudged), 0}, {tableFull, true, since(t.Dropped[tableFull], old.Dropped[tableFull]), 0},
		{holdFull, true, since(t.Dropped[holdFull], old.Dropped[holdFull]), 0},
		{detached, false, frames, bytes},
	} {
		u.Cause, u.Dropped, u.Frames, u.Bytes = x.cause, x.dropped, x.frames, x.bytes
		w.addFrames(u)
	}
	if n := since(t.Evicted, old.Evicted); n > 0 {
		w.exceeds(shareKey{t.Workload, evicted}, n, last)
		w.logLater(t.Workload, t.Backend, evicted).frames += n
	}
}

// record reports the packets of a session that an inline endpoint let pass without a policy that could
// judge it, and marks it if frames were lost during it. The uplink's goroutine calls it.
func (w *unjudgedWatch) record(f *flow.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, ok := w.lost[f.Endpoint]; ok && f.First <= l.last && f.Last >= l.first {
		f.Lossy = true
	}
	cause := unready
	switch {
	case !f.Enforced || f.Loopback || !f.Verdict.Passes(): // a refusal is reported as one
		return
	case f.Reason == flow.ByUnidentified:
		cause = noPlugin
	case f.Reason != flow.ByUnready:
		return
	}
	k := w.names[f.Endpoint]
	if k.workload == "" {
		k.workload = w.a.names.workload(f.Endpoint)
	}
	w.addFrames(uplink.Unjudged{Workload: k.workload, Interface: k.iface, Backend: backend.Inline.String(), Cause: cause,
		Frames: f.Packets[0] + f.Packets[1], Bytes: f.Bytes[0] + f.Bytes[1], First: f.First, Last: f.Last})
}

// lossy marks an endpoint as one that lost frames. The lock is held.
func (w *unjudgedWatch) lossy(endpoint uint32, first, last int64) {
	if endpoint == 0 {
		return
	}
	l, ok := w.lost[endpoint]
	if !ok || first-l.last > int64(2*unjudgedEvery) {
		l.first = first
	}
	l.last = last
	w.lost[endpoint] = l
}

// addFrames reports frames, and counts them for the log. The lock is held.
func (w *unjudgedWatch) addFrames(u uplink.Unjudged) {
	if u.Frames == 0 {
		return
	}
	w.report(u)
	w.exceeds(shareKey{u.Workload, u.Cause}, u.Frames, u.Last)
	cause := u.Cause
	if u.Dropped {
		cause += "\x00"
	}
	l := w.logLater(u.Workload, u.Backend, cause)
	l.reason, l.dropped = u.Cause, u.Dropped
	l.frames += u.Frames
	if id, ok := w.ids[ifaceKey{workload: u.Workload, iface: u.Interface}]; ok {
		w.lossy(id, u.First, u.Last)
	}
}

// logLater returns the log line of a workload and cause. The lock is held.
func (w *unjudgedWatch) logLater(workload, backend, cause string) *logLine {
	key := workload + "\x00" + cause
	l := w.lines[key]
	if l == nil {
		l = &logLine{workload: workload, backend: backend, reason: cause}
		w.lines[key] = l
	}
	return l
}

// absence reports, once, the time in which no agent ran, when something is enforced again. The lock is held.
func (w *unjudgedWatch) absence(now time.Time) {
	since := w.beat.before
	if since.IsZero() || w.inline == 0 && now.Sub(w.a.started) < absenceAfter {
		return
	}
	w.beat.before = time.Time{}
	w.report(uplink.Unjudged{Backend: "agent", Cause: uplink.NotRunning, First: since.UnixNano(), Last: now.UnixNano()})
	w.a.log.Warn("nothing was enforced while no agent ran", "since", since.Round(time.Millisecond), "duration", now.Sub(since).Round(time.Millisecond))
}

// absenceAfter is when an absence is reported although nothing is enforced again.
const absenceAfter = 30 * time.Second

// report passes frames to the uplink.
func (w *unjudgedWatch) report(u uplink.Unjudged) { w.a.up.Unjudged(u) }

// flushLog writes the log lines that are due. The lock is held.
func (w *unjudgedWatch) flushLog(now time.Time) {
	for key, l := range w.lines {
		switch {
		case now.Sub(l.at) < unjudgedLog:
		case l.frames == 0:
			delete(w.lines, key)
		default:
			message := "frames passed without a verdict"
			switch {
			case l.reason == evicted:
				w.a.log.Warn("sessions ended early", "workload", l.workload, "backend", l.backend, "cause", tableFull, "sessions", l.frames)
				l.at, l.frames = now, 0
				continue
			case l.dropped:
				message = "frames dropped without a verdict"
			}
			w.a.log.Warn(message, "workload", l.workload, "backend", l.backend, "cause", l.reason, "frames", l.frames)
			l.at, l.frames = now, 0
		}
	}
}
