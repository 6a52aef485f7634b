package agent

import (
	"time"

	"github.com/sluicenet/sluice/core/backend"
)

// linger is how long the taps of a workload that is gone are kept: what a container of a moment sent
// is still on its way through the rings, whose blocks are handed over every few milliseconds.
const linger = 200 * time.Millisecond

// leaving is a workload that is gone, with the taps it had.
type leaving struct {
	*tracked
	until time.Time
}

// leave detaches what can be detached at once from a workload that is gone.
func (a *Agent) leave(t *tracked) {
	for name, e := range t.endpoints {
		if e.at.Kind != backend.Tap {
			a.detach(t, name)
		}
	}
	if len(t.endpoints) > 0 {
		a.leaving = append(a.leaving, leaving{t, time.Now().Add(linger)})
		return
	}
	a.uncount(t.ID)
}

// farewell detaches the taps whose time has come, and says when the next one's comes; zero is never.
func (a *Agent) farewell(now time.Time) (next time.Time) {
	keep := a.leaving[:0]
	for _, l := range a.leaving {
		if now.Before(l.until) {
			keep = append(keep, l)
			if next.IsZero() || l.until.Before(next) {
				next = l.until
			}
			continue
		}
		for name := range l.endpoints {
			a.detach(l.tracked, name)
		}
		a.uncount(l.ID)
	}
	clear(a.leaving[len(keep):])
	a.leaving = keep
	return next
}

// again detaches at once what is left of a workload's earlier life: it is back under the same numbers.
func (a *Agent) again(id string) {
	for i := range a.leaving {
		if a.leaving[i].ID == id {
			a.leaving[i].until = time.Time{}
		}
	}
	a.farewell(time.Now())
}
