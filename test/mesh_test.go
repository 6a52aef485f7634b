package test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	labs "github.com/sluicenet/sluice/internal/lab"
)

// workload is the part of `sluice workloads` that is looked at.
type workloadInfo struct {
	Name       string
	Interfaces []struct{ Name, Backend, Note string }
}

// backendOf is how an interface is attached, and why.
func (l *lab) backendOf(workload, iface string) (backend, note string) {
	for _, w := range read[[]workloadInfo](l.program, "workloads") {
		for _, i := range w.Interfaces {
			if w.Name == workload && i.Name == iface {
				return i.Backend, i.Note
			}
		}
	}
	return "", ""
}

// attached waits until an interface is attached in that way.
func (l *lab) attached(workload, iface, want string) {
	l.t.Helper()
	until(l.t, 10*time.Second, workload+"/"+iface+" is attached by "+want, func() error {
		if got, note := l.backendOf(workload, iface); got != want {
			return fmt.Errorf("it is attached by %q (%s)", got, note)
		}
		return nil
	})
}

// TestMesh gives web a sidecar: what web says to it on lo is learned as web to api, counted once, and refused in
// protect by a reset that the application sees.
func TestMesh(t *testing.T) {
	l := newLab(t)
	s, err := labs.StartSidecar(labs.SidecarConfig{NetNS: l.web.Path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l.start()
	l.attached("web", "lo", "nfqueue")
	if _, note := l.backendOf("web", "lo"); !strings.Contains(note, "sidecar") {
		t.Errorf("lo's note is %q, want one that names the sidecar", note)
	}
	const rounds = 5
	for range rounds {
		for _, family := range families {
			if err := l.get(l.web, family); err != nil {
				t.Fatalf("through the sidecar over %s: %v", family, err)
			}
		}
	}
	l.learnedByName("web", "api", 8080, "http", rounds)
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	for _, family := range families {
		if err := l.get(l.web, family); err != nil {
			t.Errorf("what was learned, over %s: %v", family, err)
		}
		begin := time.Now()
		err := l.turnedAway(family)
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("what was not learned, over %s: %v after %s, want a reset", family, err, time.Since(begin))
		}
	}
	until(t, 5*time.Second, "violations name the real destination", func() error {
		seen := map[string]bool{}
		for _, v := range read[[]violation](l.program, "violations") {
			if v.From == "web" && v.To == "api" && v.Port == 9090 && v.Verdict == "deny" {
				seen[v.Family] = true
				if v.Count != 1 {
					t.Errorf("%+v: want it counted once, before the sidecar took it on", v)
				}
			}
		}
		if len(seen) != 2 {
			return fmt.Errorf("seen in %v", seen)
		}
		return nil
	})
}

// learnedByName waits for the connections of both families, each session counted once.
func (l *lab) learnedByName(from, to string, port int, app string, sessions int) {
	l.t.Helper()
	until(l.t, 10*time.Second, "the connections are known", func() error {
		found := 0
		for _, c := range read[[]connection](l.program, "connections") {
			if strings.HasPrefix(c.To, "127.") || c.Port == 15001 {
				l.t.Errorf("a connection to the sidecar itself was reported: %+v", c)
			}
			if c.From != from || c.To != to || c.Port != port {
				continue
			}
			if c.App != app || c.Sessions != sessions {
				return fmt.Errorf("%+v, want %d sessions of %s", c, sessions, app)
			}
			found++
		}
		if found != 2 {
			return fmt.Errorf("%d families, want both: %s", found, l.run("connections"))
		}
		return nil
	})
}

// turnedAway asks for what web never did, and gives the error that it sees.
func (l *lab) turnedAway(family string) error {
	c, err := l.web.TryDial(family, l.api.Addr(family, 9090), 3*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	_, err = net.Conn.Read(c, make([]byte, 10))
	return err
}

// TestBackends switches web between packet rings and queues, with connections going on.
func TestBackends(t *testing.T) {
	l := newLab(t)
	d := l.start()
	l.learned()
	l.run("mode", "set", "web", "protect")
	args := l.args
	for _, how := range []struct{ flag, shown string }{{"nfqueue", "nfqueue"}, {"afpacket", "inline"}, {"nfqueue", "nfqueue"}} {
		l.works("before " + how.flag)
		d.stop()
		l.args = append(args[:len(args):len(args)], "--backend", l.web.Name+"="+how.flag)
		d = l.start()
		l.attached("web", "eth0", how.shown)
		if _, note := l.backendOf("web", "eth0"); how.flag == "nfqueue" && !strings.Contains(note, "chosen by --backend") {
			t.Errorf("note %q does not say who chose", note)
		}
		l.works("with " + how.flag)
		for _, family := range families {
			if err := l.turnedAway(family); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("with %s, what was not learned, over %s: %v, want a reset", how.flag, family, err)
			}
		}
	}
	d.kill()
	l.works("after a kill")
	l.args = args
	l.start()
	l.attached("web", "eth0", "inline")
	out, err := l.web.Command("nft", "list", "ruleset").CombinedOutput()
	if err == nil && len(out) != 0 {
		t.Errorf("rules of the killed daemon are left: %s", out)
	}
	l.works("taken over")
}
