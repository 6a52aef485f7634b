package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/sluicenet/sluice/core/backend"
)

// linger is how long the taps of an ended workload are kept: frames of a short-lived container are
// still in the rings, whose blocks are handed over every few milliseconds.
const linger = 200 * time.Millisecond

// leaving is an ended workload, with its taps.
type leaving struct {
	*tracked
	until time.Time
}

// detachEnded detaches an ended workload, but for its taps, which linger.
func (a *attachments) detachEnded(t *tracked) {
	for name, e := range t.endpoints {
		if e.at.Kind != backend.Tap {
			a.attacher.detach(t, name)
		}
	}
	if len(t.endpoints) > 0 {
		a.leaving = append(a.leaving, leaving{t, time.Now().Add(linger)})
		return
	}
	a.ended(t.ID)
}

// detachExpired detaches the taps whose time is over and returns when the next one's is; zero for none.
func (a *attachments) detachExpired(now time.Time) (next time.Time) {
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
			a.attacher.detach(l.tracked, name)
		}
		a.ended(l.ID)
	}
	clear(a.leaving[len(keep):])
	a.leaving = keep
	return next
}

// detachLingering detaches the lingering taps of a workload that is back under the same numbers.
func (a *attachments) detachLingering(id string) {
	for i := range a.leaving {
		if a.leaving[i].ID == id {
			a.leaving[i].until = time.Time{}
		}
	}
	a.detachExpired(time.Now())
}

// detachAll detaches all endpoints. The taps linger, so that what their workloads sent and received last is
// reported.
func (a *attachments) detachAll() {
	a.detachEach(func(e *endpoint) bool { return e.at.Kind != backend.Tap })
	for _, t := range a.workloads {
		if len(t.endpoints) > 0 {
			time.Sleep(linger)
			break
		}
	}
	a.detachExpired(time.Now().Add(linger))
	a.detachEach(func(*endpoint) bool { return true })
}

// detachEach detaches those endpoints of all workloads that fn accepts.
func (a *attachments) detachEach(fn func(*endpoint) bool) {
	sideBySide(slices.Collect(maps.Values(a.workloads)), func(t *tracked) {
		for name, e := range t.endpoints {
			if fn(e) {
				a.attacher.detach(t, name)
			}
		}
	})
}
