package test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/consultest"
)

// controllers is controllers on one Consul with ACLs.
type controllers struct {
	t            *testing.T
	certs, store string
}

const consulManager = "3c1f6d44-0f70-4d0c-bd1b-64d6a3f5b1aa"

// launch starts a controller on a free port.
func (c *controllers) launch(name, token, certs string) (*program, *daemon) {
	c.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	l.Close()
	p := newProgram(c.t)
	cmd := p.command("controller", "--name", name, "--store", c.store, "--listen", l.Addr().String(), "--metrics", "", "--tls-dir", filepath.Join(c.certs, certs))
	cmd.Env = append(cmd.Env, "CONSUL_HTTP_TOKEN="+token)
	return p, p.spawn(cmd)
}

// waits waits until a daemon's log has a text.
func (d *daemon) waits(text string) {
	d.t.Helper()
	until(d.t, 30*time.Second, "the log says "+text, func() error {
		if !strings.Contains(d.log.String(), text) {
			return errors.New(d.log.String())
		}
		return nil
	})
}

// TestControllers starts controllers before their Consul, with a wrong token and with wrong certificates; then it
// stops the leader, waits for the other to lead, and continues the first: it changes nothing any more.
func TestControllers(t *testing.T) {
	ips, err := consultest.Loopback(1)
	if err != nil {
		t.Fatal(err)
	}
	c := &controllers{t: t, certs: filepath.Join(t.TempDir(), "certs"), store: "consul://" + ips[0] + ":8500"}
	if out, err := exec.Command(binary, "certs", "--out", c.certs, "--agents", "n1", "--controllers", "c1=127.0.0.1,c2=127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("certs: %v: %s", err, out)
	}
	first, one := c.launch("c1", consulManager, "c1")
	one.waits("consul does not answer, retrying")
	consultest.NewAt(t, consultest.Place{IPs: ips, Token: consulManager,
		HCL: `acl { enabled = true default_policy = "deny" tokens { initial_management = "` + consulManager + `" } }`})
	one.waits("consul answers again")
	one.waits("msg=leading")
	first.run("status")

	_, wrong := c.launch("c3", "11111111-2222-3333-4444-555555555555", "c1")
	wrong.waits("--store-token-file")
	wrong.kill()
	_, agent := c.launch("c4", consulManager, "n1")
	if out, err := exitOf(agent); err == nil || !strings.Contains(out, "agent/n1, not of a controller") {
		t.Errorf("with an agent's certificate: %v, %s", err, out)
	}

	second, two := c.launch("c2", consulManager, "c2")
	until(t, 30*time.Second, "the second passes calls on", func() error { _, err := second.try("status"); return err })
	if err := one.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	two.waits("msg=leading")
	ports := []string{}
	add := func(p *program, port int) {
		t.Helper()
		ports = append(ports, fmt.Sprintf("tcp/%d", port))
		until(t, 30*time.Second, "a rule is added", func() error {
			_, err := p.try("rules", "add", "--from", "external", "--to", "any", "--ports", ports[len(ports)-1])
			return err
		})
	}
	add(second, 1001)
	if err := one.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// It may think for a moment that it leads; what it answers by then must hold all the same.
	add(first, 1002)
	one.waits("leadership lost, continuing as standby")
	add(first, 1003)
	for name, p := range map[string]*program{"first": first, "second": second} {
		out := p.run("rules")
		for _, port := range ports {
			if !strings.Contains(out, port) {
				t.Errorf("%s: %s is not there in\n%s", name, port, out)
			}
		}
	}
	two.stop()
	one.stop()
	gone(t, first, second)
}

// gone checks that no socket was left behind.
func gone(t *testing.T, ps ...*program) {
	t.Helper()
	for _, p := range ps {
		if left, _ := os.ReadDir(filepath.Dir(p.socket())); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
