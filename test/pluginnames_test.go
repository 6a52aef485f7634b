package test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/consultest"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestPluginNamesInCluster runs controller and agent as processes of their own over a Consul, with a plugin of
// a user's plugin on the agent alone: the controller shows its application by name, takes a rule that names it, and
// so does another controller that has never seen the agent. The agent enforces it.
func TestPluginNamesInCluster(t *testing.T) {
	testnet.RequireRoot(t)
	consul := consultest.New(t, 1)
	l := newLab(t)
	for _, family := range families {
		go tallyServer(l.api.Listen(family, l.api.Addr(family, tallyPort)))
	}
	certs := filepath.Join(t.TempDir(), "certs")
	if out, err := exec.Command(binary, "certs", "--out", certs, "--agents", "n1", "--controllers", "ctl=127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("certs: %v: %s", err, out)
	}
	address := freePort(t)
	control := func() *daemon {
		d := l.spawn(l.command("controller", "--store", consul.URL(), "--name", "ctl", "--listen", address, "--tls-dir", filepath.Join(certs, "ctl")))
		until(t, 15*time.Second, "the controller answers", func() error {
			_, err := l.try("rules")
			return err
		})
		return d
	}
	ctl := control()
	agent := []string{"agent", "--node", "n1", "--data", filepath.Join(l.dir, "agent"), "--listen", "", "--store", consul.URL(), "--controller", address,
		"--tls-dir", filepath.Join(certs, "n1"), "--plugin-dir", examplePlugin(t)}
	l.spawn(l.command(slices.Concat(agent, l.args)...))
	until(t, 15*time.Second, "three workloads tapped", func() error {
		if out := l.run("workloads"); strings.Count(out, " tap") != 3 {
			return errors.New(out)
		}
		return nil
	})
	named := func(when string) {
		t.Helper()
		until(t, 10*time.Second, when+": connections and rules with the name", func() error {
			for _, family := range families {
				if err := l.tally(l.web, family); err != nil {
					return fmt.Errorf("web to api over %s: %w", family, err)
				}
			}
			if l.sessions("tally", tallyPort) == 0 {
				return errors.New(l.run("connections"))
			}
			if out := l.run("rules"); !strings.Contains(out, "tally") || strings.Contains(out, "app-") {
				return errors.New(out)
			}
			return nil
		})
	}
	named("learned")
	l.run("rules", "add", "--from", "web", "--to", "api", "--ports", "tcp/7000-7100", "--apps", "tally")
	l.run("mode", "set", "web", "api", "protect")
	named("protect")
	if w := read[why](l.program, "why", "web", "api", fmt.Sprint(tallyPort), "--app", "tally"); w.Verdict != "allow" || !strings.Contains(w.Text, "tally") {
		t.Errorf("why: %+v", w)
	}
	ctl.stop()
	control()
	named("after another controller began")
}
