package backoff_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sluicenet/sluice/internal/backoff"
)

func within(got, nominal time.Duration) bool {
	return math.Abs(float64(got-nominal)) <= 0.2*float64(nominal)
}

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		b    backoff.Backoff
		want []time.Duration
	}{
		"doubles":    {backoff.Backoff{First: 50 * time.Millisecond, Last: time.Second}, []time.Duration{50e6, 100e6, 200e6, 400e6, 800e6, 1e9, 1e9}},
		"alike":      {backoff.Backoff{First: time.Second, Last: time.Second}, []time.Duration{1e9, 1e9, 1e9}},
		"last below": {backoff.Backoff{First: time.Minute, Last: time.Second}, []time.Duration{1e9, 1e9}},
		"zero":       {backoff.Backoff{}, []time.Duration{0, 0}},
		"longest":    {backoff.Backoff{First: math.MaxInt64 / 3, Last: math.MaxInt64 / 2}, []time.Duration{math.MaxInt64 / 3, math.MaxInt64 / 2, math.MaxInt64 / 2}},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				for i, want := range c.want {
					if got := c.b.Next(); got < 0 || !within(got, want) {
						t.Errorf("wait %d is %v, want %v within a fifth", i, got, want)
					}
				}
				c.b.Reset()
			}
		})
	}
}

// Waits of several clients differ.
func TestJitter(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		b := backoff.Backoff{First: time.Second, Last: time.Second}
		seen[b.Next()] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 clients have %d different waits", len(seen))
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff.Backoff{First: time.Second, Last: time.Minute}
		begin := time.Now()
		if !b.Wait(t.Context()) || !within(time.Since(begin), time.Second) {
			t.Errorf("waited %v, want a second", time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if begin = time.Now(); b.Wait(ctx) || time.Since(begin) != time.Millisecond {
			t.Errorf("waited %v although the context ended after 1ms", time.Since(begin))
		}
	})
}
