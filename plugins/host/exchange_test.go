package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/plugins/host"
)

// TestFolderChanges adds, exchanges, breaks and removes plugins while sessions come and go: each frame gets its verdict, what is
// allowed arrives, and each step shows in the names of sessions.
func TestFolderChanges(t *testing.T) {
	dir := folder(t)
	var log journal
	h := start(t, host.Config{Plugins: roles("standard"), Dir: dir, Logger: log.logger(), Poll: time.Second, SlowDelay: time.Second, Deadline: 8 * time.Second})
	// The plugin claims requests, too, less surely, and wins where the standard one is late.
	b := newBed(t, h, allow(app.HTTP, app.Unknown, app.Suggest("test-line", 0)))
	port := uint16(20000)
	// turn makes connections until something is so; each request must arrive.
	turn := func(what string, ok func() bool) {
		t.Helper()
		began := port
		for deadline := time.Now().Add(20 * time.Second); !ok() || port < began+5; port++ {
			if time.Now().After(deadline) {
				t.Fatalf("not within 20 s: %s: %+v\n%s", what, h.Status(), strings.Join(log.lines(""), "\n"))
			}
			c := newConn(port%2 == 0, port)
			b.q.give(c.open()...)
			b.q.give(c.frame(0, packet.ACK|packet.PSH, request[:20]))
			b.q.give(c.frame(0, packet.ACK|packet.PSH, request[20:]))
			until(t, fmt.Sprintf("%s: request of %d", what, port), func() bool { got, _ := b.q.seen(port); return got == request })
			b.q.clear()
		}
	}
	named := func(text, name string) bool {
		port++
		f := b.session(t, port%2 == 0, port-1, text, decided)
		return app.ID(f.App).String() == name
	}
	install(t, dir, "line", "line")
	turn("added", func() bool { return statusOf(h, "line").Running && named("LINE a\n", "test-line") })
	first := statusOf(h, "line")
	if !named("LIN2 a\n", "unknown") {
		t.Error("the first version knows what the second one does")
	}
	// A session that the process of the first version has, and answers, stays with it to its end.
	open := newConn(false, 60000)
	b.q.give(open.open()...)
	b.q.give(open.frame(0, packet.ACK|packet.PSH, "LI"))
	install(t, dir, "line", "line2")
	turn("exchanged", func() bool { return named("LIN2 a\n", "test-line") })
	if s := statusOf(h, "line"); s.PID == first.PID || !s.Running {
		t.Errorf("status %+v, want another process than %d", s, first.PID)
	}
	b.q.give(open.frame(0, packet.ACK|packet.PSH, "NE a\n"))
	until(t, "the name of the open session", func() bool { return app.ID(b.drain(60000).App).String() == "test-line" })
	turn("the first version's end", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", first.PID))
		return err != nil
	})
	second := statusOf(h, "line")
	install(t, dir, "line", "exits")
	turn("broken", func() bool { return hasWarning(h, "line", "the process of the file before goes on") })
	if s := statusOf(h, "line"); s.PID != second.PID || !s.Running || !named("LIN2 a\n", "test-line") {
		t.Errorf("status %+v, want process %d and its names", s, second.PID)
	}
	install(t, dir, "line", "line")
	turn("mended", func() bool { s := statusOf(h, "line"); return s.Running && s.PID != second.PID && s.Warning == "" })
	if err := os.Remove(filepath.Join(dir, "line")); err != nil {
		t.Fatal(err)
	}
	turn("removed", func() bool { return len(h.Status()) == 1 && count(h, "running") == 1 })
	if f := b.session(t, false, 61000, "LINE a\n", decided); app.ID(f.App) != app.Unknown || f.Reason == report.ByUnidentified {
		t.Errorf("after the removal: %v by %v, want unknown", app.ID(f.App), f.Reason)
	}
	turn("the folder is away", func() bool {
		_ = os.Rename(dir, dir+".away")
		return len(h.Warnings()) == 1 && strings.Contains(h.Warnings()[0], "plugin folder: ")
	})
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	turn("the folder is back", func() bool { return len(h.Warnings()) == 0 })
}

// TestChangeEndsTheWait replaces the file of a plugin that is not to be tried again soon.
func TestChangeEndsTheWait(t *testing.T) {
	dir := folder(t)
	install(t, dir, "exits", "exits")
	h := start(t, host.Config{Plugins: roles("standard"), Dir: dir, SlowDelay: time.Hour})
	until(t, "the failure", func() bool { return statusOf(h, "exits").State == host.Failed })
	install(t, dir, "exits", "line")
	until(t, "the new file", func() bool { return statusOf(h, "exits").Running })
}
