// Package tenure makes one agent the owner of its node's name: on its machine by a lock on its data
// folder, and among all machines by registering with the controllers. Two agents with one name (a
// cloned machine, copied certificates, two pods of a DaemonSet during an update) would overwrite each
// other's reports; the second one waits. It sends only registrations, and attaches nothing.
package tenure

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

const (
	// tryEvery is how often a refused run tries again.
	tryEvery = time.Second
	// tryWait bounds one attempt.
	tryWait = 2 * time.Second
	// leaseOver is when the lease of a previous run that was killed must have ended.
	leaseOver = 20 * time.Second
	// logEvery is how often an ongoing refusal is logged again.
	logEvery = time.Minute
)

// Config is what a Tenure needs. Node, Run and Collector are required.
type Config struct {
	Node      string
	Self      *controlv1.Owner // run, version, started
	Folder    string           // the agent's data folder; "" for none
	Collector controlv1.CollectorClient
	Logger    *slog.Logger
}

// Tenure is one run's claim to its node's name.
type Tenure struct {
	cfg  Config
	log  *slog.Logger
	boot string

	lock     *lock     // nil without a folder
	previous string    // the run before this one, which has ended
	until    time.Time // when a lease of previous must have ended

	mu      sync.Mutex         // guards what follows
	refused *controlv1.Owner   // the owner instead of this run; nil while this run is
	rivals  []*controlv1.Owner // other runs that were refused
	logged  time.Time          // of the last message about refused
}

// New returns a Tenure, which Hold begins.
func New(cfg Config) *Tenure {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tenure{cfg: cfg, log: cfg.Logger, boot: bootID()}
	if host, err := os.Hostname(); err == nil {
		t.cfg.Self.Machine = host
	}
	return t
}

// bootID returns the id of the kernel's boot, "" where it is unknown: random(4).
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Hold returns when this run may attach workloads: it holds the lock of its folder, and either
// follows a run of the same machine, or the controllers granted it the name, or none of them
// answers. Agents enforce the policy on disk while controllers are away; that must not depend
// on them. It returns early, with ctx's error, when ctx ends.
func (t *Tenure) Hold(ctx context.Context) error {
	if t.cfg.Folder != "" {
		if err := t.lockFolder(ctx); err != nil {
			return err
		}
	}
	for {
		granted, err := t.Register(ctx)
		if granted || err != nil || t.previous != "" {
			return ctx.Err()
		}
		select {
		case <-time.After(tryEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lockFolder waits for the lock of the folder and remembers which run had it before.
func (t *Tenure) lockFolder(ctx context.Context) error {
	said := false
	for {
		l, previous, err := takeLock(t.cfg.Folder, t.cfg.Self.Run)
		if err == nil {
			t.lock, t.previous, t.until = l, previous, time.Now().Add(leaseOver)
			return nil
		}
		if err != errHeld {
			return fmt.Errorf("lock the data folder: %w: make %s writable, or give another with --data", err, t.cfg.Folder)
		}
		if !said {
			said = true
			t.log.Warn("another agent uses the data folder, waiting for its end", "folder", t.cfg.Folder)
		}
		select {
		case <-time.After(tryEvery / 10):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Register requests the name once and reports whether this run owns it. An error means that no
// controller was reached.
func (t *Tenure) Register(ctx context.Context) (granted bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryWait)
	defer cancel()
	a, err := t.cfg.Collector.RegisterNode(ctx, &controlv1.RegisterNodeRequest{Node: t.cfg.Node, Self: t.cfg.Self, Previous: t.previous, Boot: t.boot})
	if status.Code(err) == codes.Unimplemented {
		return true, nil // a controller of an earlier version knows no owners
	}
	if err != nil {
		return false, err
	}
	t.answered(a.Granted, a.Owner)
	return a.Granted, nil
}

// answered handles a controller's answer and logs changes.
func (t *Tenure) answered(granted bool, owner *controlv1.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case granted && t.refused != nil:
		t.log.Info("node name granted", "node", t.cfg.Node)
		t.refused = nil
	case granted:
	case t.inherits(owner):
		if t.refused == nil {
			t.log.Info("waiting for the lease of the previous run", "node", t.cfg.Node)
		}
		t.refused = owner
	default:
		if other := t.refused.GetRun() != owner.GetRun(); other || time.Since(t.logged) > logEvery {
			t.logged = time.Now()
			t.log.Error("node name refused, another agent owns it: give one another --node and certificate",
				"node", t.cfg.Node, "machine", owner.GetMachine(), "address", owner.GetAddress(), "started", time.Unix(0, owner.GetStarted()).UTC().Format(time.RFC3339))
		}
		t.refused = owner
		if t.refused == nil {
			t.refused = &controlv1.Owner{}
		}
	}
}

// inherits reports whether the owner is the previous run, which has ended: its lease will.
func (t *Tenure) inherits(owner *controlv1.Owner) bool {
	return t.previous != "" && owner.GetRun() == t.previous && time.Now().Before(t.until)
}

// Refused tries again to get the name after a report was refused with err. Other errors
// change nothing.
func (t *Tenure) Refused(ctx context.Context, err error) {
	if status.Code(err) == codes.FailedPrecondition {
		_, _ = t.Register(ctx)
	}
}

// Rivals sets the other runs that request the name, as the controllers report them.
func (t *Tenure) Rivals(list []*controlv1.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range list {
		if !slices.ContainsFunc(t.rivals, func(x *controlv1.Owner) bool { return x.Run == r.Run }) {
			t.log.Warn("another agent was refused this node's name: give it another --node and certificate", "node", t.cfg.Node, "machine", r.Machine, "address", r.Address)
		}
	}
	t.rivals = list
}

// State returns the owner of the name if that is another run, else nil, and the runs that were refused.
func (t *Tenure) State() (refused *controlv1.Owner, rivals []*controlv1.Owner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.refused, t.rivals
}

// Warnings returns sentences for status.
func (t *Tenure) Warnings() []string {
	refused, rivals := t.State()
	var out []string
	if refused != nil && !t.inherits(refused) {
		out = append(out, fmt.Sprintf("another agent owns the name of node %s (%s): nothing that this one reports is accepted until that one ends; give one of them another --node and certificate", t.cfg.Node, describe(refused)))
	}
	for _, r := range rivals {
		out = append(out, fmt.Sprintf("another agent uses the name of node %s and is refused (%s): give it another --node and certificate", t.cfg.Node, describe(r)))
	}
	return out
}

// describe returns a run in words.
func describe(o *controlv1.Owner) string {
	return fmt.Sprintf("on %s at %s, run %.8s", o.GetMachine(), o.GetAddress(), o.GetRun())
}

// Release releases the name and the folder.
func (t *Tenure) Release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tryWait)
	defer cancel()
	_, _ = t.cfg.Collector.RegisterNode(ctx, &controlv1.RegisterNodeRequest{Node: t.cfg.Node, Self: t.cfg.Self, Boot: t.boot, Release: true})
	t.Unlock()
}

// Unlock releases the folder.
func (t *Tenure) Unlock() {
	if t.lock != nil {
		t.lock.release()
		t.lock = nil
	}
}
