package agent_test

import (
	"strings"
	"testing"

	"github.com/sluicenet/sluice/agent/workload"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/store/embedded"
)

// offer writes a policy of a store's history into the store, in place of one that is there.
func (l *lab) offer(version uint64, mode policy.Mode, history *policy.Lineage) {
	l.t.Helper()
	s := &policy.Spec{Version: version, Groups: []policy.GroupSpec{{Name: "any", Any: true}}, Identities: []policy.IdentitySpec{{}}, Lineage: history}
	s.Workloads = []policy.WorkloadSpec{{ID: "netns:web", Mode: mode}}
	if err := specstore.Remove(l.t.Context(), l.store, "n1"); err != nil {
		l.t.Fatal(err)
	}
	if err := specstore.Write(l.t.Context(), l.store, "n1", s); err != nil {
		l.t.Fatal(err)
	}
}

// in waits until a version is in force and reported, held or not.
func (l *lab) in(version uint64, held bool) {
	l.t.Helper()
	l.until("the policy in force", func() bool {
		l.coll.mu.Lock()
		defer l.coll.mu.Unlock()
		s := l.coll.status
		if s == nil || s.Policy != version || (s.Held != nil) != held || held && s.Held.Version != version {
			return false
		}
		l.plane.mu.Lock()
		defer l.plane.mu.Unlock()
		return l.plane.version == version
	})
}

// restart runs another agent on the same folder, whose source has no workloads.
func (l *lab) restart() {
	l.stop()
	l.start()
	l.source <- workload.Event{Kind: workload.Synced}
}

func history(terms ...policy.Term) *policy.Lineage { return &policy.Lineage{Terms: terms} }

// TestLostStore checks that a policy that protects stays in force when the store is emptied, replaced or set
// back, also across restarts of the agent, until the store has it in its history or a user accepts the store.
func TestLostStore(t *testing.T) {
	accepted := history(policy.Term{ID: "z", First: 1})
	accepted.Accept(policy.Origin{Term: "b", Version: 7})
	for _, c := range []struct {
		name    string
		version uint64
		history *policy.Lineage
		reason  string // "" for a policy that is enforced
	}{
		{"an empty store", 1, history(policy.Term{ID: "z", First: 1}), "empty or another"},
		{"an empty store with many versions", 900, history(policy.Term{ID: "z", First: 1}), "empty or another"},
		{"an older store", 5, history(policy.Term{ID: "a", First: 1}), "older state"},
		{"an older store with newer versions", 9, history(policy.Term{ID: "a", First: 1}, policy.Term{ID: "c", First: 4}), "older state"},
		{"a controller of an earlier version on an empty store", 9, nil, "empty or another"},
		{"the same store", 8, history(policy.Term{ID: "a", First: 1}, policy.Term{ID: "b", First: 6}, policy.Term{ID: "c", First: 8}), ""},
		{"an accepted store", 8, accepted, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.offer(7, policy.Protect, history(policy.Term{ID: "a", First: 1}, policy.Term{ID: "b", First: 6}))
			l.in(7, false)
			l.offer(c.version, policy.Discover, c.history)
			if c.reason == "" {
				l.in(c.version, false)
				return
			}
			for range 2 {
				l.in(7, true)
				h := l.held()
				if h.Offered != c.version || !strings.Contains(h.Reason, c.reason) {
					t.Errorf("held %v, want %d offered because of %q", h, c.version, c.reason)
				}
				if w := strings.Join(l.coll.status.Warnings, "\n"); !strings.Contains(w, "sluice store accept") {
					t.Errorf("warnings %q do not name the command", w)
				}
				l.restart()
			}
			accepted := c.history
			if accepted == nil {
				accepted = history(policy.Term{ID: "z", First: 1})
			}
			accepted.Accept(policy.Origin{Term: h7(t, l).Term, Version: 7})
			l.offer(max(c.version, 7)+1, policy.Discover, accepted)
			l.in(max(c.version, 7)+1, false)
		})
	}
}

// h7 returns the held policy.
func h7(t *testing.T, l *lab) *controlv1.HeldPolicy {
	t.Helper()
	l.in(7, true)
	return l.held()
}

func (l *lab) held() *controlv1.HeldPolicy {
	l.coll.mu.Lock()
	defer l.coll.mu.Unlock()
	return l.coll.status.Held
}

// TestNothingToHold checks that a policy that refuses nothing gives way to any.
func TestNothingToHold(t *testing.T) {
	l := newLab(t)
	l.offer(7, policy.Monitor, history(policy.Term{ID: "a", First: 1}))
	l.in(7, false)
	l.offer(1, policy.Discover, history(policy.Term{ID: "z", First: 1}))
	l.in(1, false)
}

// TestNewStoreBeforeStart checks that an agent that starts with a policy on disk does not enforce that of
// another store for a moment.
func TestNewStoreBeforeStart(t *testing.T) {
	l := newLab(t)
	l.offer(7, policy.Protect, history(policy.Term{ID: "a", First: 1}))
	l.in(7, false)
	l.stop()
	st, err := embedded.Open(t.TempDir()+"/other.db", embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	l.store = st
	l.offer(3, policy.Discover, history(policy.Term{ID: "z", First: 1}))
	l.restart()
	l.in(7, true)
	if calls := strings.Count(strings.Join(l.plane.calls, " "), "apply"); calls != 1 {
		t.Errorf("%d policies applied, want only the one on disk", calls)
	}
}
