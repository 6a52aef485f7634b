package controller_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/internal/specstore"
	"github.com/sluicenet/sluice/store"
)

// spec waits for a policy of a node that is newer than a version.
func (l *lab) spec(node string, after uint64) *policy.Spec {
	l.t.Helper()
	var s *policy.Spec
	eventually(l.t, "a policy", func() bool {
		var err error
		s, err = specstore.Read(l.t.Context(), l.store, node)
		return err == nil && s != nil && s.Version > after
	})
	return s
}

// TestLineage checks that each policy of a store has all before it in its history, across restarts, and that
// one of another store has not.
func TestLineage(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	all := []*policy.Spec{l.spec("n1", 0)}
	for range 3 {
		l.restart()
		l.shop("n1")
		all = append(all, l.spec("n1", all[len(all)-1].Version))
	}
	for i, s := range all {
		for j, before := range all {
			if err := s.Follows(before); (err == nil) != (i >= j) {
				t.Errorf("policy %d after %d: %v", s.Version, before.Version, err)
			}
		}
	}
	other := newLab(t)
	other.shop("n1")
	if err := other.spec("n1", 0).Follows(all[0]); !errors.Is(err, policy.ErrStranger) {
		t.Errorf("a policy of another store: %v", err)
	}
}

// holds sends the status of an agent, which may hold a policy.
func (l *lab) holds(node string, version uint64, held *controlv1.HeldPolicy) {
	l.t.Helper()
	must[*controlv1.ReportStatusResponse](l.t)(l.collector.ReportStatus(l.t.Context(), &controlv1.ReportStatusRequest{Node: node, Run: "boot-1", Policy: version, Held: held}))
}

// TestAcceptStore checks that what agents hold is shown, is not taken for enforced, and is given up by an order
// alone: of all nodes, or of those that are named.
func TestAcceptStore(t *testing.T) {
	l := newLab(t)
	l.shop("n1")
	l.shop("n2")
	kept := &policy.Spec{Version: 5000, Lineage: &policy.Lineage{Terms: []policy.Term{{ID: "lost", First: 1}}}}
	held := &controlv1.HeldPolicy{Term: "lost", Version: 5000, Offered: 1, Reason: "the store is empty or another one"}
	l.spec("n2", 0)
	l.holds("n1", 5000, held)
	l.holds("n2", 5000, held)
	st := must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{}))
	for _, n := range st.Nodes {
		if n.Held.GetVersion() != 5000 {
			t.Errorf("status of %s has no held policy: %v", n.Node, n)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	set := must[*controlv1.SetModeResponse](t)(l.control.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"svc:default/api"}, Mode: controlv1.Mode_MODE_MONITOR, Wait: true}))
	if set.Enforced {
		t.Error("a mode is reported as enforced by agents that hold another policy")
	}
	if err := l.spec("n1", set.Policy-1).Follows(kept); !errors.Is(err, policy.ErrStranger) {
		t.Errorf("without an order: %v", err)
	}
	if _, err := l.control.AcceptStore(t.Context(), &controlv1.AcceptStoreRequest{Nodes: []string{"n3"}}); err == nil || !strings.Contains(err.Error(), `no node is called "n3"`) {
		t.Errorf("an unknown node: %v", err)
	}
	r := must[*controlv1.AcceptStoreResponse](t)(l.control.AcceptStore(t.Context(), &controlv1.AcceptStoreRequest{Nodes: []string{"n2"}}))
	if len(r.Nodes) != 1 || r.Nodes[0] != "n2" || r.Policy <= 5000 {
		t.Errorf("accepted %v", r)
	}
	if err := l.spec("n2", r.Policy-1).Follows(kept); err != nil {
		t.Errorf("accepted: %v", err)
	}
	l.restart() // the order outlives the controller
	l.shop("n2")
	if err := l.spec("n2", r.Policy).Follows(kept); err != nil {
		t.Errorf("accepted, after a restart: %v", err)
	}
	l.holds("n2", 6000, nil)
	if r := must[*controlv1.AcceptStoreResponse](t)(l.control.AcceptStore(t.Context(), &controlv1.AcceptStoreRequest{})); len(r.Nodes) != 0 {
		t.Errorf("nothing is held, and %v was accepted", r.Nodes)
	}
}

// TestStoreFull checks that a store that takes no changes is shown, and that what is enforced stays.
func TestStoreFull(t *testing.T) {
	l := newLab(t)
	full := make(chan bool, 1)
	full <- false
	l.stop()
	l.commit = func([]store.Op) error {
		f := <-full
		full <- f
		if f {
			return errors.New("no space left on device")
		}
		return nil
	}
	l.start()
	l.shop("n1")
	before := l.spec("n1", 0)
	<-full
	full <- true
	if _, err := l.control.SetMode(t.Context(), &controlv1.SetModeRequest{Groups: []string{"svc:default/api"}, Mode: controlv1.Mode_MODE_PROTECT}); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a change on a full disk: %v", err)
	}
	warnings := func() string {
		return strings.Join(must[*controlv1.StatusResponse](t)(l.control.Status(t.Context(), &controlv1.StatusRequest{})).Warnings, "\n")
	}
	eventually(t, "the warning", func() bool { return strings.Contains(warnings(), "no space left on device") })
	if s, err := specstore.Read(t.Context(), l.store, "n1"); err != nil || s.Version != before.Version {
		t.Errorf("the policy in the store changed: %v, %v", s, err)
	}
	<-full
	full <- false
	l.spec("n1", before.Version)
	eventually(t, "no warning with room again", func() bool { return warnings() == "" })
}
