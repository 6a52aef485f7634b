package host_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/plugins/host"
)

// session opens a connection, sends a text, and enough behind it and as an answer for other parsers to decline, and returns the newest record of it that satisfies a condition.
func (b *bed) session(t *testing.T, v6 bool, port uint16, text string, ok func(flow.Record) bool) flow.Record {
	t.Helper()
	c := newConn(v6, port)
	b.q.give(c.open()...)
	b.q.give(c.frame(0, packet.ACK|packet.PSH, text+strings.Repeat("-", 64)+"\n"))
	b.q.give(c.frame(1, packet.ACK|packet.PSH, strings.Repeat("-", 64)+"\n"))
	until(t, text, func() bool { return ok(b.drain(port)) })
	return b.drain(port)
}

func decided(f flow.Record) bool { return f.Session != 0 && app.ID(f.App) != app.Undecided }

// TestPanicIsUnidentified makes a parser panic on what a client sends. The session has no name that rules are learned of, the
// panic is counted and reported with its place, and the plugin continues.
func TestPanicIsUnidentified(t *testing.T) {
	for _, plugins := range [][]string{{"says"}, {"standard", "says"}} {
		t.Run(strings.Join(plugins, " and "), func(t *testing.T) {
			var log journal
			h := start(t, host.Config{Plugins: roles(plugins...), Logger: log.logger()})
			b := newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Discover})
			last := len(plugins) - 1
			pid := h.Status()[last].PID
			families(t, func(t *testing.T, v6 bool) {
				port := uint16(41004)
				if v6 {
					port = 41006
				}
				f := b.session(t, v6, port, "PANIC\n", decided)
				if app.ID(f.App) != app.Unknown || f.Reason != flow.ByUnidentified || f.Verdict != flow.Learn {
					t.Errorf("%v %v by %v, want unknown, learn by unidentified", app.ID(f.App), f.Verdict, f.Reason)
				}
			})
			s := h.Status()[last]
			if s.Panics != 2 || count(h, "panics") != 2 || s.Restarts != 0 || !s.Running || s.PID != pid {
				t.Errorf("status %+v, want 2 panics of a process that runs on as %d", s, pid)
			}
			if !strings.Contains(s.Last, "index out of range") || !strings.Contains(s.Last, "main_test.go:") {
				t.Errorf("last error %q, want the panic and its place", s.Last)
			}
			if l := log.lines("plugin parser panicked"); len(l) == 0 || !strings.Contains(l[0], "plugin=says") {
				t.Errorf("log lines %q, want one of says", l)
			}
			id, err := app.Parse("test-says")
			if err != nil {
				t.Fatal(err)
			}
			f := b.session(t, false, 40001, "NAME\n", func(f flow.Record) bool { return app.ID(f.App) == id })
			if f.Reason == flow.ByUnidentified {
				t.Errorf("the session after a panic: %+v", f)
			}
		})
	}
}

// TestCrashIsCounted ends the whole process by a panic and by exit codes: the reason is in its status, in the process's own words.
func TestCrashIsCounted(t *testing.T) {
	for word, want := range map[string]struct {
		panics uint64
		last   string
	}{"CRASH": {1, "it ended: exit status 2: panic: crash of all"}, "EXIT": {0, "it ended: exit status 4"}} {
		t.Run(word, func(t *testing.T) {
			var log journal
			h := start(t, host.Config{Plugins: roles("says"), Logger: log.logger()})
			b := newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Discover})
			f := b.session(t, true, 40000, word+"\n", decided)
			if app.ID(f.App) != app.Unknown || f.Reason != flow.ByUnidentified {
				t.Errorf("%v by %v, want unknown by unidentified", app.ID(f.App), f.Reason)
			}
			until(t, "a restart", func() bool { s := h.Status()[0]; return s.Running && s.Restarts == 1 })
			if s := h.Status()[0]; s.Panics != want.panics || s.Last != want.last {
				t.Errorf("%d panics, last error %q; want %d and %q", s.Panics, s.Last, want.panics, want.last)
			}
			if word == "EXIT" && len(log.lines("last words")) != 1 {
				t.Error("what it wrote right before its end is not in the log")
			}
		})
	}
}

// TestOutput checks that what a plugin writes to either stream is in the log, before and after it serves, cut and limited.
func TestOutput(t *testing.T) {
	var log journal
	h := start(t, host.Config{Plugins: roles("says"), Logger: log.logger(), Deadline: 8 * slack * time.Second})
	b := newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Discover})
	b.session(t, false, 40000, "SAY\n", decided)
	for text, stream := range map[string]string{"stdout before": "stdout", "stderr before": "stderr", "stdout after": "stdout", "stderr after": "stderr", "log after": "stderr"} {
		until(t, text, func() bool { return len(log.lines(text)) == 1 })
		if l := log.lines(text)[0]; !strings.Contains(l, "plugin=says") || !strings.Contains(l, "stream="+stream) {
			t.Errorf("%s: %s: want plugin and stream", text, l)
		}
	}
	until(t, "the long line", func() bool { return len(log.lines("xxxx")) == 1 })
	if l := log.lines("xxxx")[0]; len(l) > 700 || !strings.Contains(l, "x...") {
		t.Errorf("a line of %d bytes, want it cut", len(l))
	}
	b.session(t, false, 40001, "FLOOD\n", decided)
	time.Sleep(400 * time.Millisecond) // the rate makes room for the next line
	b.session(t, false, 40002, "SAY\n", decided)
	until(t, "what was left out", func() bool { return len(log.lines("plugin output not logged")) > 0 })
	if n := len(log.lines("flood")); n == 0 || n > 40 {
		t.Errorf("%d lines of a flood, want some and no more than 40", n)
	}
}

// TestForkedChildHoldsNothing lets a plugin start a process in a session of its own that keeps the plugin's streams open.
func TestForkedChildHoldsNothing(t *testing.T) {
	var log journal
	h := start(t, host.Config{Plugins: roles("says"), Logger: log.logger()})
	b := newBedOf(t, h, policy.WorkloadSpec{Mode: policy.Discover})
	b.session(t, false, 40000, "FORK\n", decided)
	until(t, "the child", func() bool { return len(log.lines("forked <nil>")) == 1 })
	b.session(t, false, 40001, "CRASH\n", decided)
	until(t, "a restart", func() bool { s := h.Status()[0]; return s.Running && s.Restarts == 1 })
	began := time.Now()
	h.Close()
	if took := time.Since(began); took > 5*slack*time.Second {
		t.Errorf("closing took %s", took)
	}
}
