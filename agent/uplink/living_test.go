package uplink_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicenet/sluice/agent/uplink"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// lifeOf runs an agent's life that sees these records; it says how many sessions it told to have begun.
func lifeOf(t *testing.T, file string, leave bool, records_ ...flow.Record) uint64 {
	t.Helper()
	c, r := &collector{}, &records{}
	u := uplink.New(uplink.Config{Records: r, Collector: c.serve(t), Node: "n", Run: "b", Living: file, Interval: time.Millisecond, Workload: func(uint32) string { return "w" }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); u.Run(ctx) }()
	for i, f := range records_ {
		if leave && i == len(records_)-1 {
			u.Leave() // before the end, which may come in one tick with the beginning
		}
		r.put(f)
		time.Sleep(3 * time.Millisecond) // most come in different ticks; the outcome is the same
	}
	cancel()
	<-done
	began, _, _ := c.sums()
	return began
}

// TestLiving has sessions that go on while the agent is exchanged: only what is new is counted.
func TestLiving(t *testing.T) {
	udp := func(f *flow.Record) { f.Proto, f.ClientPort = 17, 777 }
	mid := func(f *flow.Record) { f.Midstream = true }
	turned := func(f *flow.Record) {
		f.Midstream, f.Dir = true, packet.Ingress
		f.Client, f.Server, f.ClientPort, f.ServerPort = f.Server, f.Client, f.ServerPort, f.ClientPort
	}
	start := func(edit func(*flow.Record)) []flow.Record { return []flow.Record{record(1, flow.Start, edit)} }
	cases := []struct {
		name          string
		first, second []flow.Record
		leave         bool // the first life ends as it is asked to
		want          uint64
	}{
		{"goes on", start(nil), start(mid), false, 0},
		{"goes on, client and server mistaken", start(nil), start(turned), false, 0},
		{"goes on and is told late", start(undecided), start(mid), false, 0},
		{"goes on and ends at once", start(nil), []flow.Record{record(1, flow.Start, mid), record(1, flow.End, mid)}, false, 0},
		{"datagrams go on", start(udp), start(udp), false, 0},
		{"ended before", []flow.Record{record(1, flow.Start, nil), record(1, flow.End, nil)}, start(mid), false, 1},
		{"let go at the end", []flow.Record{record(1, flow.Start, nil), record(1, flow.End, nil)}, start(mid), true, 0},
		{"a new one from the same port", start(nil), start(nil), false, 1},
		{"another one", start(nil), []flow.Record{record(2, flow.Start, mid)}, false, 1},
		{"pings", start(func(f *flow.Record) { f.Proto = 1 }), start(func(f *flow.Record) { f.Proto = 1 }), false, 1},
		{"twice over", start(nil), []flow.Record{record(1, flow.Start, mid), record(1, flow.End, mid), record(7, flow.Start, func(f *flow.Record) { f.Midstream, f.ClientPort = true, 30001 })}, false, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "sessions")
			if got := lifeOf(t, file, c.leave, c.first...); got != 1 {
				t.Fatalf("first life: %d began, want 1", got)
			}
			if got := lifeOf(t, file, false, c.second...); got != c.want {
				t.Errorf("second life: %d began, want %d", got, c.want)
			}
		})
	}
}

// TestLivingLong exchanges the agent more than once while one session goes on, and cuts the file as
// a kill in the middle of a write would.
func TestLivingLong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sessions")
	mid := func(f *flow.Record) { f.Midstream = true }
	if got := lifeOf(t, file, false, record(1, flow.Start, nil)); got != 1 {
		t.Fatalf("first life: %d began, want 1", got)
	}
	for range 3 {
		if got := lifeOf(t, file, false); got != 0 { // it sees nothing of it
			t.Errorf("an idle life: %d began, want none", got)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte("+abc")); err != nil {
			t.Fatal(err)
		}
		f.Close()
		if got := lifeOf(t, file, false, record(1, flow.Start, mid)); got != 0 {
			t.Errorf("a life that sees it: %d began, want none", got)
		}
	}
	if err := os.WriteFile(file, []byte("not ours, but long enough"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := lifeOf(t, file, false, record(1, flow.Start, mid)); got != 1 {
		t.Errorf("after the file was damaged: %d began, want 1", got)
	}
}
