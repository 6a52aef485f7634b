package test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	labs "github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestMeshLife takes a workload with a sidecar through what happens to it: connections from before
// looked, a sidecar that is killed and comes again, a daemon that is killed, and the end.
func TestMeshLife(t *testing.T) {
	l := newLab(t)
	l.web.MeshRules("iptables-nft")
	proxy := l.proxy()
	before := l.ruleset(l.web)
	l.openLong()
	d := l.start()
	l.attached("web", "lo", "nfqueue")
	l.works("discover")
	l.waitFor("web", "api", 8080, "http")
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	l.works("protect")
	l.withinWorkload()
	l.meshRefuses(9090)

	proxy.Close()
	for _, family := range families {
		if err := l.get(l.web, family); err == nil {
			t.Errorf("without a sidecar over %s: it works, though everything is redirected to it", family)
		}
	}
	l.proxy()
	l.rounds(1)
	l.openLong()
	l.works("with another sidecar")

	d.kill()
	l.works("killed")
	if out := l.ruleset(l.web); out == before {
		t.Error("a killed daemon left no rules: then nothing shows that they let packets pass")
	}
	d = l.start()
	l.attached("web", "lo", "nfqueue")
	l.attached("web", "eth0", "inline")
	l.works("started after being killed")
	for _, family := range families {
		if got := l.says(l.web, family, 9090, "hello"); got != "reset" {
			t.Errorf("what was not learned, after a kill, over %s: %s, want a reset", family, got)
		}
	}
	d.stop()
	l.works("after the end")
	if after := l.ruleset(l.web); after != before {
		t.Errorf("rules after the end:\n%s\nbefore:\n%s", after, before)
	}
}

// proxy starts web's sidecar, whose redirects are there.
func (l *lab) proxy() *labs.Sidecar {
	l.t.Helper()
	s, err := labs.StartSidecar(labs.SidecarConfig{NetNS: l.web.Path, NoRules: true})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { s.Close() })
	return s
}

// openLong opens the connections that are to stay.
func (l *lab) openLong() {
	l.t.Helper()
	for _, family := range families {
		l.long[family] = l.web.Dial(family, l.api.Addr(family, 8080))
		if err := request(l.long[family]); err != nil {
			l.t.Fatal(err)
		}
	}
}

// ruleset is what nft lists in a workload, without counters.
func (l *lab) ruleset(w *testnet.Workload) string {
	l.t.Helper()
	out, err := w.Command("nft", "-s", "list", "ruleset").Output()
	if err != nil {
		l.t.Fatal(err)
	}
	return string(out)
}

// waitFor waits until both families' connections are known.
func (l *lab) waitFor(from, to string, port int, app string) {
	l.t.Helper()
	until(l.t, 20*time.Second, "the connections are known", func() error {
		seen := map[string]bool{}
		for _, c := range read[[]connection](l.program, "connections") {
			if c.From == from && c.To == to && c.Port == port && c.App == app {
				seen[c.Family] = true
			}
		}
		if len(seen) != 2 {
			return errors.New(l.run("connections"))
		}
		return nil
	})
}

