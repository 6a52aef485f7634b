package agent

import (
	"fmt"
	"slices"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/backend"
)

// Causes of a workload's losses beyond its shares, beside those of unjudged frames.
const (
	holdFull = "hold_full" // no room to hold a packet until its application is known
	evicted  = "evicted"   // sessions that ended early for others
)

// shareLosses describe what a workload loses when it exceeds a share.
var shareLosses = map[string]string{
	backend.Flood:     "packets that begin something dropped, more than --first-packets",
	backend.RingShare: "frames dropped, more than its share of the packet ring",
	tableFull:         "frames without room for their session, more than its share of the session table",
	evicted:           "sessions ended early, more than its share of the session table",
	holdFull:          "packets without room to be held",
}

// exceedsFor is how long a loss is shown after the last one.
const exceedsFor = 30 * time.Second

// shareKey identifies a loss.
type shareKey struct{ workload, cause string }

// excess is a loss that is shown.
type excess struct {
	first, last time.Time
	n           uint64
}

// exceeds records that a workload exceeded a share, at a time in ns since the epoch. The lock is held.
func (w *unjudgedWatch) exceeds(k shareKey, n uint64, at int64) {
	if _, ok := shareLosses[k.cause]; !ok || n == 0 || k.workload == "" {
		return
	}
	now := time.Unix(0, at)
	x := w.over[k]
	if x == nil || now.Sub(x.last) > exceedsFor {
		if x == nil && len(w.over) >= maxEndpointNames {
			return
		}
		x = &excess{first: now}
		w.over[k] = x
	}
	x.last, x.n = now, x.n+n
}

// exceeding returns a sentence for each workload and share that it has exceeded lately. Names gives
// the name of a workload.
func (w *unjudgedWatch) exceeding(now time.Time, name func(id string) string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for k, x := range w.over {
		if now.Sub(x.last) > exceedsFor {
			delete(w.over, k)
			continue
		}
		out = append(out, fmt.Sprintf("%s: %s: %d %s, since %s", name(k.workload), k.cause, x.n, shareLosses[k.cause], x.first.Format(time.TimeOnly)))
	}
	slices.Sort(out)
	return out
}

// Exceeding returns a sentence for each workload and share that it has exceeded within the last half
// minute. Other workloads lose nothing by it. It is safe for concurrent use.
func (a *Agent) Exceeding() []string { return a.unjudged.exceedingNow(a.Workloads()) }

// exceedingNow is Agent.Exceeding, for workloads as they were reported last.
func (w *unjudgedWatch) exceedingNow(list []*controlv1.Workload) []string {
	return w.exceeding(time.Now(), func(id string) string {
		for _, x := range list {
			if x.Id == id {
				return x.Name
			}
		}
		return id
	})
}
