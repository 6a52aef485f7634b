package agent

import (
	"fmt"
	"maps"
	"net/netip"
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
	// maxRememberedEach bounds those of one workload.
	maxRememberedEach = 16
)

// gone is addresses that a workload no longer has, as policy has it.
type gone struct {
	policy.Guest
	until time.Time
	// listed is the version of the policy then, which lists the addresses as the workload's.
	listed uint64
}

// doubtful is how long the policy may still list an address that its owner no longer has: the next
// version may have been made before the controller knew.
const doubtful = 2 * time.Second

// guest returns a workload as policy has it.
func (t *tracked) guest() policy.Guest {
	g := policy.Guest{ID: t.ID, Group: t.Group()}
	for i := range t.Interfaces {
		if t.HostNet {
			break // its addresses are the node's
		}
		g.Addresses = append(g.Addresses, t.Interfaces[i].Addresses...)
	}
	return g
}

// remember keeps an ended workload for policy.
func (a *Agent) remember(t *tracked) {
	if !t.HostNet {
		a.rememberAddresses(t.guest())
	}
}

// rememberLost keeps the addresses that a running workload no longer has; before is as it was.
func (a *Agent) rememberLost(t *tracked, before policy.Guest) {
	now := t.guest().Addresses
	has := func(p netip.Prefix) bool {
		return slices.ContainsFunc(now, func(n netip.Prefix) bool { return n.Addr() == p.Addr() })
	}
	before.Addresses = slices.DeleteFunc(before.Addresses, has)
	if len(before.Addresses) > 0 && !t.HostNet {
		a.rememberAddresses(before)
	}
}

// rememberAddresses keeps addresses that a workload no longer has. The number of entries is bounded, also
// that of one workload, which may change its addresses as it likes.
func (a *Agent) rememberAddresses(g policy.Guest) {
	now := time.Now()
	g.Ended = a.engineTime(now)
	same := 0
	for i := range a.gone {
		if a.gone[i].ID == g.ID {
			same++
		}
	}
	if same >= maxRememberedEach {
		i := slices.IndexFunc(a.gone, func(x gone) bool { return x.ID == g.ID })
		a.gone = slices.Delete(a.gone, i, i+1)
	}
	if len(a.gone) >= maxRemembered {
		a.gone = slices.Delete(a.gone, 0, 1)
	}
	x := gone{Guest: g, until: now.Add(remembered)}
	if a.base != nil {
		x.listed = a.base.Version()
	}
	a.gone = append(a.gone, x)
}

// guests returns all workloads, and the addresses that some had, as policy has them.
func (a *Agent) guests(now time.Time) []policy.Guest {
	list := make([]policy.Guest, 0, len(a.workloads)+len(a.gone))
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		list = append(list, a.workloads[id].guest())
	}
	for i := range a.gone {
		a.gone[i].Stale = a.stale(&a.gone[i], now)
		list = append(list, a.gone[i].Guest)
	}
	return list
}

// engineTime returns the time by the engine's clock, by which sessions begin; that does not follow when the
// machine's is set.
func (a *Agent) engineTime(now time.Time) int64 {
	if e, ok := a.cfg.Engine.(interface{ Now() int64 }); ok {
		return e.Now()
	}
	return now.UnixNano()
}

// stale reports whether the policy may still list addresses as their former owner's.
func (a *Agent) stale(g *gone, now time.Time) bool {
	return a.base != nil && g.listed >= a.base.Version() || a.engineTime(now)-g.Ended < int64(doubtful)
}

// forget removes expired addresses and reports whether policy has to be extended again. What the policy may
// still list is kept, however long the controller is unavailable.
func (a *Agent) forget(now time.Time) bool {
	before := len(a.gone)
	a.gone = slices.DeleteFunc(a.gone, func(g gone) bool { return now.After(g.until) && !a.stale(&g, now) })
	return len(a.gone) < before || slices.ContainsFunc(a.gone, func(g gone) bool { return g.Stale != a.stale(&g, now) })
}

// twins returns sentences about addresses that workloads of several groups have.
func (a *Agent) twins() (out []string) {
	first := map[netip.Addr]*tracked{}
	for _, id := range slices.Sorted(maps.Keys(a.workloads)) {
		t := a.workloads[id]
		for _, p := range t.guest().Addresses {
			other := first[p.Addr()]
			switch {
			case other == nil:
				first[p.Addr()] = t
			case other.Group() != t.Group():
				out = append(out, fmt.Sprintf("workloads %s and %s both have the address %s: a connection with it needs rules for both", other.Name, t.Name, p.Addr()))
			}
		}
	}
	return out
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
	if t := a.base.With(a.guests(time.Now())).Translating(a.where.Services()); t != a.table {
		a.table = t
		a.cfg.Engine.Apply(t)
		a.host.Apply(t)
		// Flows that the previous policy offloaded come back soon, mostly; reports wait for that.
		if e, ok := a.cfg.Engine.(enforcer); ok && !e.AwaitEnforced(t.Version(), recallPatience) {
			a.log.Warn("flows of an older policy still pass in the kernel", "version", t.Version())
		}
	}
}
