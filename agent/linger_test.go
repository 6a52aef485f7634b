package agent_test

import (
	"slices"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestStopLingers checks that an agent which is stopped keeps its taps for a moment, in which the frames in
// their rings are judged, and releases what may delay packets first.
func TestStopLingers(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "db")
	l := newLab(t)
	l.put(map[string]policy.Mode{"netns:" + b.Workloads[0].Name: policy.Protect})
	for _, w := range b.Workloads {
		l.source <- event(w)
	}
	l.source <- workload.Event{Kind: workload.Synced}
	l.until("both attached", func() bool { k := l.plane.kinds(); return k[backend.Inline] == 1 && k[backend.Tap] == 1 })
	begin := time.Now()
	l.stop()
	calls := l.plane.calls
	if last := calls[len(calls)-2:]; !slices.Equal(last, []string{"detach inline", "detach tap"}) {
		t.Errorf("last calls %q, want the tap detached last", last)
	}
	// Blocks of a ring are handed over within 20 ms, and 100 ms are enough on a busy machine.
	if d := l.plane.detached.Sub(begin); d < 100*time.Millisecond || d > 3*time.Second {
		t.Errorf("the tap was detached after %v", d)
	}
}
