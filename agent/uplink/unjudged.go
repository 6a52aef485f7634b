package uplink

import (
	"cmp"
	"slices"
	"strings"
	"sync"
)

// Unjudged is a number of frames that passed or were dropped without a verdict, for one cause.
type Unjudged struct {
	// Workload is its id; "" if the frames of several are counted together.
	Workload, Interface, Backend string
	// Cause is the reason, from a short list of constants: "heartbeat", "ring_full".
	Cause string
	// Dropped reports whether they were dropped, because the group fails closed.
	Dropped       bool
	Frames, Bytes uint64
	First, Last   int64 // ns since the epoch
}

// NotRunning is the cause of a period without an agent: the number of frames is unknown, and Frames is 0.
const NotRunning = "not_running"

// Changed is the end of causes of periods in which a part of the dataplane was not as it is to be,
// because another program changed it: "program_changed". The number of frames is unknown, too.
const Changed = "_changed"

// unjudgedKey identifies a row.
type unjudgedKey struct {
	workload, iface, backend, cause string
	dropped                         bool
}

func (u *Unjudged) key() unjudgedKey {
	return unjudgedKey{u.Workload, u.Interface, u.Backend, u.Cause, u.Dropped}
}

// tally sums unjudged frames by key.
type tally map[unjudgedKey]Unjudged

// maxUnjudged bounds the keys. Beyond it, frames are counted without their workload; half as many
// more keys are for those.
const maxUnjudged = 10_000

// add adds u, and reports whether there was room.
func (t tally) add(u *Unjudged) bool {
	c, limit := *u, maxUnjudged
	if _, ok := t[c.key()]; !ok && len(t) >= maxUnjudged {
		c.Workload, c.Interface = "", ""
		limit += maxUnjudged / 2
	}
	k := c.key()
	old, ok := t[k]
	switch {
	case !ok && len(t) >= limit:
		return false
	case ok:
		c.Frames += old.Frames
		c.Bytes += old.Bytes
		c.First, c.Last = earliest(old.First, c.First), max(old.Last, c.Last)
	}
	t[k] = c
	return true
}

// earliest returns the earlier of two times, of which 0 is unknown.
func earliest(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// unjudgedBox queues unjudged frames for the uplink's next tick, and counts all of them.
type unjudgedBox struct {
	mu    sync.Mutex // guards what follows
	fresh tally
	total tally
	lost  uint64 // rows without room
}

// Unjudged queues frames without a verdict for the next report. It is safe for concurrent use,
// and does not block.
func (u *Uplink) Unjudged(f Unjudged) {
	if f.Frames == 0 && f.Cause != NotRunning && !strings.HasSuffix(f.Cause, Changed) {
		return
	}
	f.First, f.Last = earliest(f.First, f.Last), max(f.First, f.Last)
	b := &u.unjudged
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fresh == nil {
		b.fresh, b.total = tally{}, tally{}
	}
	if !b.fresh.add(&f) {
		b.lost++
	}
	b.total.add(&f)
}

// UnjudgedTotals returns the sums of all calls of Unjudged since New, by workload, interface,
// backend, cause and whether the frames were dropped. It may be called from any goroutine.
func (u *Uplink) UnjudgedTotals() []Unjudged {
	b := &u.unjudged
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]Unjudged, 0, len(b.total))
	for _, f := range b.total {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Unjudged) int {
		return cmp.Or(cmp.Compare(a.Workload, b.Workload), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Cause, b.Cause), cmp.Compare(b.Frames, a.Frames))
	})
	return out
}

// drain moves new rows to an aggregate.
func (b *unjudgedBox) drain(a *aggregate) {
	b.mu.Lock()
	var fresh tally // nil where there is none: the box keeps its own
	lost := b.lost
	if len(b.fresh) > 0 {
		fresh, b.fresh = b.fresh, tally{}
	}
	b.lost = 0
	b.mu.Unlock()
	for _, f := range fresh {
		a.putUnjudged(&f)
	}
	if lost > 0 {
		a.drop(unjudgedFull, "", lost)
	}
}

// unjudgedFull is the cause of rows of unjudged frames without room.
const unjudgedFull = "unjudged_full"

func (a *aggregate) putUnjudged(f *Unjudged) {
	if !a.unjudged.add(f) {
		a.drop(unjudgedFull, f.Workload, 1)
	}
}
