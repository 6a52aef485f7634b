package test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAgentAlone starts an agent that has a policy on disk, and neither a controller nor a store that
// answers: what that policy says is enforced, and nothing is changed at the end.
func TestAgentAlone(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.args = append(l.args, "--node", "n1")
	d := l.start()
	l.learned()
	l.run("mode", "set", "web", "api", "protect")
	l.works("protect")
	d.stop()

	certs := filepath.Join(t.TempDir(), "certs")
	if out, err := exec.Command(binary, "certs", "--out", certs, "--agents", "n1,n2", "--controllers", "127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("certs: %v: %s", err, out)
	}
	common := []string{"agent", "--data", filepath.Join(l.dir, "data"), "--listen", "", "--store", "consul://127.0.0.1:1", "--controller", "127.0.0.1:1,127.0.0.1:2"}
	launch := func(more ...string) *daemon { return l.spawn(l.command(slices.Concat(common, l.args, more)...)) }
	if out, err := exitOf(launch("--tls-dir", filepath.Join(certs, "n2"))); err == nil || !strings.Contains(out, "agent/n2") {
		t.Errorf("with another node's certificate: %v, %s", err, out)
	}
	d = launch("--tls-dir", filepath.Join(certs, "n1"))
	until(t, 15*time.Second, "the agent enforces what it kept", func() error {
		c, err := l.intruder.TryDial("tcp4", l.api.Addr("tcp4", 8080), time.Second)
		if err == nil {
			c.Close()
			return errors.New("the intruder gets through: " + d.log.String())
		}
		return nil
	})
	l.works("alone")
	l.refused("alone", l.intruder, 8080)
	d.stop()
	l.works("after the end")
	if _, err := os.Stat(filepath.Join(l.dir, "data", "policy-n1.json")); err != nil {
		t.Errorf("the policy on disk: %v", err)
	}
}
