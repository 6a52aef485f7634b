package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

// guard keeps the last policy in force where the store lost it: a store that was emptied, replaced or set back
// would lower protection without an order.
type guard struct {
	log *slog.Logger

	mu   sync.Mutex            // guards what follows
	last *policy.Spec          // in force; nil before the first
	held *controlv1.HeldPolicy // last, while the store has another one; nil while it is the store's
}

// enforce sets the policy that is in force.
func (g *guard) enforce(s *policy.Spec) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		g.log.Info("policy of the store enforced again", "version", s.Version)
	}
	g.last, g.held = s, nil
}

// admits reports whether a policy of the store may replace the one in force.
func (g *guard) admits(s *policy.Spec) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last == nil || !g.last.Enforces() {
		return true
	}
	err := s.Follows(g.last)
	if err == nil {
		return true
	}
	o := g.last.Origin()
	reason := "the store is empty or another one"
	if errors.Is(err, policy.ErrOlder) {
		reason = "the store was set back to an older state"
	}
	if g.held == nil {
		g.log.Error("policy of the store refused, previous one stays in force", "version", o.Version, "offered", s.Version, "error", err)
	}
	g.held = &controlv1.HeldPolicy{Term: o.Term, Version: o.Version, Offered: s.Version, Reason: reason}
	return false
}

// state returns the policy that is held; nil while the store's is in force. The caller must not change it.
// It is safe for concurrent use.
func (g *guard) state() *controlv1.HeldPolicy {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held
}

// heldText is the warning about a held policy.
func heldText(h *controlv1.HeldPolicy) string {
	return fmt.Sprintf("policy %d stays in force, policy %d of the store is not enforced: %s. Restore the store from a backup, or, if it is right as it is, run `sluice store accept`",
		h.Version, h.Offered, h.Reason)
}
