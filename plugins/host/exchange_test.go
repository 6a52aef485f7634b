package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/plugins/host"
)

// changing is a folder of plugins that changes while connections are made.
type changing struct {
	t    *testing.T
	dir  string
	h    *host.Host
	b    *bed
	log  journal
	port uint16 // of the next client
}

// turn makes connections until something is so; each request must arrive.
func (c *changing) turn(what string, ok func() bool) {
	c.t.Helper()
	began := c.port
	for deadline := time.Now().Add(20 * slack * time.Second); !ok() || c.port < began+5; c.port++ {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within its time: %s: %+v\n%s", what, c.h.Status(), strings.Join(c.log.lines(""), "\n"))
		}
		n := newConn(c.port%2 == 0, c.port)
		c.b.q.give(n.open()...)
		c.b.q.give(n.frame(0, packet.ACK|packet.PSH, request[:20]))
		c.b.q.give(n.frame(0, packet.ACK|packet.PSH, request[20:]))
		until(c.t, fmt.Sprintf("%s: request of %d", what, c.port), func() bool { got, _ := c.b.q.seen(c.port); return got == request })
		c.b.q.clear()
	}
}

// named reports whether a session that begins with a text gets a name.
func (c *changing) named(text, name string) bool {
	c.port++
	f := c.b.session(c.t, c.port%2 == 0, c.port-1, text, decided)
	return app.ID(f.App).String() == name
}

// TestFolderChanges adds, exchanges, breaks and removes plugins while sessions come and go: each frame gets its verdict, what is
// allowed arrives, and each step shows in the names of sessions.
func TestFolderChanges(t *testing.T) {
	c := &changing{t: t, dir: folder(t), port: 20000}
	c.h = start(t, host.Config{Plugins: roles("standard"), Dir: c.dir, Logger: c.log.logger(), Poll: time.Second, SlowDelay: time.Second, Deadline: 8 * slack * time.Second})
	// The plugin claims requests, too, less surely, and wins where the standard one is late.
	c.b = newBed(t, c.h, allow(app.HTTP, app.Unknown, app.Suggest("test-line", 0)))
	install(t, c.dir, "line", "line")
	c.turn("added", func() bool { return statusOf(c.h, "line").Running && c.named("LINE a\n", "test-line") })
	c.exchanged()
	c.broken()
	if err := os.Remove(filepath.Join(c.dir, "line")); err != nil {
		t.Fatal(err)
	}
	c.turn("removed", func() bool { return len(c.h.Status()) == 1 && count(c.h, "running") == 1 })
	if f := c.b.session(t, false, 61000, "LINE a\n", decided); app.ID(f.App) != app.Unknown || f.Reason == flow.ByUnidentified {
		t.Errorf("after the removal: %v by %v, want unknown", app.ID(f.App), f.Reason)
	}
	if err := os.Rename(c.dir, c.dir+".away"); err != nil {
		t.Fatal(err)
	}
	c.turn("the folder is away", func() bool { return len(c.h.Warnings()) == 1 && strings.Contains(c.h.Warnings()[0], "plugin folder: ") })
	if err := os.Rename(c.dir+".away", c.dir); err != nil {
		t.Fatal(err)
	}
	c.turn("the folder is back", func() bool { return len(c.h.Warnings()) == 0 })
}

// exchanged replaces the file by a later version. A session that the process of the first version has stays with it.
func (c *changing) exchanged() {
	first := statusOf(c.h, "line")
	if !c.named("LIN2 a\n", "unknown") {
		c.t.Error("the first version knows what the second one does")
	}
	open := newConn(false, 60000)
	c.b.q.give(open.open()...)
	c.b.q.give(open.frame(0, packet.ACK|packet.PSH, "LI"))
	install(c.t, c.dir, "line", "line2")
	c.turn("exchanged", func() bool { return c.named("LIN2 a\n", "test-line") })
	if s := statusOf(c.h, "line"); s.PID == first.PID || !s.Running {
		c.t.Errorf("status %+v, want another process than %d", s, first.PID)
	}
	c.b.q.give(open.frame(0, packet.ACK|packet.PSH, "NE a\n"))
	until(c.t, "the name of the open session", func() bool { return app.ID(c.b.drain(60000).App).String() == "test-line" })
	c.turn("the first version's end", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d", first.PID))
		return err != nil
	})
}

// broken replaces the file by one that does not start, and that by one that does.
func (c *changing) broken() {
	second := statusOf(c.h, "line")
	install(c.t, c.dir, "line", "exits")
	c.turn("broken", func() bool { return hasWarning(c.h, "line", "the previous process continues") })
	if s := statusOf(c.h, "line"); s.PID != second.PID || !s.Running || !c.named("LIN2 a\n", "test-line") {
		c.t.Errorf("status %+v, want process %d and its names", s, second.PID)
	}
	install(c.t, c.dir, "line", "line")
	c.turn("mended", func() bool {
		s := statusOf(c.h, "line")
		return s.Running && s.PID != second.PID && s.Warning == ""
	})
}

// TestChangeEndsTheWait replaces the file of a plugin that is not to be tried again soon.
func TestChangeEndsTheWait(t *testing.T) {
	dir := folder(t)
	install(t, dir, "exits", "exits")
	install(t, dir, "standard", "line")
	h := start(t, host.Config{Plugins: roles("standard"), Dir: dir, SlowDelay: time.Hour})
	until(t, "the failure", func() bool { return statusOf(h, "exits").State == host.Failed })
	install(t, dir, "exits", "line")
	until(t, "the new file", func() bool { return statusOf(h, "exits").Running })
	until(t, "a file with the name of another plugin", func() bool { return statusOf(h, "folder/standard").Running })
}
