package host_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/plugins/host"
)

const request = "GET /index.html HTTP/1.1\r\nHost: shop.example\r\n\r\n"

func allow(apps ...app.ID) policy.RuleSpec {
	return policy.RuleSpec{ID: 7, Ports: []policy.PortSpec{{Proto: 6, Lo: 8080, Hi: 8080}}, Apps: apps}
}

func families(t *testing.T, fn func(t *testing.T, v6 bool)) {
	t.Run("ipv4", func(t *testing.T) { fn(t, false) })
	t.Run("ipv6", func(t *testing.T) { fn(t, true) })
}

// The first request of an application that is not allowed must not reach the server while
// the plugin thinks, whole or in pieces.
func TestDeniedRequestNeverArrives(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard")})
	ping := "*1\r\n$4\r\nPING\r\n"
	for name, parts := range map[string][]string{"whole": {ping}, "bytes": strings.Split(ping, "")} {
		t.Run(name, func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				b, c := newBed(t, h, allow(app.HTTP)), newConn(v6, 40000)
				b.q.give(c.open()...)
				for _, p := range parts {
					b.q.give(c.frame(0, packet.ACK|packet.PSH, p))
				}
				until(t, "the denial", func() bool { return b.drain(40000).Verdict == flow.Deny })
				until(t, "resets", func() bool { _, n := b.q.seen(40000); return n == 2 })
				if got, _ := b.q.seen(40000); got != "" {
					t.Errorf("the server got %q, want nothing", got)
				}
				// In pieces, it is refused when it cannot be http any more, which may be before it has a name.
				if f := b.drain(40000); app.ID(f.App) != app.Redis && (name == "whole" || app.ID(f.App) != app.Unknown) {
					t.Errorf("app %v, want redis", app.ID(f.App))
				}
			})
		})
	}
}

// What cannot turn out to be allowed is refused by its first bytes: its sender may wait for
// them to be acknowledged.
func TestHopelessBeginningNeverArrives(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard")})
	for _, begin := range []string{"*1\r\n$4", "SSH-2.0-x\r\n", "\x16\x03\x01\x00\x60\x01", "\x80\x81\x82\x83"} {
		t.Run(fmt.Sprintf("%q", begin), func(t *testing.T) {
			families(t, func(t *testing.T, v6 bool) {
				b, c := newBed(t, h, allow(app.HTTP)), newConn(v6, 40000)
				b.q.give(c.open()...)
				for _, p := range strings.Split(begin, "") {
					b.q.give(c.frame(0, packet.ACK|packet.PSH, p))
				}
				until(t, "resets", func() bool { _, n := b.q.seen(40000); return n == 2 })
				if got, _ := b.q.seen(40000); got != "" {
					t.Errorf("the server got %q, want nothing", got)
				}
			})
		})
	}
}

func TestAllowedRequestArrivesInOrder(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard")})
	families(t, func(t *testing.T, v6 bool) {
		b, c := newBed(t, h, allow(app.HTTP)), newConn(v6, 40000)
		b.q.give(c.open()...)
		for _, p := range strings.SplitAfter(request, "e") {
			b.q.give(c.frame(0, packet.ACK|packet.PSH, p))
		}
		until(t, "the whole request", func() bool { got, _ := b.q.seen(40000); return len(got) >= len(request) })
		if got, resets := b.q.seen(40000); got != request || resets != 0 {
			t.Errorf("the server got %q and %d resets, want the request and none", got, resets)
		}
		until(t, "its record", func() bool {
			f := b.drain(40000)
			return f.Verdict == flow.Allow && f.Detail.Get("host") == "shop.example"
		})
	})
}

// An HTTP/2 client's preface must arrive for the connection to continue; the request behind it must not.
func TestPrefaceArrivesAndRequestWaits(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard")})
	b, c := newBed(t, h, allow(app.GRPC)), newConn(false, 40000)
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	// HEADERS of stream 1: GET / by the static table, no content type of gRPC.
	headers := "\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x84\x86"
	b.q.give(c.open()...)
	b.q.give(c.frame(0, packet.ACK|packet.PSH, preface))
	until(t, "the preface", func() bool { got, _ := b.q.seen(40000); return got == preface })
	b.q.give(c.frame(1, packet.ACK|packet.PSH, "\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	b.q.give(c.frame(0, packet.ACK|packet.PSH, headers))
	until(t, "the denial", func() bool { return b.drain(40000).Verdict == flow.Deny })
	if got, _ := b.q.seen(40000); got != preface {
		t.Errorf("the server got %q, want the preface alone", got)
	}
}

// Whatever becomes of the plugin, each frame gets its verdict, every request of a workload that fails open
// arrives, and later connections are named again.
func TestFailuresUnderLoad(t *testing.T) {
	for name, harm := range map[string]struct {
		signal   syscall.Signal
		deadline time.Duration // a busy machine must not make a plugin that works look hung
	}{"killed": {syscall.SIGKILL, 8 * slack * time.Second}, "stopped": {syscall.SIGSTOP, time.Second}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, host.Config{Plugins: roles("standard"), Deadline: harm.deadline})
			b := newBed(t, h, allow(app.HTTP))
			const half = 400 // connections
			pid := h.Status()[0].PID
			for i := range uint16(2 * half) {
				c := newConn(i%2 == 0, 10000+i)
				b.q.give(c.open()...)
				b.q.give(c.frame(0, packet.ACK|packet.PSH, request[:20]))
				if i == half {
					if err := syscall.Kill(pid, harm.signal); err != nil {
						t.Fatal(err)
					}
				}
				b.q.give(c.frame(0, packet.ACK|packet.PSH, request[20:]))
			}
			for i := range uint16(2 * half) {
				until(t, fmt.Sprintf("request %d", i), func() bool { got, _ := b.q.seen(10000 + i); return got == request })
			}
			until(t, "a restart", func() bool { return count(h, "restarts") > 0 && count(h, "running") == 1 })
			if harm.signal == syscall.SIGSTOP && count(h, "hung") == 0 {
				t.Error("the stopped plugin does not count as hung")
			}
			c := newConn(false, 50000)
			b.q.give(c.open()...)
			b.q.give(c.frame(0, packet.ACK|packet.PSH, request))
			until(t, "a name after the restart", func() bool { return app.ID(b.drain(50000).App) == app.HTTP })
			unknown := uint64(0)
			until(t, "a session that ended unknown", func() bool {
				b.drain(50000)
				unknown = 0
				for _, f := range b.flows {
					if app.ID(f.App) == app.Unknown {
						unknown++
					}
				}
				return unknown > 0
			})
			if lost := count(h, "lost_sessions") + count(h, "refused_sessions"); lost < unknown {
				t.Errorf("%d sessions lost or refused and %d unknown, want some and no more", lost, unknown)
			}
		})
	}
}

