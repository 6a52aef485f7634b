package report

import (
	"sync"

	"github.com/sluicenet/sluice/core/flow"
)

// outboxLimit bounds the records waiting for Drain, per worker.
const outboxLimit = 1 << 16

// Outbox carries the records of one worker to one collector. The worker adds records to its
// own buffer and passes it on with Flush, once per batch: the lock is taken per batch, never
// per frame. Records that do not fit are counted.
type Outbox struct {
	local   []flow.Record
	threats []Threat

	mu      sync.Mutex
	ready   []flow.Record // guarded by mu
	readyT  []Threat
	spare   []flow.Record
	dropped uint64
	lossy   bool // something was dropped since the last Drain
}

// Put adds a record; only the worker calls it.
func (o *Outbox) Put(f *flow.Record) { o.local = append(o.local, *f) }

// Threat adds a threat; only the worker calls it.
func (o *Outbox) Threat(t *Threat) { o.threats = append(o.threats, *t) }

// Flush passes on the records that were put; only the worker calls it.
func (o *Outbox) Flush() {
	if len(o.local) == 0 && len(o.threats) == 0 {
		return
	}
	o.mu.Lock()
	room := outboxLimit - len(o.ready)
	if n := len(o.local); n > room {
		o.dropped += uint64(n - room)
		o.local = o.local[:room]
		o.lossy = true
	}
	// The collector's buffer keeps its size from one Drain to the next: replacing it with the
	// small one here would make it grow again each time.
	o.ready = append(o.ready, o.local...)
	if room := outboxLimit - len(o.readyT); len(o.threats) > room {
		o.dropped += uint64(len(o.threats) - room)
		o.threats = o.threats[:room]
	}
	o.readyT = append(o.readyT, o.threats...)
	o.mu.Unlock()
	clear(o.local)
	o.local = o.local[:0]
	clear(o.threats)
	o.threats = o.threats[:0]
}

// Drain passes all flushed records to fn, in order, and returns their number. If others were
// dropped since the last call, they are marked as lossy. One goroutine calls it; records are
// valid during the call.
func (o *Outbox) Drain(fn func(*flow.Record)) int {
	o.mu.Lock()
	got := o.ready
	o.ready = o.spare[:0]
	o.spare = nil
	lossy := o.lossy
	o.lossy = false
	o.mu.Unlock()
	for i := range got {
		got[i].Lossy = got[i].Lossy || lossy
		fn(&got[i])
	}
	clear(got)
	o.mu.Lock()
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
	got := o.readyT
	o.readyT = nil
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
