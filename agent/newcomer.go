package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/sluicenet/sluice/core/policy"
)

const (
	// remembered is how long an ended workload keeps its addresses in policy, unless another one has them:
	// its peers' ends of its connections may still exist, are judged again with every policy, and must not
	// become violations.
	remembered = time.Minute
	// maxRemembered bounds the ended workloads in policy.
	maxRemembered = 1024
)

// gone is an ended workload as policy has it.
type gone struct {
	policy.Guest
	until time.Time
}

// guest returns a workload as policy has it.
func (t *tracked) guest() policy.Guest {
	g := policy.Guest{ID: t.ID, Group: t.Group()}
	for i := range t.Interfaces {
		g.Addresses = append(g.Addresses, t.Interfaces[i].Addresses...)
	}
	return g
}

// remember keeps an ended workload for policy.
func (a *Agent) remember(t *tracked) {
	if t.HostNet {
		return
	}
	if len(a.gone) >= maxRemembered {
		a.gone = slices.Delete(a.gone, 0, 1)
	}
	a.gone = append(a.gone, gone{t.guest(), time.Now().Add(remembered)})
}

// forget removes expired workloads and reports whether there were any.
func (a *Agent) forget(now time.Time) bool {
	before := len(a.gone)
	a.gone = slices.DeleteFunc(a.gone, func(g gone) bool { return now.After(g.until) })
	return len(a.gone) < before
}

// recallPatience is how long a new policy waits until offloaded flows are recalled.
const recallPatience = time.Second

// enforcer is a Dataplane that recalls flows after Apply.
type enforcer interface {
	Enforced() uint64
	AwaitEnforced(version uint64, d time.Duration) bool
}

// adopt applies the policy, extended to new workloads: a new workload has the policy of its group at
// once, not only after the controller knows it.
func (a *Agent) adopt() {
	if a.base == nil {
		return
	}
	a.forget(time.Now())
	guests := make([]policy.Guest, 0, len(a.workloads)+len(a.gone))
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		guests = append(guests, a.workloads[id].guest())
	}
	for _, g := range slices.Backward(a.gone) {
		if a.workloads[g.ID] == nil {
			guests = append(guests, g.Guest)
		}
	}
	if t := a.base.With(guests); t != a.table {
		a.table = t
		a.cfg.Engine.Apply(t)
		a.host.Apply(t)
		// Flows that the previous policy offloaded come back soon, mostly; reports wait for that.
		if e, ok := a.cfg.Engine.(enforcer); ok && !e.AwaitEnforced(t.Version(), recallPatience) {
			a.log.Warn("flows of an older policy still pass in the kernel", "version", t.Version())
		}
	}
}
