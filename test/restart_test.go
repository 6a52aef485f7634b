package test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// ports are those of the rules between web and api, as they are learned.
func (l *lab) ports() (ports []string) {
	for _, r := range read[[]rule](l.program, "rules") {
		if r.From != "svc:default/web" || r.To != "svc:default/api" || r.Origin != "learned" {
			ports = append(ports, fmt.Sprintf("%s from %s to %s", r.Ports, r.From, r.To))
			continue
		}
		ports = append(ports, r.Ports...)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// survives learns what is said, protects both ends, and restarts Sluice in every way.
func survives(t *testing.T, backend string, talks []*talk) {
	l := newLab(t)
	d := l.start()
	co := meet(l, talks)
	want := serverPorts(talks)
	until(t, 15*time.Second, "all ports learned", func() error {
		if got := l.ports(); !slices.Equal(got, want) {
			return fmt.Errorf("rules for %v, want %v", got, want)
		}
		return nil
	})
	l.run("mode", "set", "web", "api", "protect")
	if backend == "nfqueue" {
		l.run("workloads", "backend", "web", backend)
		l.run("workloads", "backend", "api", backend)
	}
	enforced := func() error {
		if out := l.run("workloads"); strings.Count(out, " "+backend) < 2 {
			return errors.New(out)
		}
		return nil
	}
	until(t, patience, "both protected", enforced)
	co.continues("protect")
	other := filepath.Join(t.TempDir(), "sluice-next")
	if err := copyFile(other, binary); err != nil {
		t.Fatal(err)
	}
	for _, how := range []struct {
		name string
		end  func()
		next string
	}{{"SIGTERM", func() { d.stop() }, binary}, {"kill -9", func() { d.kill() }, binary}, {"upgrade", func() { d.stop() }, other}, {"kill -9 again", func() { d.kill() }, other}} {
		time.Sleep(3 * time.Second) // silent ones are silent
		how.end()
		l.exe = how.next
		d = l.start()
		until(t, patience, "both protected after "+how.name, enforced)
		co.continues(how.name)
		if got := l.ports(); !slices.Equal(got, want) {
			t.Errorf("%s: rules for %v, want %v", how.name, got, want)
		}
	}
	co.stopAll()
	l.refused("at the end", l.intruder, 8080)
	d.stop()
}

func copyFile(to, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// TestRestartBreaksNothing: no restart breaks or refuses an allowed conversation, whatever its ports, busy or
// silent, whoever speaks first afterwards. Its combinations wait most of their time, so they run side by side.
func TestRestartBreaksNothing(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"inline", "nfqueue"} {
		for network, talks := range map[string]func() []*talk{"tcp": tcpTalks, "udp": udpTalks} {
			t.Run(backend+"/"+network, func(t *testing.T) {
				t.Parallel()
				survives(t, backend, talks())
			})
		}
	}
}

// TestOpenBeforeStart: conversations that were open before Sluice started are learned in the right direction,
// as long as they carry payload, and continue once both ends are protected. Nothing else is learned.
func TestOpenBeforeStart(t *testing.T) {
	t.Parallel()
	var talks []*talk
	for _, k := range append(tcpTalks(), udpTalks()...) {
		// A UDP client that is not connected, on a port like its server's, leaves nothing to learn from.
		if k.busy && (k.connected || strings.HasPrefix(k.network, "tcp")) {
			talks = append(talks, k)
		}
	}
	l := newLab(t)
	co := meet(l, talks)
	d := l.start()
	want := serverPorts(talks)
	until(t, 20*time.Second, "all ports learned", func() error {
		if got := l.ports(); !slices.Equal(got, want) {
			return fmt.Errorf("rules for %v, want %v", got, want)
		}
		return nil
	})
	l.run("mode", "set", "web", "api", "protect")
	co.continues("protect")
	if got := l.ports(); !slices.Equal(got, want) {
		t.Errorf("rules for %v, want %v", got, want)
	}
	co.stopAll()
	// New connections are allowed by the same rules.
	for _, k := range talks {
		if k.network != "tcp4" {
			continue
		}
		c, err := l.web.TryDial(k.network, l.api.Addr(k.network, k.server), patientTCP)
		if err != nil {
			t.Errorf("a new connection to %d: %v", k.server, err)
			continue
		}
		if err := k.echo(c, "hello"); err != nil {
			t.Errorf("a new connection to %d: %v", k.server, err)
		}
		c.Close()
	}
	d.stop()
}

// serverPorts are what the rules of conversations list.
func serverPorts(talks []*talk) (want []string) {
	for _, k := range talks {
		want = append(want, fmt.Sprintf("%s/%d", k.network[:3], k.server))
	}
	slices.Sort(want)
	return slices.Compact(want)
}
