package engine

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// cause is why a frame of an inline endpoint did not go on when it came.
type cause = counter.Cause

const (
	noCause      = counter.NoCause
	byPolicy     = counter.Denied
	byForm       = counter.MalformedFrame
	byFragment   = counter.BadFragment
	byFullHold   = counter.NoRoomToHold
	byRepetition = counter.Retransmit
	byWindow     = counter.OutOfWindow
	byFullTable  = counter.NoRoomInTable
	kept         = counter.Held
)

// Places in counts: by direction (four, so that a mask does), by cause, by verdict, and single ones.
const (
	atFrames   = 0
	atBytes    = atFrames + 4
	atDropped  = atBytes + 4
	atVerdicts = atDropped + counter.CausesLen
	atOpened   = atVerdicts + int(flow.Pending) + 1
	atSessions = atOpened + 1
	atUnjudged = atSessions + 1 // passed because the session table was full
	countsLen  = atUnjudged + 1
)

// counts are what is counted of one endpoint.
type counts [countsLen]uint64

// tallyKey is what people know an endpoint by.
type tallyKey struct{ workload, iface, backend string }

// tally is what one worker counts of one endpoint. Its goroutine adds to n; what is shown is
// published between batches, so that readers cost the worker nothing.
type tally struct {
	w     *worker
	id    uint32
	key   tallyKey
	n     counts
	dirty bool // it is on the worker's list of those to be published
	shown [countsLen]atomic.Uint64
}

func (t *tally) publish() {
	t.dirty = false
	for i, n := range t.n {
		t.shown[i].Store(n)
	}
}

// tallies are those of all workers, and what ended workers counted.
type tallies struct {
	mu   sync.Mutex // guards what follows; taken last, and never on the way of a frame
	live map[*worker]map[uint32]*tally
	gone map[tallyKey]*counts
}

// of is a worker's tally of an endpoint, made where it is new.
func (ts *tallies) of(w *worker, id uint32, k tallyKey) *tally {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	m := ts.live[w]
	if m == nil {
		if ts.live == nil {
			ts.live, ts.gone = map[*worker]map[uint32]*tally{}, map[tallyKey]*counts{}
		}
		m = map[uint32]*tally{}
		ts.live[w] = m
	}
	t := m[id]
	if t == nil || t.key != k {
		if t != nil {
			ts.bury(t)
		}
		t = &tally{w: w, id: id, key: k}
		m[id] = t
	}
	return t
}

// bury keeps what a tally that ends has shown. The lock is held.
func (ts *tallies) bury(t *tally) {
	c := ts.gone[t.key]
	if c == nil {
		c = new(counts)
		ts.gone[t.key] = c
	}
	for i := range t.shown {
		c[i] += t.shown[i].Load()
	}
}

// end keeps what a worker counted that has ended.
func (ts *tallies) end(w *worker) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.live[w] {
		ts.bury(t)
	}
	delete(ts.live, w)
}

// forget drops what was counted of a workload.
func (ts *tallies) forget(workload string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, m := range ts.live {
		maps.DeleteFunc(m, func(_ uint32, t *tally) bool { return t.key.workload == workload })
	}
	maps.DeleteFunc(ts.gone, func(k tallyKey, _ *counts) bool { return k.workload == workload })
}

// Forget drops what was counted of a workload that is gone.
func (e *Engine) Forget(workload string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tallies.forget(workload)
	maps.DeleteFunc(e.rings, func(k ringKey, _ backend.Stats) bool { return k.workload == workload })
	for _, w := range e.workers {
		if w.ring.workload == workload {
			w.ring = ringKey{} // it is about to end
		}
	}
}

// Traffic is what was counted of one interface of one workload in one way of being attached.
type Traffic struct {
	Workload, Interface, Backend string
	// Frames and Bytes by packet.Direction: Egress is out of the workload.
	Frames, Bytes [3]uint64
	// Dropped counts frames that did not go on, by cause.
	Dropped map[string]uint64
	// Held counts frames that did not go on when they came; they did later, or are in Dropped too.
	Held uint64
	// Verdicts counts how often a session was given a verdict.
	Verdicts map[string]uint64
	// Unjudged counts frames that passed because there was no room for their session, as the fail mode says.
	Unjudged uint64
	// Opened counts sessions; Sessions is how many there are.
	Opened, Sessions uint64
}

// list adds up what is shown, by workload, interface and backend.
func (ts *tallies) list() []Traffic {
	ts.mu.Lock()
	sum := make(map[tallyKey]*counts, len(ts.gone))
	for k, c := range ts.gone {
		copied := *c
		sum[k] = &copied
	}
	for _, m := range ts.live {
		for _, t := range m {
			c := sum[t.key]
			if c == nil {
				c = new(counts)
				sum[t.key] = c
			}
			for i := range t.shown {
				c[i] += t.shown[i].Load()
			}
		}
	}
	ts.mu.Unlock()
	out := make([]Traffic, 0, len(sum))
	for k, c := range sum {
		out = append(out, c.traffic(k))
	}
	slices.SortFunc(out, func(a, b Traffic) int {
		return cmp.Or(cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Backend, b.Backend))
	})
	return out
}

func (c *counts) traffic(k tallyKey) Traffic {
	t := Traffic{Workload: k.workload, Interface: k.iface, Backend: k.backend, Dropped: map[string]uint64{}, Verdicts: map[string]uint64{},
		Opened: c[atOpened], Sessions: c[atSessions], Unjudged: c[atUnjudged], Held: c[atDropped+int(kept)]}
	copy(t.Frames[:], c[atFrames:])
	copy(t.Bytes[:], c[atBytes:])
	for i := range counter.CausesLen {
		if n := c[atDropped+i]; n > 0 && cause(i) != kept {
			t.Dropped[cause(i).String()] = n
		}
	}
	for v := flow.Open; v <= flow.Pending; v++ {
		if n := c[atVerdicts+int(v)]; n > 0 {
			t.Verdicts[v.String()] = n
		}
	}
	return t
}

// tally is the worker's of a view, to be added to.
func (w *worker) tally(v *view) *tally {
	t := v.tally
	if t == nil || t.w != w {
		t = w.tallyOf(v)
	}
	if !t.dirty {
		t.dirty = true
		w.dirty = append(w.dirty, t)
	}
	return t
}

// tallyOf finds the tally where the view has another worker's, of those that share the endpoint.
func (w *worker) tallyOf(v *view) *tally {
	t := w.tallies[v.id]
	if t == nil || t.key != v.key {
		t = w.e.tallies.of(w, v.id, v.key)
		w.tallies[v.id] = t
	}
	return t
}

// publishTallies makes what was counted visible.
func (w *worker) publishTallies() {
	for i, t := range w.dirty {
		t.publish()
		w.dirty[i] = nil
	}
	w.dirty = w.dirty[:0]
}

// stop notes why the frame at hand does not go on.
func (w *worker) stop(why cause) packet.Action {
	w.cause = why
	return packet.Drop
}

// begun and over count the sessions that there are; v may be nil.
func (w *worker) begun(v *view) {
	if v != nil {
		w.tally(v).n[atSessions]++
	}
}

func (w *worker) over(v *view) {
	if v != nil {
		w.tally(v).n[atSessions]--
	}
}

// judged counts a verdict.
func (w *worker) judged(v *view, r flow.Verdict) { w.tally(v).n[atVerdicts+int(r)]++ }
