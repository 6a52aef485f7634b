// Package backoff spaces out attempts at what failed: each wait is twice the one before, up to a bound, and varies by
// chance, so that many clients of one server that failed do not come back at the same moment. It does not
// decide how often or for how long something is tried.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// jitter is how far a wait may be from its nominal length, up and down, as a part of it.
const jitter = 0.2

// Backoff gives the waits between attempts at one thing. One goroutine may use it at a time.
type Backoff struct {
	// First is the wait after the first failure; Last bounds all of them. Where both are the
	// same, all waits are alike but for chance.
	First, Last time.Duration

	next time.Duration
}

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	wait := min(max(b.next, b.First), b.Last)
	b.next = min(2*wait, b.Last)
	return wait + time.Duration((2*rand.Float64()-1)*jitter*float64(wait))
}

// Reset is for an attempt that succeeded: the wait after it is the first again.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits for Next. It reports whether it waited to the end: false is that ctx ended.
func (b *Backoff) Wait(ctx context.Context) bool {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
