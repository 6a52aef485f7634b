package engine

import (
	"cmp"
	"slices"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
)

// publishCounters makes the worker's counters visible.
func (w *worker) publishCounters() {
	w.publishTallies()
	w.count[counter.Sessions] = uint64(w.table.Len())
	w.count[counter.Evicted] = w.table.Stats().Evicted
	w.count.Publish(&w.shown)
}

// addCounters adds what the worker and its queue counted to m.
func (w *worker) addCounters(m map[string]uint64) {
	w.shown.AddTo(m)
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

// Stats are what an engine counts; core/counter describes each value.
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
