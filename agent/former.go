package agent

import (
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

// withoutAddresses returns the addresses of a list that another one does not have, whatever their prefixes.
func withoutAddresses(list, has []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(list, func(p netip.Prefix) bool {
		return slices.ContainsFunc(has, func(n netip.Prefix) bool { return n.Addr() == p.Addr() })
	})
}

// formerOwners are addresses that workloads no longer have.
type formerOwners struct {
	clock func(now time.Time) int64 // the engine's, by which sessions begin: it does not follow when the machine's is set
	list  []gone
}

func newFormerOwners(d Dataplane) *formerOwners {
	f := &formerOwners{clock: time.Time.UnixNano}
	if e, ok := d.(interface{ Now() int64 }); ok {
		f.clock = func(time.Time) int64 { return e.Now() }
	}
	return f
}

// add keeps addresses that a workload no longer has, under a version of the policy. The number of entries is
// bounded, also that of one workload, which may change its addresses as it likes.
func (f *formerOwners) add(g policy.Guest, now time.Time, version uint64) {
	g.Ended = f.clock(now)
	same := 0
	for i := range f.list {
		if f.list[i].ID == g.ID {
			same++
		}
	}
	if same >= maxRememberedEach {
		i := slices.IndexFunc(f.list, func(x gone) bool { return x.ID == g.ID })
		f.list = slices.Delete(f.list, i, i+1)
	}
	if len(f.list) >= maxRemembered {
		f.list = slices.Delete(f.list, 0, 1)
	}
	f.list = append(f.list, gone{Guest: g, until: now.Add(remembered), listed: version})
}

// guests returns all workloads, and the addresses that some had, as policy has them.
func (f *formerOwners) guests(workloads map[string]*tracked, now time.Time, version uint64) []policy.Guest {
	list := make([]policy.Guest, 0, len(workloads)+len(f.list))
	for _, id := range slices.Sorted(maps.Keys(workloads)) {
		list = append(list, workloads[id].guest())
	}
	for i := range f.list {
		f.list[i].Stale = f.stale(&f.list[i], now, version)
		list = append(list, f.list[i].Guest)
	}
	return list
}

// stale reports whether the policy may still list addresses as their former owner's. Without a policy (version
// 0) it lists none.
func (f *formerOwners) stale(g *gone, now time.Time, version uint64) bool {
	return version != 0 && g.listed >= version || f.clock(now)-g.Ended < int64(doubtful)
}

// forget removes expired addresses and reports whether policy has to be extended again. What the policy may
// still list is kept, however long the controller is unavailable.
func (f *formerOwners) forget(now time.Time, version uint64) bool {
	before := len(f.list)
	f.list = slices.DeleteFunc(f.list, func(g gone) bool { return now.After(g.until) && !f.stale(&g, now, version) })
	return len(f.list) < before || slices.ContainsFunc(f.list, func(g gone) bool { return g.Stale != f.stale(&g, now, version) })
}
