package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// until waits until ok gives nil.
func (d *demo) until(ctx context.Context, limit time.Duration, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		for _, p := range d.processes {
			if err := p.running(); err != nil && !p.killed {
				return err
			}
		}
		err := ok(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			text := ""
			for _, p := range d.processes {
				text += "\n" + p.name + ":\n" + p.tail()
			}
			return fmt.Errorf("not within %s: %s: %w%s", limit, what, err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers waits until a controller answers, itself or through the one that leads.
func (d *demo) answers(ctx context.Context, p *process, limit time.Duration) error {
	return d.until(ctx, limit, p.name+" answers", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := p.api.Status(ctx, &controlv1.StatusRequest{})
		return err
	})
}

// watched says whether every workload's interface is attached so; the controller that stands by is asked.
func (d *demo) watched(backend string) func(context.Context) error {
	return func(ctx context.Context) error {
		res, err := d.controllers[len(d.controllers)-1].api.ListWorkloads(ctx, &controlv1.ListWorkloadsRequest{})
		if err != nil {
			return err
		}
		n := 0
		for _, w := range res.Workloads {
			for _, i := range w.Interfaces {
				if i.Backend == backend {
					n++
				}
			}
		}
		if n != len(d.hosts) {
			return fmt.Errorf("%d of %d interfaces are attached by %s", n, len(d.hosts), backend)
		}
		return nil
	}
}

// learn starts the traffic and waits until its rules are there.
func (d *demo) learn(ctx context.Context) error {
	d.tell.step("It learns", "web on node1 and worker on node2 call api on node2, over both families, a new connection each time.")
	d.run = startTraffic([]*host{d.hosts["web"], d.hosts["worker"]}, d.hosts["intruder"], d.hosts["api"])
	err := d.until(ctx, 20*time.Second, "rules are learned", func(ctx context.Context) error {
		res, err := d.controllers[1].api.ListRules(ctx, &controlv1.ListRulesRequest{})
		if err != nil {
			return err
		}
		if len(res.Rules) < 2 {
			return fmt.Errorf("%d rules", len(res.Rules))
		}
		for _, r := range res.Rules {
			d.tell.say("%d: %s to %s, %v, %v", r.Id, r.From, r.To, r.Ports, r.Apps)
		}
		return nil
	})
	return errors.Join(err, d.run.trouble())
}

// protect switches every group, through the controller that stands by.
func (d *demo) protect(ctx context.Context) error {
	d.tell.step("It protects", "Every group goes to protect mode. From now on the intruder tries the same as web does, all the time.")
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	res, err := d.controllers[1].api.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"all"}, Mode: "protect", Wait: true})
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if !res.Enforced {
		return fmt.Errorf("set mode: not every agent enforces policy %d", res.Policy)
	}
	if err := d.start(ctx); err != nil {
		return err
	}
	d.tell.say("%d groups are protected by policy %d on both nodes", len(res.Groups), res.Policy)
	return d.hold(ctx, 2*time.Second)
}

// settled is how long the controller's counts must stay the same to be those of all that was made.
const settled = time.Second

// start begins the count: nothing is under way until the controller knows all that was before.
func (d *demo) start(ctx context.Context) error {
	d.run.breath.Lock()
	defer d.run.breath.Unlock()
	defer d.run.begin()
	last, since := -1, time.Now()
	return d.until(ctx, 10*time.Second, "the counts settle", func(ctx context.Context) (err error) {
		if d.before, _, err = d.known(ctx); err != nil {
			return err
		}
		if d.before != last {
			last, since = d.before, time.Now()
		}
		if time.Since(since) < settled {
			return errors.New("reports still come in")
		}
		return nil
	})
}

// hold lets the traffic go on for a while.
func (d *demo) hold(ctx context.Context, t time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(t):
	}
	return d.run.trouble()
}

