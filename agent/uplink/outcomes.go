package uplink

import (
	"maps"
	"sync"

	"github.com/sluicenet/sluice/core/flow"
)

// Outcomes counts ended sessions by outcome.
type Outcomes [flow.OutcomeDenied + 1]uint64

// outcomeBox counts the outcomes of each workload's sessions.
type outcomeBox struct {
	mu sync.Mutex
	of map[string]Outcomes // by workload; guarded by mu
}

func (b *outcomeBox) add(workload string, o flow.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[string]Outcomes{}
	}
	n := b.of[workload]
	n[min(o, flow.OutcomeDenied)]++
	b.of[workload] = n
}

// Outcomes returns the sessions that ended since New, by workload. It is safe for concurrent use.
func (u *Uplink) Outcomes() map[string]Outcomes {
	u.outcomes.mu.Lock()
	defer u.outcomes.mu.Unlock()
	return maps.Clone(u.outcomes.of)
}

// ForgetOutcomes drops the counters of an ended workload.
func (u *Uplink) ForgetOutcomes(workload string) {
	u.outcomes.mu.Lock()
	defer u.outcomes.mu.Unlock()
	delete(u.outcomes.of, workload)
}
