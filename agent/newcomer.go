package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/sluicenet/sluice/core/policy"
)

const (
	// remembered is how long a workload that is gone keeps its addresses in policy, unless another one
	// has them: its peers' ends of its connections are still there, and are judged again
	// with every policy. They are no violations because it is gone.
	remembered = time.Minute
	// maxRemembered bounds the workloads that are remembered.
	maxRemembered = 1024
)

// gone is a workload as policy knew it.
type gone struct {
	policy.Guest
	until time.Time
}

// guest is a workload as policy takes it.
func (t *tracked) guest() policy.Guest {
	g := policy.Guest{ID: t.ID, Group: t.Group()}
	for i := range t.Interfaces {
		g.Addresses = append(g.Addresses, t.Interfaces[i].Addresses...)
	}
	return g
}

// remember keeps what policy has to know of a workload that is gone.
func (a *Agent) remember(t *tracked) {
	if t.HostNet {
		return
	}
	if len(a.gone) >= maxRemembered {
		a.gone = slices.Delete(a.gone, 0, 1)
	}
	a.gone = append(a.gone, gone{t.guest(), time.Now().Add(remembered)})
}

// forget ends the memory of those whose time is over, and says whether there were any.
func (a *Agent) forget(now time.Time) bool {
	before := len(a.gone)
	a.gone = slices.DeleteFunc(a.gone, func(g gone) bool { return now.After(g.until) })
	return len(a.gone) < before
}

// recallPatience is how long a new policy waits for flows that pass in the kernel to come back.
const recallPatience = time.Second

// enforcer is a Dataplane that recalls flows behind Apply.
type enforcer interface {
	Enforced() uint64
	AwaitEnforced(version uint64, d time.Duration) bool
}

// adopt puts the policy into force together with what it says of newcomers: a workload that has just
// begun has the policy of its group at once, not only when the controller has heard of it.
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
		// What passes in the kernel by the policy before comes back in a moment, mostly; reports wait for it.
		if e, ok := a.cfg.Engine.(enforcer); ok && !e.AwaitEnforced(t.Version(), recallPatience) {
			a.log.Warn("flows of an older policy still pass in the kernel", "version", t.Version())
		}
	}
}
