package engine

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/backend"
)

// counters are what a worker counts. Its goroutine adds to them; between
// batches they are published for readers elsewhere.
type counters struct {
	frames, bytes, passed, dropped, undecided  uint64
	strangers, notIP, fragments, malformed     uint64
	opened, ended, tableFull, identified       uint64
	heldFrames, heldAgain, holdFull            uint64
	holdQuiet, holdExpired                     uint64
	resets, unreachables, sendFailed           uint64
	icmpErrors, threats, badFragments, evicted uint64
	neighbours, unanswered, lost               uint64
	traced, untraced                           uint64
	moved, movedHeld                           uint64
	offloaded, unseenPackets, unseenBytes      uint64
	sessions                                   uint64
}

// counterNames are the names in Stats, in the order of counters.list.
var counterNames = [...]string{
	"engine.frames", "engine.bytes", "engine.passed", "engine.dropped", "engine.undecided",
	"engine.unknown_endpoint", "engine.not_ip", "engine.fragments", "engine.malformed",
	"engine.sessions_opened", "engine.sessions_ended", "engine.table_full", "engine.identified",
	"engine.held", "engine.held_again", "engine.hold_full", "engine.hold_quiet", "engine.hold_expired",
	"engine.resets_sent", "engine.unreachables_sent", "engine.send_failed",
	"engine.icmp_errors", "engine.threats", "engine.bad_fragments", "engine.sessions_evicted",
	"engine.neighbour_discovery", "engine.unanswered", "engine.unidentified",
	"engine.destinations_found", "engine.destinations_unknown",
	"engine.passed_at_switch", "engine.held_at_switch",
	"engine.offloaded", "engine.offloaded_packets", "engine.offloaded_bytes",
	"engine.sessions",
}

func (c *counters) list() [len(counterNames)]uint64 {
	return [...]uint64{
		c.frames, c.bytes, c.passed, c.dropped, c.undecided,
		c.strangers, c.notIP, c.fragments, c.malformed,
		c.opened, c.ended, c.tableFull, c.identified,
		c.heldFrames, c.heldAgain, c.holdFull, c.holdQuiet, c.holdExpired,
		c.resets, c.unreachables, c.sendFailed,
		c.icmpErrors, c.threats, c.badFragments, c.evicted,
		c.neighbours, c.unanswered, c.lost,
		c.traced, c.untraced,
		c.moved, c.movedHeld,
		c.offloaded, c.unseenPackets, c.unseenBytes,
		c.sessions,
	}
}

// published are a worker's counters as others may read them.
type published [len(counterNames)]atomic.Uint64

// publishCounters makes the worker's counters visible.
func (w *worker) publishCounters() {
	w.publishTallies()
	w.count.sessions = uint64(w.table.Len())
	st := w.table.Stats()
	w.count.evicted = st.Evicted
	for i, n := range w.count.list() {
		w.shown[i].Store(n)
	}
}

// addCounters adds what the worker and its queue counted to m.
func (w *worker) addCounters(m map[string]uint64) {
	for i := range w.shown {
		m[counterNames[i]] += w.shown[i].Load()
	}
	m["engine.reports_lost"] += w.out.Dropped()
	if c, ok := w.q.(backend.Counter); ok {
		s := c.Stats()
		m["ring.received"] += s.Received
		m["ring.dropped"] += s.Dropped + s.Full
		m["ring.bypassed"] += s.Bypassed
		m["ring.sent"] += s.Sent
		m["ring.send_dropped"] += s.SendDrop
		m["ring.oversize"] += s.Oversize
	}
}

// Stats are what an engine counts.
type Stats struct {
	Counters map[string]uint64 // by dotted name, over everything
	Traffic  []Traffic         // by workload, interface and backend
	Queues   []QueueStats      // by workload and backend
}

// ringKey says whose a queue is; without a workload it is shared.
type ringKey struct{ workload, iface, backend string }

// QueueStats are the queues of one interface, or those that a backend's endpoints share.
type QueueStats struct {
	Workload, Interface, Backend string // Workload and Interface are empty for shared queues
	backend.Stats
	// Queues is how many there are now; the depth is that of all, and the fill that of the fullest.
	Queues int
	backend.Depth
}

// keepRing keeps what the queue of an ended worker counted.
func (w *worker) keepRing() {
	if c, ok := w.q.(backend.Counter); ok && w.ring != (ringKey{}) {
		s := w.e.rings[w.ring]
		s.Add(c.Stats())
		w.e.rings[w.ring] = s
	}
}

// queues lists the queues. The caller holds mu.
func (e *Engine) queues() []QueueStats {
	sum := map[ringKey]*QueueStats{}
	at := func(k ringKey) *QueueStats {
		if sum[k] == nil {
			sum[k] = &QueueStats{Workload: k.workload, Interface: k.iface, Backend: k.backend}
		}
		return sum[k]
	}
	for k, s := range e.rings {
		at(k).Stats = s
	}
	for _, w := range e.workers {
		if w.ring == (ringKey{}) {
			continue
		}
		x := at(w.ring)
		x.Queues++
		if c, ok := w.q.(backend.Counter); ok {
			x.Add(c.Stats())
		}
		if d, ok := w.q.(backend.Gauge); ok {
			now := d.Depth()
			x.Waiting, x.Fill = x.Waiting+now.Waiting, max(x.Fill, now.Fill)
		}
	}
	out := make([]QueueStats, 0, len(sum))
	for _, x := range sum {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b QueueStats) int {
		return cmp.Or(cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Backend, b.Backend))
	})
	return out
}

// Stats is what all workers counted, those that ended included.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := make(map[string]uint64, 40)
	for k, v := range e.gone {
		m[k] = v
	}
	for _, w := range e.workers {
		w.addCounters(m)
	}
	if e.cfg.Remote != nil {
		e.cfg.Remote.Counters(m)
	}
	return Stats{Counters: m, Traffic: e.tallies.list(), Queues: e.queues()}
}
