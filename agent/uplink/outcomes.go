package uplink

import (
	"maps"
	"sync"

	"github.com/sluicenet/sluice/core/flow"
)

// Outcomes counts sessions that ended, by what became of them.
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

// Outcomes returns the sessions that ended since New, by workload. It may be called from any goroutine.
func (u *Uplink) Outcomes() map[string]Outcomes {
	u.outcomes.mu.Lock()
	defer u.outcomes.mu.Unlock()
	return maps.Clone(u.outcomes.of)
}

// ForgetOutcomes drops what was counted of a workload that is gone.
func (u *Uplink) ForgetOutcomes(workload string) {
	u.outcomes.mu.Lock()
	defer u.outcomes.mu.Unlock()
	delete(u.outcomes.of, workload)
}
