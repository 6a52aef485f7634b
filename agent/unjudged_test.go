package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/role"
)

// counting is a dataplane with counters, and a backend too.
type counting struct {
	stats engine.Stats
	taken []backend.Unjudged
}

func (*counting) Apply(*policy.Table)                        {}
func (*counting) Close() error                               { return nil }
func (*counting) Detach(uint32) error                        { return nil }
func (*counting) Drain(func(*flow.Record)) int               { return 0 }
func (*counting) Lost() <-chan uint32                        { return nil }
func (*counting) SetSockets(uint32, *role.Sockets)           {}
func (*counting) SetHeld(uint32, []role.Tuple, []role.Tuple) {}
func (*counting) Remember(*role.Memory)                      {}
func (*counting) Threats(func(*report.Threat)) int           { return 0 }
func (c *counting) Stats() engine.Stats                      { return c.stats }
func (c *counting) TakeUnjudged() (out []backend.Unjudged) {
	out, c.taken = c.taken, nil
	return out
}

// countingPlane and countingBackend have their own Attach.
type countingPlane struct{ *counting }

func (countingPlane) Attach(context.Context, backend.Backend, backend.Endpoint, string) error {
	return nil
}

type countingBackend struct{ *counting }

func (countingBackend) Attach(context.Context, backend.Endpoint) (backend.Attachment, error) {
	return nil, backend.ErrUnsupported
}

func watchOf(t *testing.T, data string) (*unjudgedWatch, *counting, *strings.Builder) {
	t.Helper()
	c, log := &counting{}, &strings.Builder{}
	a := New(Config{Node: "n", Engine: countingPlane{c}, Backend: countingBackend{c}, Data: data, Logger: slog.New(slog.NewTextHandler(log, nil))})
	w := a.unjudged
	for i, name := range []string{"web", "db"} {
		k := ifaceKey{workload: name, iface: "eth0"}
		w.ids[k], w.names[uint32(i+1)] = uint32(i+1), k
	}
	return w, c, log
}

func totals(a *Agent) []uplink.Unjudged {
	got := a.Unjudged()
	for i := range got {
		got[i].First, got[i].Last = 0, 0
	}
	return got
}

// TestUnjudgedCauses has each counter reported by interface and cause, only what is new, and what was
// counted from zero after a counter began again.
func TestUnjudgedCauses(t *testing.T) {
	w, c, _ := watchOf(t, "")
	w.degraded[ifaceKey{workload: "db", iface: "eth0"}] = true
	queue := func(q engine.QueueStats, s backend.Stats) engine.QueueStats { q.Stats = s; return q }
	web := engine.QueueStats{Workload: "web", Interface: "eth0", Backend: byQueues}
	c.taken = []backend.Unjudged{{Endpoint: 1, Cause: backend.NoHeartbeat, Frames: 3, Bytes: 180}, {Endpoint: 2, Cause: backend.Oversize, Dropped: true, Frames: 1}, {Cause: backend.RingFull, Dropped: true, Frames: 9}}
	c.stats = engine.Stats{
		Queues: []engine.QueueStats{queue(web, backend.Stats{Dropped: 2, Bypassed: 4, Full: 5}), queue(engine.QueueStats{Backend: "inline"}, backend.Stats{Dropped: 9})},
		Traffic: []engine.Traffic{
			{Workload: "web", Interface: "eth0", Backend: "inline", Unjudged: 6, Dropped: map[string]uint64{tableFull: 7, "denied": 100}},
			{Workload: "db", Interface: "eth0", Backend: "tap", Frames: [3]uint64{10, 1, 0}, Bytes: [3]uint64{600, 60, 0}},
			{Workload: "other", Interface: "eth0", Backend: "tap", Frames: [3]uint64{10, 1, 0}},
		},
	}
	w.collect(time.Now())
	w.collect(time.Now()) // nothing new
	row := func(workload, way, cause string, dropped bool, frames, bytes uint64) uplink.Unjudged {
		u := uplink.Unjudged{Workload: workload, Interface: "eth0", Backend: way, Cause: cause, Dropped: dropped, Frames: frames, Bytes: bytes}
		if workload == "" {
			u.Interface = ""
		}
		return u
	}
	want := []uplink.Unjudged{
		row("", "inline", "ring_full", true, 9, 0), row("db", "inline", "oversize", true, 1, 0), row("db", "tap", "detached", false, 11, 660),
		row("web", "inline", "heartbeat", false, 3, 180), row("web", "inline", "table_full", true, 7, 0), row("web", "inline", "table_full", false, 6, 0),
		row("web", byQueues, "queue_full", true, 5, 0), row("web", byQueues, "socket_full", false, 4, 0), row("web", byQueues, "socket_full", true, 2, 0),
	}
	if got := totals(w.a); !slices.Equal(got, want) {
		t.Errorf("reported\n%+v, want\n%+v", got, want)
	}
	c.stats = engine.Stats{Queues: []engine.QueueStats{queue(web, backend.Stats{Bypassed: 1})}} // attached again
	w.collect(time.Now())
	if got := totals(w.a); len(got) != len(want) || got[7].Frames != 5 {
		t.Errorf("after the counters began again: %+v", got)
	}
}

