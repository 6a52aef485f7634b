package engine_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/policy"
)

// TestCountersAreDescribed checks that the engine's counters are exactly those of
// core/counter.
func TestCountersAreDescribed(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Monitor, policy.WorkloadSpec{})
	q := b.attach(backend.Tap)
	c := newConn(false, 40000, 8080)
	q.give(append(c.handshake(t), c.seg(t, 0, "PA", httpRequest))...)
	b.traffic(t, "tap", func(x engine.Traffic) bool { return x.Opened == 1 })
	var got []string
	for _, k := range slices.Sorted(maps.Keys(b.e.Stats().Counters)) {
		if _, ok := counter.Lookup(k); !ok {
			t.Errorf("%s is not described", k)
		}
		got = append(got, k)
	}
	if want := slices.Concat(counter.Names("engine."), counter.Names("ring.")); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// Stats implements backend.Counter.
func (*memQueue) Stats() backend.Stats { return backend.Stats{Received: 1} }