// A plugin that violates the protocol is started again a few times at once and then seldom; its sessions are
// unidentified meanwhile, and pass where the workload fails open.
func TestMalformedAnswersFail(t *testing.T) {
	for name, w := range map[string]policy.WorkloadSpec{"fail open": {Mode: policy.Protect}, "fail closed": {Mode: policy.Protect, FailClosed: true}} {
		t.Run(name, func(t *testing.T) { malformedAnswersFail(t, w) })
	}
}

func malformedAnswersFail(t *testing.T, w policy.WorkloadSpec) {
	h := start(t, host.Config{Plugins: roles("malformed"), FirstDelay: time.Millisecond, LastDelay: 2 * time.Millisecond, Restarts: 3, SlowDelay: time.Second})
	b := newBedOf(t, h, w, allow(app.HTTP))
	want, passed := flow.Allow, request
	if w.FailClosed {
		want, passed = flow.Deny, ""
	}
	began := time.Now()
	for i := uint16(0); count(h, "failed") == 0; i++ {
		c := newConn(false, 10000+i)
		b.q.give(c.open()...)
		b.q.give(c.frame(0, packet.ACK|packet.PSH, request))
		until(t, "its verdict", func() bool { return b.drain(10000+i).Reason == flow.ByUnidentified })
		if f := b.drain(10000 + i); f.Verdict != want || app.ID(f.App) != app.Unknown {
			t.Fatalf("%v of %v, want %v of unknown", f.Verdict, app.ID(f.App), want)
		}
		if got, _ := b.q.seen(10000 + i); got != passed {
			t.Fatalf("the server got %q, want %q", got, passed)
		}
		if time.Since(began) > 10*slack*time.Second {
			t.Fatalf("not failed in time, after %d sessions: %+v", i, h.Status()[0])
		}
	}
	if g, r := count(h, "protocol_violations"), count(h, "restarts"); g != 4 || r != 3 {
		t.Errorf("%d protocol violations and %d restarts, want 4 and 3", g, r)
	}
	s := h.Status()[0]
	if s.State != host.Failed || s.Running || !s.Away || s.Error == "" || !strings.Contains(s.Warning, "next attempts are every 1s") {
		t.Errorf("status %+v: want failed, with the reason and what becomes of it", s)
	}
	until(t, "another start", func() bool { return count(h, "restarts") > 3 })
}

// Several plugins are all asked; the surer claim wins, the earlier one between equals.
func TestPluginsTogether(t *testing.T) {
	h := start(t, host.Config{Plugins: roles("standard", "line")})
	id, err := app.Parse("test-line")
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, h, allow(app.HTTP, id, app.Unknown))
	for i, c := range []struct {
		payload string
		want    app.ID
		command string
	}{{"LINE hello\n", id, "LINE hello"}, {request, app.HTTP, ""}, {"neither of them\n", app.Unknown, ""}} {
		port := uint16(30000 + i)
		n := newConn(i%2 == 0, port)
		b.q.give(n.open()...)
		b.q.give(n.frame(0, packet.ACK|packet.PSH, c.payload))
		b.q.give(n.frame(1, packet.ACK|packet.PSH, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		b.q.give(n.frame(0, packet.ACK|packet.FIN, ""), n.frame(1, packet.ACK|packet.FIN, ""), n.frame(0, packet.ACK, ""))
		until(t, c.payload, func() bool { return b.drain(port).Kind == flow.End })
		f := b.drain(port)
		if got := app.ID(f.App); got != c.want {
			t.Errorf("%q: app %v, want %v", c.payload, got, c.want)
		}
		if got := f.Detail.Get("command"); got != c.command {
			t.Errorf("%q: command %q, want %q", c.payload, got, c.command)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "sluice-test-") // t.TempDir's parent is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	h := start(t, host.Config{Plugins: roles("standard", "line")})
	pids := []int{h.Status()[0].PID, h.Status()[1].PID}
	h.Close()
	for _, pid := range pids {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			t.Errorf("process %d is there still", pid)
		}
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("files left: %v", left)
	}
}
