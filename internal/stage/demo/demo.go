// Package demo runs Sluice's main job over a lab and shows it: learn, make rules, protect,
// refuse. It starts the real program and uses its API as any other
// client; it does not decide what is learned or refused.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/stage/lab"
)

// Config is how a demo is run.
type Config struct {
	// Binary is the sluice program.
	Binary string
	// Out receives the output; nil for none.
	Out io.Writer
	// Colour and Live report whether Out supports colours and overwritten lines.
	Colour, Live bool
	// Pause waits between steps, for viewers; nil does not wait.
	Pause func()
	// Wait is called before everything is taken down; nil for not at all.
	Wait func()
}

// Bounds of the demo's steps.
const (
	startTime = 20 * time.Second
	learnTime = 25 * time.Second
	pace      = 250 * time.Millisecond // between two uses of each flow
	keepOn    = 3 * time.Second        // traffic after the switch, before the attempts
	opTime    = 10 * time.Second       // until a refusal is recorded
)

// prefix begins the names of everything that a demo makes.
const prefix = "sldemo"

// demo is one run.
type demo struct {
	cfg  Config
	tell *teller
	dir  string
	lab  *lab.Lab
	d    *daemon
	api  controlv1.ControlClient
	run  *traffic
	rep  *Report

	meshed int // machines with a sidecar
}

// Run runs the demo. The report has the results; an error is one of the demo itself. It
// cleans up in either case.
func Run(ctx context.Context, cfg Config) (rep *Report, err error) {
	begin := time.Now()
	d := &demo{cfg: cfg, tell: newTeller(cfg), rep: newReport()}
	before, err := leftovers()
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, d.close())
		if err == nil {
			err = d.checkClean(before)
		}
		rep.Seconds = round(time.Since(begin).Seconds())
	}()
	for _, step := range []func(context.Context) error{d.build, d.start, d.learn, d.rules, d.protect, d.keep, d.intrude} {
		if err := step(ctx); err != nil {
			return d.rep, err
		}
		if cfg.Pause != nil {
			cfg.Pause()
		}
	}
	d.rep.judge()
	d.tell.verdict(d.rep)
	if cfg.Wait != nil {
		d.tell.Say("Look around in another terminal: %s --socket %s connections", filepath.Base(cfg.Binary), d.d.socket)
		cfg.Wait()
	}
	return d.rep, nil
}

// build makes the lab and starts its traffic.
func (d *demo) build(ctx context.Context) (err error) {
	d.tell.Step("A lab of eight machines", "Each in a network namespace of its own, on one bridge, with IPv4 and IPv6. Two live in a mesh: a sidecar takes over all\n   that they send and get, and the sidecars encrypt to each other.")
	if d.dir, err = os.MkdirTemp("", prefix); err != nil {
		return err
	}
	if err := lab.Sweep(prefix); err != nil {
		return fmt.Errorf("remove what a demo that was killed has left: %w", err)
	}
	if d.lab, err = lab.New(lab.Prefix(prefix)); err != nil {
		return err
	}
	if err := d.lab.Serve(); err != nil {
		return err
	}
	for _, h := range d.lab.Hosts() {
		with := ""
		if h.Meshed {
			with = "with a sidecar"
			d.meshed++
		}
		d.tell.Say("%-9s %-11s %-10s %s", h.Name, h.V4, h.V6, with)
	}
	return nil
}

// start starts the program over the lab, and then the lab's traffic, so that it sees connections
// begin; those that live on began before the switch.
func (d *demo) start(ctx context.Context) (err error) {
	d.tell.Step("sluice standalone watches", "One process: the agent taps each machine's interface, the controller learns, the store keeps. The machines are not touched.")
	if d.d, err = startDaemon(d.cfg.Binary, d.dir, d.lab); err != nil {
		return err
	}
	d.api = d.d.api
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := d.d.ready(ctx, len(d.lab.Hosts()), d.meshed); err != nil {
		return err
	}
	d.tell.Say("watching %d machines, each by a tap; with %d of them, also what application and sidecar say on lo", len(d.lab.Hosts()), d.meshed)
	d.run, err = startTraffic(d.lab)
	return err
}

// learn waits until every flow of the lab is known, and shows them as they come.
func (d *demo) learn(ctx context.Context) error {
	d.tell.Step("It learns who talks to whom", "From packets alone: the application is named by its content, not by its port.")
	deadline := time.Now().Add(learnTime)
	for {
		edges, err := d.edges(ctx)
		if err != nil {
			return err
		}
		d.rep.Learned = edges
		d.tell.learned(edges)
		missing := d.missing(edges)
		if len(missing) == 0 {
			break
		}
		if err := d.run.trouble(); err != nil {
			return fmt.Errorf("the lab's traffic fails before anything is protected: %w", err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s these connections were not learned: %s", learnTime, strings.Join(missing, "; "))
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	d.tell.finishTable()
	d.mesh()
	return nil
}

// mesh shows what was learned of connections that are TLS to everybody else.
func (d *demo) mesh() {
	hidden := map[string]bool{}
	for _, e := range d.rep.Learned {
		if e.Over == "tls" && e.App != "tls" {
			hidden[fmt.Sprintf("%s to %s", e.From, e.To)] = true
		}
	}
	if len(hidden) > 0 {
		d.tell.Say("")
		d.tell.Say("Between the sidecars there is only TLS (%s); the name comes from lo, where it", strings.Join(slices.Sorted(maps.Keys(hidden)), ", "))
		d.tell.Say("is not encrypted yet. Both looks at one connection are counted as one.")
	}
}

// missing lists the flows of the lab that were not learned yet.
func (d *demo) missing(edges []Edge) []string {
	var out []string
	for _, f := range d.lab.Flows() {
		found := false
		for _, e := range edges {
			found = found || e.From == f.From && e.To == f.To && e.Proto == f.Proto && e.Port == f.Port && e.App == f.App && e.Family == f.Family
		}
		if !found {
			out = append(out, f.String())
		}
	}
	return out
}

// rules shows the rules that were made of it.
func (d *demo) rules(ctx context.Context) error {
	d.tell.Step("It makes rules of it", "Between groups, not addresses: one rule covers both families and every copy of a service.")
	want := map[string]bool{}
	for _, f := range d.lab.Flows() {
		want[f.From+" "+f.To+" "+f.App] = true
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		res, err := d.api.ListRules(ctx, &controlv1.ListRulesRequest{})
		if err != nil {
			return fmt.Errorf("list rules: %w", err)
		}
		d.rep.Rules = rulesOf(res.Rules)
		have := map[string]bool{}
		for _, r := range d.rep.Rules {
			for _, a := range r.Apps {
				have[r.From+" "+r.To+" "+a] = true
			}
		}
		lack := 0
		for w := range want {
			if !have[w] {
				lack++
			}
		}
		if lack == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d kinds of connection have no rule", lack, len(want))
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	d.tell.rules(d.rep.Rules)
	return nil
}

func sleep(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(t):
		return nil
	}
}
