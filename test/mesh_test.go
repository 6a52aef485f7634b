package test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	labs "github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/testnet"
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

// sidecar gives a workload a proxy; rules says by which tool its redirects are placed, "" is by the lab's own.
func (l *lab) sidecar(w *testnet.Workload, rules string, cfg labs.SidecarConfig) *labs.Sidecar {
	l.t.Helper()
	cfg.NetNS, cfg.NoRules = w.Path, rules != ""
	if cfg.NoRules {
		w.MeshRules(rules)
	}
	s, err := labs.StartSidecar(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close() })
	return s
}

// TestMesh gives web a sidecar: what web says to it on lo is learned as web to api, counted once, and refused in
// protect by a reset that the application sees.
func TestMesh(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		cfg         labs.SidecarConfig
	}{
		{"nftables", "", labs.SidecarConfig{}},
		{"shared user", "", labs.SidecarConfig{SharedUser: true}},
		{"iptables-nft", "iptables-nft", labs.SidecarConfig{}},
		{"iptables-legacy", "iptables-legacy", labs.SidecarConfig{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			l.sidecar(l.web, tt.rules, tt.cfg)
			l.start()
			l.attached("web", "lo", "nfqueue")
			if _, note := l.backendOf("web", "lo"); !strings.Contains(note, "sidecar") {
				t.Errorf("lo's note is %q, want one that names the sidecar", note)
			}
			const rounds = 5
			l.rounds(rounds)
			l.learnedByName("web", "api", 8080, "http", rounds)
			l.run("mode", "set", "web", "protect")
			l.attached("web", "eth0", "inline")
			l.meshRefuses(9090)
		})
	}
}

// TestMeshEncrypted gives web and api sidecars that encrypt to each other. Outside there is nothing but TLS
// to be seen; the application's name comes from lo, and so does its refusal.
func TestMeshEncrypted(t *testing.T) {
	l := newLab(t)
	mutual, err := labs.NewMutual()
	if err != nil {
		t.Fatal(err)
	}
	cfg := labs.SidecarConfig{Mutual: mutual, Meshed: func(netip.Addr) bool { return true }}
	l.sidecar(l.web, "iptables-nft", cfg)
	l.sidecar(l.api, "", cfg)
	l.start()
	l.attached("web", "lo", "nfqueue")
	l.attached("api", "lo", "nfqueue")
	const rounds = 5
	l.rounds(rounds)
	l.learnedByName("web", "api", 8080, "http", rounds)
	l.run("mode", "set", "api", "protect")
	l.attached("api", "eth0", "inline")
	l.rounds(1)
	for _, family := range families {
		if got := l.says(l.web, family, 8080, redisPing); got == "" || got == "open" {
			t.Errorf("redis to an http server over %s: %q, want it ended", family, got)
		}
	}
	l.violated("web", "api", 8080)
	l.rounds(1)
	l.refused("protect", l.intruder, 8080)
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	l.meshRefuses(9090)
	l.rounds(1)
}

const redisPing = "*1\r\n$4\r\nPING\r\n"

// rounds makes requests over new connections, which work.
func (l *lab) rounds(n int) {
	l.t.Helper()
	for range n {
		for _, family := range families {
			if err := l.get(l.web, family); err != nil {
				l.t.Fatalf("through the sidecar over %s: %v", family, err)
			}
		}
	}
}

// meshRefuses tries what was learned, and a port of api that was not: web, which has a sidecar, is protected.
func (l *lab) meshRefuses(port int) {
	l.t.Helper()
	for _, family := range families {
		if err := l.get(l.web, family); err != nil {
			l.t.Errorf("what was learned, over %s: %v", family, err)
		}
		if got := l.says(l.web, family, port, "hello"); got != "reset" {
			l.t.Errorf("what was not learned, over %s: %s, want a reset", family, got)
		}
	}
	l.violated("web", "api", port)
}

// violated waits until both families were refused, and each attempt is counted once.
func (l *lab) violated(from, to string, port int) {
	l.t.Helper()
	until(l.t, 20*time.Second, "violations name both ends", func() error {
		seen := map[string]int{}
		for _, v := range read[[]violation](l.program, "violations") {
			if v.From != from || v.To != to || v.Port != port {
				continue
			}
			seen[v.Family] += v.Count // a row without a count is a later name of what another row counts
			if v.Verdict != "deny" {
				l.t.Errorf("%+v: want it refused, on lo", v)
			}
		}
		if seen["ipv4"] > 1 || seen["ipv6"] > 1 {
			l.t.Errorf("counted %v, want each once:\n%s", seen, l.run("violations"))
		}
		if seen["ipv4"] == 0 || seen["ipv6"] == 0 {
			return fmt.Errorf("seen in %v of\n%s", seen, l.run("violations"))
		}
		return nil
	})
}

// learnedByName waits for the connections of both families, each session counted once.
func (l *lab) learnedByName(from, to string, port int, app string, sessions int) {
	l.t.Helper()
	until(l.t, 20*time.Second, "the connections are known", func() error {
		found := 0
		for _, c := range read[[]connection](l.program, "connections") {
			if strings.HasPrefix(c.To, "127.") || strings.HasPrefix(c.From, "127.") || c.Port == 15001 || c.Port == 15006 {
				l.t.Errorf("a connection within the workload was reported: %+v", c)
			}
			if c.From != from || c.To != to || c.Port != port {
				continue
			}
			if c.App != app || c.Sessions != sessions {
				return fmt.Errorf("%+v, want %d sessions of %s:\n%s", c, sessions, app, l.run("connections"))
			}
			found++
		}
		if found != 2 {
			return fmt.Errorf("%d kinds of connection, want one for each family: %s", found, l.run("connections"))
		}
		return nil
	})
}

// says opens a connection to api, says something, and returns how that ended: open where an answer came.
func (l *lab) says(from *testnet.Workload, family string, port int, text string) string {
	c, err := from.TryDial(family, l.api.Addr(family, port), 5*time.Second)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err = c.Write([]byte(text)); err == nil {
			_, err = c.Read(make([]byte, 10))
		}
	}
	switch {
	case err == nil:
		return "open"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.ECONNREFUSED):
		return "reset"
	}
	return err.Error()
}

// TestBackends switches web between packet rings and queues, with open connections.
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
			t.Errorf("note %q does not show who chose", note)
		}
		l.works("with " + how.flag)
		for _, family := range families {
			if got := l.says(l.web, family, 9090, "hello"); got != "reset" {
				t.Errorf("with %s, what was not learned, over %s: %s, want a reset", how.flag, family, got)
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
