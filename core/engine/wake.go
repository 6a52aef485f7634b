package engine

import (
	"sync/atomic"
	"time"
)

// together is how long wake-ups of all workers are gathered, where endpoints change: many do at a start, and each
// change would wake the workers of all.
const together = 2 * time.Millisecond

// waker gathers wake-ups.
type waker struct{ due atomic.Bool }

// wake makes every worker check for changes.
func (e *Engine) wake() {
	for _, w := range *e.running.Load() {
		w.q.Wake()
	}
}

// wakeAround makes the workers of a changed endpoint check for changes now, and all others soon. The attachment may
// be nil.
func (e *Engine) wakeAround(a *attached) {
	if a != nil {
		for _, w := range a.workers {
			w.q.Wake()
		}
	}
	if e.waker.due.CompareAndSwap(false, true) {
		time.AfterFunc(together, func() {
			e.waker.due.Store(false) // before: a change from now on needs another one
			e.wake()
		})
	}
}

// current returns the attachment of an endpoint, nil for none. The caller holds mu.
func (e *Engine) current(endpoint uint32) *attached {
	if s := e.slots[endpoint]; s != nil {
		return s.cur
	}
	return nil
}
