// Package backoff computes exponential delays between attempts, with a bound and jitter, so that many
// clients of a failed server do not reconnect at the same moment. It does not decide how often or how long
// to retry.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// jitter is how far a wait may be from its nominal length, up and down, as a part of it.
const jitter = 0.2

// Backoff is the sequence of delays between attempts. One goroutine may use it at a time.
type Backoff struct {
	// First is the wait after the first failure; Last bounds all of them. If they are
	// equal, delays vary by jitter only.
	First, Last time.Duration

	next time.Duration
}

// Next returns how long to wait before the next attempt.
func (b *Backoff) Next() time.Duration {
	wait := min(max(b.next, b.First), b.Last)
	b.next = min(2*wait, b.Last)
	return wait + time.Duration((2*rand.Float64()-1)*jitter*float64(wait))
}

// Reset restarts the sequence after a successful attempt.
func (b *Backoff) Reset() { b.next = 0 }

// Wait waits for Next. It returns false if ctx ended before.
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