// withinWorkload lets web speak to itself: it is neither judged nor reported.
func (l *lab) withinWorkload() {
	l.t.Helper()
	known := l.run("connections")
	for _, at := range []struct{ family, addr string }{
		{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp4", l.web.Addr("tcp4", 0)}, {"tcp6", l.web.Addr("tcp6", 0)},
	} {
		ln := l.web.Listen(at.family, at.addr)
		go echo(ln)
		c := l.web.Dial(at.family, ln.Addr().String())
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write([]byte("hello")); err != nil {
			l.t.Errorf("web to itself at %s: %v", ln.Addr(), err)
		}
		if _, err := c.Read(make([]byte, 5)); err != nil {
			l.t.Errorf("web to itself at %s: %v", ln.Addr(), err)
		}
		c.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		if now := l.run("connections"); strings.Contains(now, "/"+port) {
			l.t.Errorf("web to itself at %s is reported:\n%s\nbefore:\n%s", ln.Addr(), now, known)
		}
	}
	for _, c := range read[[]connection](l.program, "connections") {
		if c.From == "web" && c.To == "web" {
			l.t.Errorf("web to itself: %+v", c)
		}
	}
}

// TestMeshComesAndGoes adds a sidecar to a workload that is watched already, and takes it away again.
func TestMeshComesAndGoes(t *testing.T) {
	l := newLab(t)
	l.start()
	l.learned()
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	for _, c := range l.long {
		c.Close() // the kernel itself redirects connections that it had not tracked
	}
	s := l.sidecar(l.web, "", labs.SidecarConfig{})
	l.attached("web", "lo", "nfqueue")
	l.meshRefuses(9090)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	l.attached("web", "lo", "")
	l.rounds(1)
	l.refused("without it", l.web, 9090)
}

// TestMeshByApplication refuses by what is said, not by where to: the sidecar has a connection of its own
// open by then, which is no second refusal.
func TestMeshByApplication(t *testing.T) {
	l := newLab(t)
	l.sidecar(l.web, "iptables-nft", labs.SidecarConfig{})
	l.start()
	l.attached("web", "lo", "nfqueue")
	l.rounds(2)
	l.learnedByName("web", "api", 8080, "http", 2)
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	for _, family := range families {
		if got := l.says(l.web, family, 8080, redisPing); got != "reset" {
			t.Errorf("redis to an http server over %s: %q, want a reset", family, got)
		}
	}
	l.violated("web", "api", 8080)
	l.rounds(1)
	until(t, 20*time.Second, "reports agree with what happened", func() error {
		for _, c := range read[[]connection](l.program, "connections", "--from", "web") {
			if c.App == "http" && c.Sessions != 3 || c.App != "http" && c.App != "redis" {
				return fmt.Errorf("%+v of\n%s", c, l.run("connections"))
			}
		}
		return nil
	})
	if v := l.run("violations"); strings.Contains(v, " none ") {
		t.Errorf("the sidecar's own connection is reported as refused:\n%s", v)
	}
}

// TestMeshService has a sidecar that sends what goes to a service to one of its servers: then the connection
// of the application and that of the sidecar are two, to two places.
func TestMeshService(t *testing.T) {
	l := newLab(t)
	service := map[string]string{"tcp4": "10.77.0.200:80", "tcp6": "[fd77::200]:80"}
	l.sidecar(l.web, "", labs.SidecarConfig{Route: func(to netip.AddrPort) netip.AddrPort {
		for family, at := range service {
			if at == to.String() {
				return netip.MustParseAddrPort(l.api.Addr(family, 8080))
			}
		}
		return to
	}})
	l.start()
	l.attached("web", "lo", "nfqueue")
	const rounds = 3
	ask := func(when string) {
		t.Helper()
		for _, family := range families {
			c, err := l.web.TryDial(family, service[family], 10*time.Second)
			if err == nil {
				err = request(c)
				c.Close()
			}
			if err != nil {
				t.Errorf("%s: the service over %s: %v", when, family, err)
			}
		}
	}
	for range rounds {
		ask("discover")
	}
	until(t, 20*time.Second, "a rule for the service", func() error {
		if out := l.run("rules"); !strings.Contains(out, "tcp/80 ") {
			return errors.New(out)
		}
		return nil
	})
	l.learnedByName("web", "api", 8080, "http", rounds)
	until(t, 20*time.Second, "the service is known by its address", func() error {
		seen := 0
		for _, c := range read[[]connection](l.program, "connections", "--from", "web") {
			if c.Port == 80 && c.App == "http" && c.Sessions == rounds {
				seen++
			}
		}
		if seen != 2 {
			return errors.New(l.run("connections"))
		}
		return nil
	})
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	ask("protect")
	l.meshRefuses(9090)
}
