// Package clusterdemo runs Sluice on several machines, made of namespaces: three Consul servers, two
// controllers, two nodes with workloads. It kills the leading controller, Consul's leader and an agent
// under traffic, or whatever chance says, and counts at the clients what the controllers must know in
// the end. It starts the real programs and decides nothing itself.
package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/sluicenet/sluice/internal/stage/consultest"
	"github.com/sluicenet/sluice/internal/stage/story"
)

// Config is how a demo is run.
type Config struct {
	// Binary is the sluice program, Consul the Consul server.
	Binary, Consul string
	// Out receives the output; nil for none.
	Out io.Writer
	// Colour reports whether Out can show colours.
	Colour bool
}

// demo is one run.
type demo struct {
	cfg         Config
	tell        *teller
	rep         *Report
	dir         string
	namespaces  []string
	core        *machine
	nodes       []*machine
	hosts       map[string]*host
	consul      *consultest.Cluster
	controllers []*process // those that live, the leading one first
	agents      []*process // by node
	stops       []func()   // of the workloads' servers
	run         *traffic

	mu        sync.Mutex // guards what follows
	processes []*process
}

// portControl is where controllers listen.
const portControl = 9474

// Run runs the demo. The report has the results; an error is one of the demo itself. It
// cleans up in either case.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	d := newDemo(cfg)
	return d.rep, d.play(ctx, d.build, d.servers, d.nodesStart, d.learn([]use{useHTTP}), d.protect, d.killController, d.killConsul, d.killAgent, d.count)
}

func newDemo(cfg Config) *demo {
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	return &demo{cfg: cfg, tell: &teller{story.Teller{W: cfg.Out, Colour: cfg.Colour}}, rep: &Report{Problems: []string{}}, hosts: map[string]*host{}}
}

// play takes the steps and clears away.
func (d *demo) play(ctx context.Context, steps ...func(context.Context) error) (err error) {
	begin := time.Now()
	defer func() {
		err = errors.Join(err, d.close())
		d.rep.Seconds = time.Since(begin).Round(10 * time.Millisecond).Seconds()
	}()
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	d.tell.verdict(d.rep)
	return nil
}

// build makes the machines and the workloads.
func (d *demo) build(context.Context) (err error) {
	d.tell.Step("Three machines", "One for the servers, two nodes with two workloads each: network namespaces on bridges, joined by cables, IPv4 and IPv6.")
	if d.dir, err = os.MkdirTemp("", "sldc"); err != nil {
		return err
	}
	prefix := fmt.Sprintf("sldc%d-", os.Getpid())
	d.core = &machine{name: prefix + "core"}
	d.nodes = []*machine{{name: prefix + "node1", n: 1}, {name: prefix + "node2", n: 2}}
	for _, m := range append([]*machine{d.core}, d.nodes...) {
		addrs := []netip.Addr{v4(0, 20+m.n), v6(0, 20+m.n)}
		if m == d.core {
			addrs = nil
			for _, last := range []byte{1, 2, 3, 11, 12} {
				addrs = append(addrs, v4(0, last))
			}
		}
		d.namespaces = append(d.namespaces, m.name)
		if err := buildMachine(m, addrs...); err != nil {
			return err
		}
	}
	for _, m := range d.nodes {
		if err := join(d.core, m); err != nil {
			return err
		}
	}
	for i, name := range []string{"web", "intruder", "api", "worker"} {
		n := d.nodes[i/2]
		h := &host{name: name, netns: prefix + name, node: n, v4: v4(n.n, byte(11+i)), v6: v6(n.n, byte(11+i))}
		d.namespaces = append(d.namespaces, h.netns)
		if err := buildHost(h); err != nil {
			return err
		}
		d.hosts[name] = h
		d.tell.Say("%-9s on node%d  %-12s %s", name, n.n, h.v4, h.v6)
	}
	return nil
}

// servers starts Consul and the controllers.
func (d *demo) servers(ctx context.Context) (err error) {
	d.tell.Step("Three Consul servers, two controllers", "One controller leads by a lock in Consul, the other is standby and passes calls on to it. Certificates are made by sluice certs.")
	begin := time.Now()
	ips := []string{v4(0, 1).String(), v4(0, 2).String(), v4(0, 3).String()}
	start, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	if d.consul, err = consultest.Start(start, consultest.Place{Binary: d.cfg.Consul, Dir: d.dir, NetNS: d.core.path(), IPs: ips}); err != nil {
		return err
	}
	d.tell.Say("Consul is ready after %.1f s", time.Since(begin).Seconds())
	controllers := []string{v4(0, 11).String(), v4(0, 12).String()}
	certs := exec.CommandContext(ctx, d.cfg.Binary, "certs", "--out", d.certs(""), "--agents", "node1,node2",
		"--controllers", "ctl1="+controllers[0]+",ctl2="+controllers[1])
	if out, err := certs.CombinedOutput(); err != nil {
		return fmt.Errorf("sluice certs: %w: %s", err, out)
	}
	for i, ip := range controllers {
		name := fmt.Sprintf("ctl%d", i+1)
		p, err := d.launch(name, d.core, "controller", "--store", d.consul.URL(), "--listen", fmt.Sprintf("%s:%d", ip, portControl), "--tls-dir", d.certs(name), "--name", name)
		if err == nil {
			err = p.dial()
		}
		if err != nil {
			return err
		}
		d.controllers = append(d.controllers, p)
		if err := d.answers(ctx, p, 20*time.Second); err != nil { // the first one leads
			return err
		}
	}
	d.tell.Say("ctl1 leads, ctl2 is standby; both answer")
	return nil
}

func (d *demo) certs(name string) string { return filepath.Join(d.dir, "certs", name) }

// nodesStart starts the nodes' agents, and the workloads' servers.
func (d *demo) nodesStart(ctx context.Context) error {
	d.tell.Step("An agent on each node", "It reports to whichever controller answers, and takes its policy from Consul.")
	for _, n := range d.nodes {
		name := fmt.Sprintf("node%d", n.n)
		list := filepath.Join(d.dir, name+".yaml")
		text := "workloads:\n"
		args := []string{"agent", "--node", name, "--store", d.consul.URL(), "--tls-dir", d.certs(name), "--data", filepath.Join(d.dir, name), "--listen", "",
			"--controller", fmt.Sprintf("%s:%d,%s:%d", v4(0, 11), portControl, v4(0, 12), portControl), "--workloads", list, "--search-processes=false"}
		for _, h := range d.hosts {
			if h.node == n {
				text += fmt.Sprintf("  - {name: %s, netns: %s}\n", h.name, h.netns)
				args = append(args, "--netns", h.netns)
			}
		}
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			return err
		}
		p, err := d.launch(name, n, args...)
		if err != nil {
			return err
		}
		d.agents = append(d.agents, p)
	}
	stop, err := serve(d.hosts["api"])
	d.stops = append(d.stops, stop)
	if err != nil {
		return err
	}
	if err := d.until(ctx, 30*time.Second, "every workload is watched", d.watched("tap")); err != nil {
		return err
	}
	d.tell.Say("4 workloads on 2 nodes, each watched by a tap")
	return nil
}
