package tenure_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sluicenet/sluice/agent/tenure"
	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// registrar is a controller of one name without leases: the first run has it until it
// releases it.
type registrar struct {
	controlv1.CollectorClient
	mu    sync.Mutex
	owner *controlv1.Owner
	away  error
	asked []*controlv1.RegisterNodeRequest
}

func (r *registrar) RegisterNode(_ context.Context, q *controlv1.RegisterNodeRequest, _ ...grpc.CallOption) (*controlv1.RegisterNodeResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q)
	switch {
	case r.away != nil:
		return nil, r.away
	case q.Release:
		if r.owner.GetRun() == q.Self.Run {
			r.owner = nil
		}
	case r.owner == nil:
		r.owner = q.Self
	}
	return &controlv1.RegisterNodeResponse{Granted: r.owner.GetRun() == q.Self.Run, Owner: r.owner}, nil
}

func claimant(r *registrar, run, folder string, log *bytes.Buffer) *tenure.Tenure {
	var logger *slog.Logger
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	return tenure.New(tenure.Config{Node: "n", Self: &controlv1.Owner{Run: run}, Folder: folder, Collector: r, Logger: logger})
}

// hold reports whether Hold returned within d.
func hold(t *tenure.Tenure, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return t.Hold(ctx) == nil
}

func TestSecondWaits(t *testing.T) {
	r := &registrar{}
	var log bytes.Buffer
	first, second := claimant(r, "first", t.TempDir(), nil), claimant(r, "second", t.TempDir(), &log)
	if !hold(first, time.Second) {
		t.Fatal("the first run did not get the name")
	}
	if hold(second, 300*time.Millisecond) {
		t.Fatal("a clone may attach while the owner lives")
	}
	if refused, _ := second.State(); refused.GetRun() != "first" {
		t.Errorf("refused by %v, want first", refused)
	}
	if w := second.Warnings(); len(w) != 1 || !strings.Contains(w[0], "another agent owns the name of node n") {
		t.Errorf("warnings are %q", w)
	}
	if got := strings.Count(log.String(), "node name refused"); got != 1 {
		t.Errorf("%d messages about one refusal, want 1:\n%s", got, &log)
	}
	second.Unlock()
	first.Release(context.Background())
	if !hold(second, 3*time.Second) {
		t.Error("the second run does not get the name after the first released it")
	}
	if refused, _ := second.State(); refused != nil || len(second.Warnings()) != 0 {
		t.Error("a granted name is still refused in status")
	}
}

// TestOverlap is a DaemonSet's update with a surge: the new pod starts on the folder of the old
// one, waits for its end, and is known as its successor.
func TestOverlap(t *testing.T) {
	r, folder := &registrar{}, t.TempDir()
	old, next := claimant(r, "old", folder, nil), claimant(r, "next", folder, nil)
	if !hold(old, time.Second) {
		t.Fatal("the first run did not get the name")
	}
	if hold(next, 300*time.Millisecond) {
		t.Fatal("two runs hold one folder")
	}
	if n := len(r.asked); n != 1 {
		t.Errorf("the waiting run registered %d times before it had the folder", n-1)
	}
	old.Release(context.Background())
	if !hold(next, 2*time.Second) {
		t.Fatal("the next run does not follow")
	}
	if last := r.asked[len(r.asked)-1]; last.Previous != "old" {
		t.Errorf("previous run is %q, want old", last.Previous)
	}
}

// TestKilled: after kill -9 the lease of the old run is in force for a while, and enforcement
// must not wait for it.
func TestKilled(t *testing.T) {
	r, folder := &registrar{}, t.TempDir()
	old := claimant(r, "old", folder, nil)
	if !hold(old, time.Second) {
		t.Fatal("the first run did not get the name")
	}
	old.Unlock() // as the kernel does
	var log bytes.Buffer
	next := claimant(r, "next", folder, &log)
	if !hold(next, time.Second) {
		t.Fatal("a restarted agent waits for its own lease")
	}
	if w := next.Warnings(); len(w) != 0 || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("its own previous run is reported as another agent: %q, log:\n%s", w, log.String())
	}
	if refused, _ := next.State(); refused.GetRun() != "old" {
		t.Errorf("refused by %v, want old until its lease ends", refused)
	}
}

func TestControllersAway(t *testing.T) {
	for name, err := range map[string]error{"unreachable": status.Error(codes.Unavailable, "no"), "of an earlier version": status.Error(codes.Unimplemented, "no"), "other": errors.New("no")} {
		r := &registrar{away: err}
		if !hold(claimant(r, "first", t.TempDir(), nil), time.Second) {
			t.Errorf("%s: the agent does not start without controllers", name)
		}
	}
}

func TestRefusedReport(t *testing.T) {
	r := &registrar{owner: &controlv1.Owner{Run: "other"}}
	c := claimant(r, "first", "", nil)
	c.Refused(context.Background(), status.Error(codes.Unavailable, "no"))
	if refused, _ := c.State(); refused != nil || len(r.asked) != 0 {
		t.Error("an unreachable controller is taken for a refusal")
	}
	c.Refused(context.Background(), status.Error(codes.FailedPrecondition, "no"))
	if refused, _ := c.State(); refused.GetRun() != "other" {
		t.Error("a refused report does not show in the state")
	}
}

func TestRivals(t *testing.T) {
	var log bytes.Buffer
	c := claimant(&registrar{}, "first", "", &log)
	list := []*controlv1.Owner{{Run: "clone", Machine: "m2", Address: "192.0.2.7"}}
	for range 3 {
		c.Rivals(list)
	}
	if got := strings.Count(log.String(), "was refused this node's name"); got != 1 {
		t.Errorf("%d messages about one rival, want 1", got)
	}
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "m2") {
		t.Errorf("warnings are %q", w)
	}
	c.Rivals(nil)
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("warnings after it is gone: %q", w)
	}
}
