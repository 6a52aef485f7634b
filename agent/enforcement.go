package agent

import (
	"log/slog"
	"slices"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/policy"
)

// enforcement is the policy in force: how each workload is to be attached, and the addresses by which it
// knows them. It belongs to Run's goroutine; wanted, choice and mode may run side by side.
type enforcement struct {
	engine  Dataplane
	hosts   applier // judges the sockets of the host's network
	where   translator
	choices map[string]string // Config.Choice
	log     *slog.Logger

	base *policy.Table // as the controller made it; nil before the first policy
	// table is extended, with services; extended is base, extended to workloads that it does not list yet.
	table, extended *policy.Table
	services        []policy.ServiceSpec
	former          *formerOwners
}

// translator knows translated destinations.
type translator interface{ Services() []policy.ServiceSpec }

// applier judges connections by a policy.
type applier interface{ Apply(t *policy.Table) }

func newEnforcement(cfg Config, hosts applier, where translator) *enforcement {
	return &enforcement{engine: cfg.Engine, hosts: hosts, where: where, choices: cfg.Choice, log: cfg.Logger, former: newFormerOwners(cfg.Engine)}
}

// version returns the version of the controller's policy; 0 before the first.
func (p *enforcement) version() uint64 {
	if p.base == nil {
		return 0
	}
	return p.base.Version()
}

// of returns the policy of a workload; nil if there is none yet.
func (p *enforcement) of(id string) *policy.Workload {
	if p.table == nil {
		return nil
	}
	return p.table.Workload(id)
}

// wanted returns how a workload's interfaces are to be attached.
func (p *enforcement) wanted(id string) (backend.Kind, backend.FailMode) {
	w := p.of(id)
	fail := backend.FailOpen
	if w != nil && w.FailClosed() {
		fail = backend.FailClosed
	}
	if w != nil && (w.Mode() == policy.Protect || w.Quarantined()) {
		return backend.Inline, fail
	}
	return backend.Tap, fail
}

// mode returns a workload's mode in text.
func (p *enforcement) mode(id string) string {
	if w := p.of(id); w != nil {
		return w.Mode().String()
	}
	return policy.Discover.String()
}

// remember keeps the addresses of a workload that ended.
func (p *enforcement) remember(t *tracked) {
	if !t.HostNet {
		p.former.add(t.guest(), time.Now(), p.version())
	}
}

// rememberLost keeps the addresses that a running workload no longer has; before is as it was.
func (p *enforcement) rememberLost(t *tracked, before policy.Guest) {
	if before.Addresses = withoutAddresses(before.Addresses, t.guest().Addresses); len(before.Addresses) > 0 && !t.HostNet {
		p.former.add(before, time.Now(), p.version())
	}
}

// forget removes expired addresses and reports whether policy has to be extended again.
func (p *enforcement) forget(now time.Time) bool { return p.former.forget(now, p.version()) }

// recallPatience is how long a new policy waits until offloaded flows are recalled.
const recallPatience = time.Second

// enforcer is a Dataplane that recalls flows after Apply.
type enforcer interface {
	Enforced() uint64
	AwaitEnforced(version uint64, d time.Duration) bool
}

// adopt applies the policy, extended to new workloads: a new workload has the policy of its group at
// once, not only after the controller knows it.
func (p *enforcement) adopt(workloads map[string]*tracked) {
	if p.base == nil {
		return
	}
	p.forget(time.Now())
	extended, services := p.base.With(p.former.guests(workloads, time.Now(), p.version())), p.where.Services()
	if extended == p.extended && slices.EqualFunc(services, p.services, policy.ServiceSpec.Equal) {
		return
	}
	p.extended, p.services = extended, services
	p.table = extended.Translating(services)
	p.engine.Apply(p.table)
	p.hosts.Apply(p.table)
	// Flows that the previous policy offloaded come back soon, mostly; reports wait for that.
	if e, ok := p.engine.(enforcer); ok && !e.AwaitEnforced(p.table.Version(), recallPatience) {
		p.log.Warn("flows of an older policy still pass in the kernel", "version", p.table.Version())
	}
}
