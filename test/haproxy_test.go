package test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// haproxyConf makes haproxy a sidecar: it follows the original destinations of what goes out, and delivers what
// comes in from 127.0.0.6. Debian's asks for original destinations of IPv4 only.
const haproxyConf = `global
  uid %[1]d
  gid %[1]d
defaults
  mode tcp
  timeout connect 20s
  timeout client 1m
  timeout server 1m
listen out4
  bind 0.0.0.0:15001
  option transparent
  server x 0.0.0.0:0
listen in4
  bind 0.0.0.0:15006
  option transparent
  source 127.0.0.6
  server x 0.0.0.0:0
`

// haproxy starts one in a workload under a mesh's rules, and waits until it listens.
func haproxy(t *testing.T, w *testnet.Workload) {
	t.Helper()
	testnet.RequireTool(t, "haproxy")
	w.MeshRules("iptables-nft")
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(conf, fmt.Appendf(nil, haproxyConf, testnet.MeshUID), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := w.Command("haproxy", "-db", "-f", conf)
	var log testnet.Output
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	until(t, 20*time.Second, "haproxy listens", func() error {
		c, err := w.TryDial("tcp4", "127.0.0.1:15006", time.Second)
		if err != nil {
			return fmt.Errorf("%w: %s", err, log.String())
		}
		return c.Close()
	})
}

// TestMeshHaproxy has a proxy that is used as one, in both directions.
func TestMeshHaproxy(t *testing.T) {
	const family, rounds = "tcp4", 3
	l := newLab(t)
	haproxy(t, l.web)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })}
	ln := l.web.Listen(family, l.web.Addr(family, 8081))
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	in := func(from *testnet.Workload) error {
		c, err := from.TryDial(family, l.web.Addr(family, 8081), 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		return request(c)
	}
	l.start()
	l.attached("web", "lo", "nfqueue")
	for range rounds {
		if err := errors.Join(l.get(l.web, family), in(l.api)); err != nil {
			t.Fatalf("through haproxy: %v", err)
		}
	}
	until(t, 20*time.Second, "both directions are known", func() error {
		known := 0
		for _, c := range read[[]connection](l.program, "connections") {
			if c.App != "http" || c.Sessions != rounds {
				return fmt.Errorf("%+v", c)
			}
			known++
		}
		if known != 2 {
			return errors.New(l.run("connections"))
		}
		return nil
	})
	l.run("mode", "set", "web", "protect")
	l.attached("web", "eth0", "inline")
	if err := errors.Join(l.get(l.web, family), in(l.api)); err != nil {
		t.Errorf("what was learned: %v", err)
	}
	if got := l.says(l.web, family, 9090, "hello"); got != "reset" {
		t.Errorf("what was not learned: %s, want a reset", got)
	}
	if err := in(l.intruder); !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the intruder: %v, want a reset", err)
	}
}
