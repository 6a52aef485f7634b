package agent

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/workload"
	"github.com/sluicenet/sluice/core/backend"
)

// TestEarlier: a zero time is none.
func TestEarlier(t *testing.T) {
	one, two := time.Unix(1, 0), time.Unix(2, 0)
	for _, c := range []struct{ a, b, want time.Time }{{one, two, one}, {two, one, one}, {time.Time{}, two, two}, {two, time.Time{}, two}, {}} {
		if got := earlier(c.a, c.b); got != c.want {
			t.Errorf("earlier(%v, %v) is %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// TestMarkLost: an attachment that ended is made again, and others are not.
func TestMarkLost(t *testing.T) {
	a := newAttachments(Config{Logger: slog.New(slog.DiscardHandler)}, &enforcement{}, newEndpointNames(), func(string) {})
	attached := func(id uint32) *endpoint {
		return &endpoint{id: id, planned: true, at: backend.Endpoint{ID: id, Kind: backend.Tap}}
	}
	a.workloads["web"] = &tracked{Workload: workload.Workload{ID: "web"}, endpoints: map[string]*endpoint{"eth0": attached(1), "eth1": attached(2)}}
	a.markLost(2)
	if _, e := a.endpointByID(1); e.at.Kind != backend.Tap || !e.planned {
		t.Errorf("the other one: %+v", e)
	}
	if w, e := a.endpointByID(2); w.ID != "web" || e.at.Kind != backend.NoKind || e.planned {
		t.Errorf("the lost one: %+v", e)
	}
	if used := a.used(); len(used) != 2 || !used[1] || !used[2] {
		t.Errorf("numbers in use: %v", used)
	}
}

// TestNotices: a warning is logged when it appears, and again when it comes back.
func TestNotices(t *testing.T) {
	var log strings.Builder
	n := newNotices(slog.New(slog.NewTextHandler(&log, nil)))
	n.set("b", "second")
	n.set("a", "first")
	n.set("c", "third")
	n.set("c", "")
	if got := strings.Join(n.list(), " "); got != "first second" {
		t.Errorf("notes: %q", got)
	}
	for _, list := range [][]string{{"x", "y"}, {"x"}, {"x", "y"}} {
		n.logNew(list)
	}
	if x, y := strings.Count(log.String(), "msg=x"), strings.Count(log.String(), "msg=y"); x != 1 || y != 2 {
		t.Errorf("logged %d and %d times:\n%s", x, y, log.String())
	}
}
