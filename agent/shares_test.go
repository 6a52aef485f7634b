package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
)

// TestExceeding: what a workload loses beyond its shares is shown for half a minute after the last loss, by
// workload and cause, and logged once in ten seconds; other losses are none of it.
func TestExceeding(t *testing.T) {
	w, c, log := watchOf(t, "")
	name := func(id string) string { return "name of " + id }
	now := time.Unix(1_800_000_000, 0)
	traffic := engine.Traffic{Workload: "db", Interface: "eth0", Backend: "inline", Dropped: map[string]uint64{"hold_full": 0}}
	c.stats.Traffic = []engine.Traffic{traffic}
	w.collect(now)
	check := func(at time.Duration, want ...string) {
		t.Helper()
		got := w.exceeding(now.Add(at), name)
		if !slices.EqualFunc(got, want, strings.HasPrefix) {
			t.Errorf("after %v: got %q, want %q", at, got, want)
		}
	}
	check(0)
	c.taken = []backend.Unjudged{{Endpoint: 1, Cause: backend.Flood, Dropped: true, Frames: 7}, {Endpoint: 1, Cause: backend.NoHeartbeat, Frames: 3},
		{Endpoint: 0, Cause: backend.RingShare, Dropped: true, Frames: 2}}
	w.collect(now.Add(time.Second))
	check(time.Second, "name of web: flood: 7 ")
	c.taken = []backend.Unjudged{{Endpoint: 1, Cause: backend.Flood, Dropped: true, Frames: 5}, {Endpoint: 2, Cause: backend.RingShare, Dropped: true, Frames: 2}}
	traffic.Evicted, traffic.Unjudged, traffic.Dropped = 4, 6, map[string]uint64{"hold_full": 9}
	c.stats.Traffic = []engine.Traffic{traffic}
	w.collect(now.Add(20 * time.Second))
	want := []string{"name of db: evicted: 4 sessions", "name of db: hold_full: 9 ", "name of db: ring_share: 2 ", "name of db: table_full: 6 ", "name of web: flood: 12 "}
	check(20*time.Second, want...)
	for i := range 20 {
		traffic.Evicted++
		c.stats.Traffic = []engine.Traffic{traffic}
		w.collect(now.Add(time.Duration(21+i) * time.Second))
	}
	check(49*time.Second, append([]string{"name of db: evicted: 24 sessions"}, want[1:]...)...)
	check(60*time.Second, "name of db: evicted: 24 sessions")
	check(71 * time.Second)
	if got := strings.Count(log.String(), "sessions ended early"); got < 2 || got > 4 {
		t.Errorf("%d log lines of sessions, want one in ten seconds: %s", got, log)
	}
	for _, u := range w.a.Unjudged() {
		if u.Cause == evicted {
			t.Errorf("sessions are counted as frames: %+v", u)
		}
	}
}

// TestExceedingIsBounded: the losses of very many workloads take bounded memory.
func TestExceedingIsBounded(t *testing.T) {
	w, _, _ := watchOf(t, "")
	for i := range maxEndpointNames + 10 {
		w.exceeds(shareKey{fmt.Sprint(i), backend.Flood}, 1, int64(i))
	}
	if len(w.over) > maxEndpointNames {
		t.Errorf("%d losses are kept, want %d", len(w.over), maxEndpointNames)
	}
}
