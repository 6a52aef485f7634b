package engine

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/path"
)

// Traffic is the counts of one interface of one workload on one datapath.
type Traffic = path.Traffic

// Stats are the engine's counters; core/counter describes each value.
type Stats struct {
	Counters map[string]uint64 // by dotted name, over everything
	Traffic  []Traffic         // by workload, interface and backend
	Queues   []QueueStats      // by workload and backend
}

// ringKey identifies the owner of a queue; without a workload the queue is shared.
type ringKey struct{ workload, iface, backend string }

// QueueStats are the queues of one interface, or the shared ones of a backend's endpoints.
type QueueStats struct {
	Workload, Interface, Backend string // Workload and Interface are empty for shared queues
	backend.Stats
	// Queues is the present number of queues; the depth is the sum over all, and the fill that
	// of the fullest.
	Queues int
	backend.Depth
}

// ringed is a worker with the key of its queue.
type ringed struct {
	*worker
	key ringKey
}

// Stats returns the counters of all workers, ended ones included. Queues are read without a
// lock.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	m, rings := maps.Clone(e.gone), maps.Clone(e.rings)
	list := make([]ringed, 0, len(e.workers))
	for _, w := range e.workers {
		list = append(list, ringed{w, w.ring})
	}
	e.mu.Unlock()
	sum := map[ringKey]*QueueStats{}
	at := func(k ringKey) *QueueStats {
		if sum[k] == nil {
			sum[k] = &QueueStats{Workload: k.workload, Interface: k.iface, Backend: k.backend}
		}
		return sum[k]
	}
	for k, s := range rings {
		at(k).Stats = s
	}
	for _, w := range list {
		w.path.Sessions().Report().AddCounters(m)
		var s backend.Stats
		if c, ok := w.q.(backend.Counter); ok {
			s = c.Stats()
			addQueue(m, &s)
		}
		if w.key == (ringKey{}) {
			continue
		}
		x := at(w.key)
		x.Queues++
		x.Add(s)
		if d, ok := w.q.(backend.Gauge); ok {
			now := d.Depth()
			x.Waiting, x.Fill = x.Waiting+now.Waiting, max(x.Fill, now.Fill)
		}
	}
	if e.cfg.Remote != nil {
		e.cfg.Remote.Counters(m)
	}
	out := make([]QueueStats, 0, len(sum))
	for _, x := range sum {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b QueueStats) int {
		return cmp.Or(cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Backend, b.Backend))
	})
	return Stats{Counters: m, Traffic: e.shared.Tallies.List(), Queues: out}
}

// addQueue adds a queue's counters to m.
func addQueue(m map[string]uint64, s *backend.Stats) {
	m["ring.received"] += s.Received
	m["ring.dropped"] += s.Dropped + s.Full
	m["ring.bypassed"] += s.Bypassed
	m["ring.sent"] += s.Sent
	m["ring.send_dropped"] += s.SendDrop
	m["ring.oversize"] += s.Oversize
}

// Forget removes the counters of a workload that no longer exists.
func (e *Engine) Forget(workload string) {
	e.shared.Tallies.Forget(workload)
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.rings, func(k ringKey, _ backend.Stats) bool { return k.workload == workload })
	for _, w := range e.workers {
		if w.ring.workload == workload {
			w.ring = ringKey{} // it is about to end
		}
	}
}
