// Package owner keeps which run of an agent owns the name of its node. Reports are keyed by
// that name, so two agents that use one (a cloned machine, copied certificates, two pods of a
// DaemonSet during an update) would overwrite each other's workloads. The first one owns the
// name until it releases it or does not renew its lease; others are refused and remembered
// as rivals. It stores nothing and sends nothing.
package owner

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Times of a lease.
const (
	// Lease is how long a name stays with a run that does not renew it.
	Lease = 15 * time.Second
	// SuccessorLease is the same for a successor: a run on the same machine that holds the
	// folder of the run before, which therefore has ended.
	SuccessorLease = 5 * time.Second
	// RivalKept is how long a refused run is listed.
	RivalKept = 10 * time.Minute
	// maxRivals bounds the refused runs that are listed for a name.
	maxRivals = 16
	// maxNames bounds the names.
	maxNames = 100_000
)

// Run is one start of an agent.
type Run struct {
	ID      string `json:"run"`
	Machine string `json:"machine,omitempty"` // host name, for display
	Address string `json:"address,omitempty"` // as the controller sees it
	Version string `json:"version,omitempty"`
	Boot    string `json:"boot,omitempty"`    // of the kernel
	Started int64  `json:"started,omitempty"` // ns since the epoch
}

// Claim is a run's request for a name.
type Claim struct {
	Run
	// Previous is the run that this one follows on the same machine and folder; "" if none.
	Previous string
}

// Holding is who has a name.
type Holding struct {
	Run
	Until time.Time // when the lease ends if it is not renewed
}

// Rival is a run that was refused a name.
type Rival struct {
	Run
	At time.Time // of its last attempt
}

// Result is the answer to a claim.
type Result struct {
	Granted bool
	// Changed: the name has another owner than before, or a first one.
	Changed bool
	// NewRival: the refused run was not among the rivals.
	NewRival bool
	// Successor: the run follows the owner on its machine. If not granted, it is no rival: it gets
	// the name when the lease of the owner, which has ended, does.
	Successor bool
	Owner     Holding
}

// Registry may be used from any goroutine.
type Registry struct {
	now func() time.Time

	mu    sync.Mutex // guards names
	names map[string]*name
}

// name is one node's name.
type name struct {
	owner  Run
	seen   time.Time // of the owner's last renewal
	rivals []Rival
	heir   heir
}

// heir is a run that waits for the end of its owner's lease.
type heir struct {
	run string    // "" for none
	at  time.Time // of its first claim
}

// New returns an empty registry; now is its clock.
func New(now func() time.Time) *Registry {
	return &Registry{now: now, names: make(map[string]*name)}
}

// Restore makes a run the owner as it was stored by another controller: its lease begins again.
func (r *Registry) Restore(node string, owner Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[node] = &name{owner: owner, seen: r.now()}
}

// Claim gives a free name to a run, or renews its lease. A name that only
// fails to be renewed goes to the next run that claims it.
func (r *Registry) Claim(node string, c Claim) Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	n := r.names[node]
	if n == nil {
		if len(r.names) >= maxNames {
			r.sweep(now)
		}
		n = &name{}
		r.names[node] = n
	}
	switch {
	case n.owner.ID == c.ID:
		n.seen = now
		n.owner = merge(n.owner, c.Run)
		return Result{Granted: true, Owner: n.holding()}
	case n.owner.ID == "" || now.Sub(n.seen) >= n.lease(&c):
		successor := n.follows(&c)
		n.owner, n.seen, n.heir = c.Run, now, heir{}
		n.rivals = slices.DeleteFunc(n.rivals, func(x Rival) bool { return x.ID == c.ID })
		return Result{Granted: true, Changed: true, Successor: successor, Owner: n.holding()}
	case n.inherits(&c, now):
		return Result{Successor: true, Owner: n.holding()}
	}
	return Result{NewRival: n.refuse(c.Run, now), Owner: n.holding()}
}

// lease returns how long the owner keeps the name against a claim.
func (n *name) lease(c *Claim) time.Duration {
	if n.follows(c) {
		return SuccessorLease
	}
	return Lease
}

// follows reports whether a claim is of the run after the owner, on the same machine.
func (n *name) follows(c *Claim) bool {
	return c.Previous != "" && c.Previous == n.owner.ID && c.Boot != "" && c.Boot == n.owner.Boot
}

// inherits reports whether a refused run only waits for the owner's lease to end. An owner that still
// renews it has not ended: its folder was copied, and the run is a rival like any other.
func (n *name) inherits(c *Claim, now time.Time) bool {
	if n.heir.run != c.ID {
		if !n.follows(c) {
			return false
		}
		n.heir = heir{c.ID, now}
	}
	return !n.seen.After(n.heir.at)
}

// merge returns known with the new values of given.
func merge(known, given Run) Run {
	return Run{ID: known.ID, Machine: cmp.Or(given.Machine, known.Machine), Address: cmp.Or(given.Address, known.Address), Version: cmp.Or(given.Version, known.Version),
		Boot: cmp.Or(given.Boot, known.Boot), Started: cmp.Or(given.Started, known.Started)}
}

func (n *name) holding() Holding { return Holding{n.owner, n.seen.Add(Lease)} }

// refuse remembers a refused run and reports whether it is new.
func (n *name) refuse(run Run, now time.Time) bool {
	for i := range n.rivals {
		if n.rivals[i].ID == run.ID {
			n.rivals[i] = Rival{merge(n.rivals[i].Run, run), now}
			return false
		}
	}
	if len(n.rivals) >= maxRivals {
		n.rivals = slices.Delete(n.rivals, 0, 1)
	}
	n.rivals = append(n.rivals, Rival{run, now})
	return true
}

// Release gives a name up and reports whether the run had it.
func (r *Registry) Release(node, run string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[node]
	if n == nil {
		return false
	}
	if n.owner.ID != run {
		return false // a rival stays listed for a while, so that its visit is not missed
	}
	n.owner, n.seen = Run{}, time.Time{}
	return true
}

// Owner returns who has a name, and whether its lease is in force. The zero Holding is no owner.
func (r *Registry) Owner(node string) (h Holding, live bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[node]
	if n == nil || n.owner.ID == "" {
		return Holding{}, false
	}
	h = n.holding()
	return h, r.now().Before(h.Until)
}

// Rivals returns the runs that were refused a name lately, oldest first.
func (r *Registry) Rivals(node string) []Rival {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[node]
	if n == nil {
		return nil
	}
	now := r.now()
	n.rivals = slices.DeleteFunc(n.rivals, func(x Rival) bool { return now.Sub(x.At) > RivalKept })
	return slices.Clone(n.rivals)
}

// sweep removes names whose lease ended long ago. mu is held.
func (r *Registry) sweep(now time.Time) {
	for k, n := range r.names {
		if now.Sub(n.seen) > RivalKept {
			delete(r.names, k)
		}
	}
}