// killController kills the one that leads.
func (d *demo) killController(ctx context.Context) error {
	dead, other := d.controllers[0], d.controllers[1]
	d.tell.step("The leading controller is killed", "Enforcement goes on without it, agents keep what they have to tell, the other one takes its place.")
	begin := time.Now()
	dead.killed = true
	if err := dead.kill(); err != nil {
		return err
	}
	d.controllers = d.controllers[1:]
	if err := d.answers(ctx, other, 30*time.Second); err != nil {
		return err
	}
	d.rep.Takeover = time.Since(begin).Milliseconds()
	d.tell.say("%s leads after %d ms", other.name, d.rep.Takeover)
	err := d.hold(ctx, 2*time.Second)
	d.tell.say("the longest time without a served connection: %d ms", d.gap())
	return err
}

// gap takes the longest time without a served connection into the report.
func (d *demo) gap() int64 {
	g := d.run.longest().Milliseconds()
	d.rep.Gap = max(d.rep.Gap, g)
	return g
}

// killConsul kills the server that leads, and changes a rule.
func (d *demo) killConsul(ctx context.Context) error {
	d.tell.step("Consul's leader is killed", "Two of three servers choose another; then a new rule reaches the nodes by the controller that is left.")
	leader, err := d.consul.Leader()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := d.consul.Kill(leader); err != nil {
		return err
	}
	rule := &controlv1.Rule{From: "svc:default/intruder", To: "svc:default/api", Ports: []string{fmt.Sprintf("tcp/%d", portLater)}, Apps: []string{"any"}, Action: "allow"}
	err = d.until(ctx, 30*time.Second, "a rule is added", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := d.controllers[0].api.AddRule(ctx, &controlv1.AddRuleRequest{Rule: rule})
		return err
	})
	if err != nil {
		return err
	}
	err = d.until(ctx, 30*time.Second, "the rule is in force", func(context.Context) error {
		intruder := d.hosts["intruder"]
		c, err := intruder.dial(net.Dialer{Timeout: time.Second}, d.hosts["api"].addr("ipv4", portLater))
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	d.rep.Recovery = time.Since(begin).Milliseconds()
	d.tell.say("server %d killed; the new rule is in force after %d ms", leader, d.rep.Recovery)
	err = d.hold(ctx, 2*time.Second)
	d.tell.say("the longest time without a served connection: %d ms", d.gap())
	return err
}

// count stops the traffic and compares what the clients did with what the controller knows.
func (d *demo) count(ctx context.Context) error {
	d.tell.step("Nothing is missing", "What the clients counted against what the controller knows that is left.")
	d.run.stop()
	r := d.rep
	r.Made, r.Tried, r.Through = d.run.made, d.run.tried, d.run.through
	end := time.Now().Add(10 * time.Second)
	for {
		known, violations, err := d.known(ctx)
		if err != nil {
			return err
		}
		r.Known, r.Violations = known-d.before, violations
		if r.Known == r.Made && violations == r.Tried || time.Now().After(end) {
			break
		}
		if err := d.hold(ctx, 100*time.Millisecond); err != nil {
			break // the report says it
		}
	}
	r.judge(d.run)
	d.tell.say("%d connections made, %d known; %d attempts of the intruder, %d known", r.Made, r.Known, r.Tried, r.Violations)
	return nil
}

// known is what the controller has of the connections to api: those that were let through, and those
// that were refused.
func (d *demo) known(ctx context.Context) (passed, refused int, err error) {
	api := d.controllers[0].api
	res, err := api.ListConnections(ctx, &controlv1.ListConnectionsRequest{})
	if err != nil {
		return 0, 0, fmt.Errorf("list connections: %w", err)
	}
	for _, e := range res.Edges {
		switch {
		case e.To != "svc:default/api" || e.Port != portHTTP:
		case e.From == "svc:default/intruder":
			refused += int(e.Sessions)
		default:
			passed += int(e.Sessions)
		}
	}
	return passed, refused, nil
}
