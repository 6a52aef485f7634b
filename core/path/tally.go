package path

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
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
	atEvicted  = atUnjudged + 1
	countsLen  = atEvicted + 1
)

// counts are the counters of one endpoint.
type counts [countsLen]uint64

// tallyKey identifies an endpoint in reports.
type tallyKey struct{ workload, iface, datapath string }

// tally is one path's counters of one endpoint. Its goroutine adds to n; values are published
// between batches, so that readers cost the path nothing.
type tally struct {
	key   tallyKey
	n     counts
	dirty bool // it is on the path's list to be published
	shown [countsLen]atomic.Uint64
}

func (t *tally) publish() {
	t.dirty = false
	for i, n := range t.n {
		t.shown[i].Store(n)
	}
}

// Tallies are those of all paths, and the totals of ended ones. The zero value is empty.
type Tallies struct {
	mu   sync.Mutex // guards the fields below; taken last, and never per frame
	live map[*views]map[uint32]*tally
	gone map[tallyKey]*counts
}

// of returns a path's tally of an endpoint, creating it if needed.
func (ts *Tallies) of(w *views, id uint32, k tallyKey) *tally {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	m := ts.live[w]
	if m == nil {
		if ts.live == nil {
			ts.live, ts.gone = map[*views]map[uint32]*tally{}, map[tallyKey]*counts{}
		}
		m = map[uint32]*tally{}
		ts.live[w] = m
	}
	t := m[id]
	if t == nil || t.key != k {
		if t != nil {
			ts.addEnded(t)
		}
		t = &tally{key: k}
		m[id] = t
	}
	return t
}

// addEnded adds the published values of an ending tally to the totals. The lock is held.
func (ts *Tallies) addEnded(t *tally) {
	c := ts.gone[t.key]
	if c == nil {
		c = new(counts)
		ts.gone[t.key] = c
	}
	for i := range t.shown {
		c[i] += t.shown[i].Load()
	}
}

// addPath adds the counts of an ended path to the totals.
func (ts *Tallies) addPath(w *views) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, t := range ts.live[w] {
		ts.addEnded(t)
	}
	delete(ts.live, w)
}

// Forget removes the counts of a workload.
func (ts *Tallies) Forget(workload string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, m := range ts.live {
		maps.DeleteFunc(m, func(_ uint32, t *tally) bool { return t.key.workload == workload })
	}
	maps.DeleteFunc(ts.gone, func(k tallyKey, _ *counts) bool { return k.workload == workload })
}

// Traffic is the counts of one interface of one workload on one datapath.
type Traffic struct {
	Workload, Interface, Backend string
	// Frames and Bytes by packet.Direction: Egress is out of the workload.
	Frames, Bytes [3]uint64
	// Dropped counts frames that were not forwarded, by cause.
	Dropped map[string]uint64
	// Held counts frames that were not forwarded on arrival; they were later, or are in Dropped
	// too.
	Held uint64
	// Verdicts counts the verdicts given to sessions.
	Verdicts map[string]uint64
	// Unjudged counts frames passed by the fail mode because there was no room for their
	// session.
	Unjudged uint64
	// Opened counts sessions; Sessions is their present number.
	Opened, Sessions uint64
	// Evicted counts sessions that ended early to make room for others.
	Evicted uint64
}

// List sums up the published values, by workload, interface and backend.
func (ts *Tallies) List() []Traffic {
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
	t := Traffic{Workload: k.workload, Interface: k.iface, Backend: k.datapath, Dropped: map[string]uint64{}, Verdicts: map[string]uint64{},
		Opened: c[atOpened], Sessions: c[atSessions], Unjudged: c[atUnjudged], Evicted: c[atEvicted], Held: c[atDropped+int(counter.Held)]}
	copy(t.Frames[:], c[atFrames:])
	copy(t.Bytes[:], c[atBytes:])
	for i := range counter.CausesLen {
		if n := c[atDropped+i]; n > 0 && counter.Cause(i) != counter.Held {
			t.Dropped[counter.Cause(i).String()] = n
		}
	}
	for v := flow.Open; v <= flow.Pending; v++ {
		if n := c[atVerdicts+int(v)]; n > 0 {
			t.Verdicts[v.String()] = n
		}
	}
	return t
}
