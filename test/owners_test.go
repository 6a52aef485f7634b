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
)

// nodeView is the part of `sluice status -o json` that is about owners of names.
type nodeView struct {
	Node   string `json:"node"`
	Phase  string `json:"phase"` // of nodes
	State  string `json:"state"` // of controllers
	Rivals []any  `json:"rivals"`
}

// ownersLab is a controller on Consul, and the lab's agent as node n1.
type ownersLab struct {
	*lab
	controllers
	ctl   *program
	agent []string // arguments that all agents of n1 have
}

func newOwnersLab(t *testing.T) *ownersLab {
	t.Helper()
	l := &ownersLab{lab: newLab(t)}
	ips, err := consultest.Loopback(1)
	if err != nil {
		t.Fatal(err)
	}
	consultest.NewAt(t, consultest.Place{IPs: ips})
	l.controllers = controllers{t: t, certs: filepath.Join(t.TempDir(), "certs"), store: "consul://" + ips[0] + ":8500"}
	if out, err := exec.Command(binary, "certs", "--out", l.certs, "--agents", "n1", "--controllers", "c1=127.0.0.1,c2=127.0.0.1").CombinedOutput(); err != nil {
		t.Fatalf("certs: %v: %s", err, out)
	}
	ctl, d := l.controllers.launch("c1", "", "c1")
	d.waits("msg=leading")
	l.ctl = ctl
	listen := d.cmd.Args[slices.Index(d.cmd.Args, "--listen")+1]
	l.agent = []string{"agent", "--node", "n1", "--listen", "", "--store", l.store, "--controller", listen, "--tls-dir", filepath.Join(l.certs, "n1")}
	return l
}

// launch starts an agent of n1 on a data folder, for the namespaces of args.
func (l *ownersLab) launchAgent(p *program, data string, args ...string) *daemon {
	l.lab.t.Helper()
	return p.spawn(p.command(slices.Concat(l.agent, []string{"--data", filepath.Join(l.lab.dir, data)}, args)...))
}

// protect allows what web asks of api and nothing else.
func (l *ownersLab) protect() {
	l.lab.t.Helper()
	until(l.lab.t, 20*time.Second, "the workloads", func() error {
		_, err := l.ctl.try("rules", "add", "--from", "web", "--to", "api", "--ports", "tcp/8080", "--apps", "http")
		return err
	})
	for _, family := range families {
		l.long[family] = l.web.Dial(family, l.api.Addr(family, 8080))
	}
	l.ctl.run("mode", "set", "all", "protect")
	l.works("protected")
}

// node returns the controller's view of n1.
func (l *ownersLab) node() (nodeView, error) {
	v := read[struct {
		Nodes []nodeView `json:"nodes"`
	}](l.ctl, "status")
	for _, n := range v.Nodes {
		if n.Node == "n1" {
			return n, nil
		}
	}
	return nodeView{}, errors.New("status has no node n1")
}

// TestClonedAgent runs a second agent with the node's name, from another folder, as a cloned machine
// does: it is refused, both ends report it, and nothing changes for the workloads of the first.
func TestClonedAgent(t *testing.T) {
	t.Parallel()
	l := newOwnersLab(t)
	one := l.launchAgent(l.program, "data", l.args...)
	one.waits("watches its workloads")
	l.protect()
	workloads := l.ctl.run("workloads")

	p := newProgram(t)
	clone := l.launchAgent(p, "clone", "--netns", "none-*")
	clone.waits("node name refused")
	until(t, 20*time.Second, "status to have the rival", func() error {
		n, err := l.node()
		if err == nil && (len(n.Rivals) != 1 || n.Phase != "owner") {
			err = fmt.Errorf("%+v", n)
		}
		return err
	})
	one.waits("another agent was refused this node's name")
	until(t, 10*time.Second, "an event about the node", func() error {
		if out := l.ctl.run("observe", "--kind", "node"); !strings.Contains(out, "n1") {
			return errors.New(out)
		}
		return nil
	})
	if out := p.run("status"); !strings.Contains(out, "another agent owns the name of node n1") {
		t.Errorf("the clone's own status is\n%s", out)
	}
	l.works("beside the clone")
	clone.stop()
	l.works("after the clone")
	if got := l.ctl.run("workloads"); got != workloads {
		t.Errorf("workloads were\n%s\nand are\n%s", workloads, got)
	}
	if out := l.ctl.run("violations"); strings.Contains(out, "web") {
		t.Errorf("violations of allowed traffic:\n%s", out)
	}
}

// TestAgentsOverlap starts the next agent of a node while the one before still runs on the same folder, as
// a DaemonSet's update does, and one after kill -9: the node is never without an owner for long, and
// allowed traffic continues.
func TestAgentsOverlap(t *testing.T) {
	t.Parallel()
	l := newOwnersLab(t)
	one := l.launchAgent(l.program, "data", l.args...)
	one.waits("watches its workloads")
	l.protect()
	p := newProgram(t)
	two := l.launchAgent(p, "data", l.args...)
	two.waits("another agent uses the data folder")
	l.works("while the next agent waits")
	one.stop()
	two.waits("watches its workloads")
	l.works("with the next agent")
	owned := func(what string) {
		t.Helper()
		until(t, 30*time.Second, what, func() error {
			n, err := l.node()
			if err == nil && n.Phase != "owner" {
				err = fmt.Errorf("%+v", n)
			}
			if err == nil {
				_, err = l.ctl.try("mode", "set", "all", "protect", "--wait", "3s")
			}
			return err
		})
	}
	owned("the next agent is the owner")
	two.kill()
	three := l.launchAgent(newProgram(t), "data", l.args...)
	three.waits("watches its workloads")
	l.works("after kill -9")
	owned("the agent after kill -9 is the owner")
	l.refused("after kill -9", l.intruder, 8080)
}

// TestControllersOfOneName starts a second controller with the first one's name: it ends with an
// error that names the first, which continues and reports it.
func TestControllersOfOneName(t *testing.T) {
	t.Parallel()
	l := newOwnersLab(t)
	_, second := l.controllers.launch("c1", "", "c2")
	out, err := exitOf(second)
	if err == nil || !strings.Contains(out, "another controller is called c1") {
		t.Fatalf("the second controller: %v, %s", err, out)
	}
	until(t, 20*time.Second, "status of the first to have the rival", func() error {
		v := read[struct {
			Controllers []nodeView `json:"controllers"`
		}](l.ctl, "status")
		if len(v.Controllers) != 1 || v.Controllers[0].State != "leader" || len(v.Controllers[0].Rivals) != 1 {
			return fmt.Errorf("%+v", v)
		}
		return nil
	})
}
