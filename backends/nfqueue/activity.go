package nfqueue

import (
	"sync/atomic"
	"time"
)

// activity is since when a worker has been handling a batch. Any goroutine may call stuck.
type activity struct {
	epoch time.Time    // with its monotonic reading
	since atomic.Int64 // ns since epoch; 0 while it waits
}

// begin and finish enclose the handling of a batch.
func (a *activity) begin(now time.Time) { a.since.Store(int64(now.Sub(a.epoch)) + 1) }
func (a *activity) finish()             { a.since.Store(0) }

// stuck reports whether the worker has been busy with a batch for longer than limit.
func (a *activity) stuck(now time.Time, limit time.Duration) bool {
	since := a.since.Load()
	return since != 0 && now.Sub(a.epoch)-time.Duration(since) > limit
}
