package report

import (
	"sync"

	"github.com/sluicenet/sluice/core/flow"
)

// Outbox carries the records of one worker to one collector. The worker adds records to its
// own buffer and passes it on with Flush, once per batch: the lock is taken per batch, never
// per frame. Records that do not fit, or exceed their endpoint's share, are counted.
type Outbox struct {
	local   []flow.Record
	threats []Threat

	mu      sync.Mutex
	ready   queue[flow.Record] // guarded by mu
	readyT  queue[Threat]
	spare   []flow.Record
	dropped uint64
}

// enough is the number of records after which Put passes them on: an endpoint that is detached may
// have hundreds of thousands of sessions.
const enough = 4096

// Put adds a record; only the worker calls it.
func (o *Outbox) Put(f *flow.Record) {
	if o.local = append(o.local, *f); len(o.local) >= enough {
		o.Flush()
	}
}

// Threat adds a threat; only the worker calls it.
func (o *Outbox) Threat(t *Threat) { o.threats = append(o.threats, *t) }

// Flush passes on the records that were put; only the worker calls it.
func (o *Outbox) Flush() {
	if len(o.local) == 0 && len(o.threats) == 0 {
		return
	}
	o.mu.Lock()
	// The collector's buffer keeps its size from one Drain to the next: replacing it with the
	// small one here would make it grow again each time.
	o.dropped += o.ready.add(o.local, func(f *flow.Record) uint32 { return f.Endpoint })
	o.dropped += o.readyT.add(o.threats, func(t *Threat) uint32 { return t.Endpoint })
	o.mu.Unlock()
	clear(o.local)
	o.local = o.local[:0]
	clear(o.threats)
	o.threats = o.threats[:0]
}

// Drain passes all flushed records to fn, in order, and returns their number. The records of
// endpoints of which others were dropped since the last call are marked as lossy. One goroutine
// calls it; records are valid during the call.
func (o *Outbox) Drain(fn func(*flow.Record)) int {
	o.mu.Lock()
	got := o.ready.take(o.spare[:0])
	o.spare = nil
	lossy := o.ready.lossy
	o.ready.lossy = nil
	o.mu.Unlock()
	for i := range got {
		f := &got[i]
		if len(lossy) > 0 {
			lossy.mark(f)
		}
		fn(f)
	}
	clear(got)
	o.mu.Lock()
	o.ready.carry(lossy)
	// A buffer far larger than needed is freed.
	if cap(got) <= outboxLimit/64 || len(got) > cap(got)/4 {
		o.spare = got[:0]
	}
	o.mu.Unlock()
	return len(got)
}

// DrainThreats is Drain for threats.
func (o *Outbox) DrainThreats(fn func(*Threat)) int {
	o.mu.Lock()
	got := o.readyT.take(nil)
	o.mu.Unlock()
	for i := range got {
		fn(&got[i])
	}
	return len(got)
}

// Dropped returns the number of records that did not fit. It may be called from any
// goroutine.
func (o *Outbox) Dropped() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}