// TestUnjudgedRecords reports the packets of sessions that an enforcing endpoint let pass without a
// policy or without parsers, and marks those that lived while frames were lost.
func TestUnjudgedRecords(t *testing.T) {
	w, c, _ := watchOf(t, "")
	record := func(reason flow.Reason, edit func(*flow.Record)) {
		f := flow.Record{Endpoint: 1, Verdict: flow.Open, Reason: reason, Enforced: true, First: 10, Last: 20}
		f.Packets, f.Bytes = [2]uint64{2, 1}, [2]uint64{200, 100}
		if edit != nil {
			edit(&f)
		}
		w.record(&f)
	}
	record(flow.ByUnready, nil)
	record(flow.ByUnidentified, nil)
	record(flow.ByRule, nil)
	record(flow.ByUnready, func(f *flow.Record) { f.Enforced = false })
	record(flow.ByUnready, func(f *flow.Record) { f.Loopback = true })
	record(flow.ByUnidentified, func(f *flow.Record) { f.Verdict = flow.Deny })
	row := uplink.Unjudged{Workload: "web", Interface: "eth0", Backend: "inline", Frames: 3, Bytes: 300}
	plugin := row
	row.Cause, plugin.Cause = unready, noPlugin
	if got, want := totals(w.a), []uplink.Unjudged{plugin, row}; !slices.Equal(got, want) {
		t.Errorf("reported %+v, want %+v", got, want)
	}
	begin := time.Now()
	w.first = begin
	c.stats = engine.Stats{Queues: []engine.QueueStats{{Workload: "db", Interface: "eth0", Backend: "tap", Stats: backend.Stats{Dropped: 1}}}}
	w.collect(begin.Add(time.Second))
	if got := totals(w.a); len(got) != 2 {
		t.Errorf("what a tap lost is reported as unjudged: %+v", got)
	}
	at := func(s float64) int64 { return begin.Add(time.Duration(s * float64(time.Second))).UnixNano() }
	for _, x := range []struct {
		name     string
		endpoint uint32
		from, to float64
		want     bool
	}{{"before", 2, -3, -1, false}, {"lived through it", 2, -3, 5, true}, {"began in it", 2, 0.5, 5, true}, {"after", 2, 2, 3, false}, {"another interface", 1, -3, 5, false}} {
		f := flow.Record{Endpoint: x.endpoint, First: at(x.from), Last: at(x.to), Dir: packet.Egress}
		if w.record(&f); f.Lossy != x.want {
			t.Errorf("%s: lossy %t, want %t", x.name, f.Lossy, x.want)
		}
	}
}

// TestUnjudgedLog writes one line for each workload and cause in ten seconds, with all frames since the last.
func TestUnjudgedLog(t *testing.T) {
	w, c, log := watchOf(t, "")
	now := time.Now()
	for i := range 21 { // twenty seconds
		c.taken = []backend.Unjudged{{Endpoint: 1, Cause: backend.NoHeartbeat, Frames: 5}, {Endpoint: 2, Cause: backend.NoHeartbeat, Dropped: true, Frames: 1}}
		w.collect(now.Add(time.Duration(i) * time.Second))
	}
	for want, n := range map[string]int{
		`msg="frames passed without a verdict" workload=web backend=inline cause=heartbeat frames=5` + "\n":  1,
		`msg="frames passed without a verdict" workload=web backend=inline cause=heartbeat frames=50` + "\n": 2,
		`msg="frames dropped without a verdict" workload=db backend=inline cause=heartbeat frames=10` + "\n": 2,
		"without a verdict": 6,
	} {
		if got := strings.Count(log.String(), want); got != n {
			t.Errorf("%d lines with %s, want %d, in\n%s", got, want, n, log)
		}
	}
}

// TestAbsence reports the time since the previous run enforced something, once, when that is enforced again.
func TestAbsence(t *testing.T) {
	dir := t.TempDir()
	w, _, _ := watchOf(t, dir)
	w.beat.open()
	w.inline = 1
	died := time.Now().Add(-time.Minute).Truncate(time.Second)
	w.collect(died)
	if got := totals(w.a); len(got) != 0 {
		t.Errorf("the first run reports %+v", got)
	}
	next, _, log := watchOf(t, dir)
	next.beat.open()
	next.collect(time.Now())
	if got := next.a.Unjudged(); len(got) != 0 {
		t.Errorf("reported before anything is enforced: %+v", got)
	}
	next.inline = 1
	now := time.Now()
	next.collect(now)
	next.collect(now.Add(time.Second))
	got := next.a.Unjudged()
	if len(got) != 1 || got[0].Cause != uplink.NotRunning || got[0].First != died.UnixNano() || got[0].Last != now.UnixNano() {
		t.Errorf("reported %+v, want the time from %d to %d", got, died.UnixNano(), now.UnixNano())
	}
	if n := strings.Count(log.String(), "nothing was enforced while no agent ran"); n != 1 {
		t.Errorf("%d log lines:\n%s", n, log)
	}
	next.inline = 0
	next.collect(now.Add(2 * time.Second))
	if _, err := os.Stat(filepath.Join(dir, "enforced-n")); !os.IsNotExist(err) {
		t.Errorf("nothing is enforced, but the file is there: %v", err)
	}
}
