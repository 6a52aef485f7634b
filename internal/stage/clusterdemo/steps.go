package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// until waits until ok gives nil.
func (d *demo) until(ctx context.Context, limit time.Duration, what string, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		for _, p := range d.all() {
			if err := p.running(); err != nil && !p.killed.Load() {
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
			for _, p := range d.all() {
				text += "\n" + p.name + ":\n" + p.tail()
			}
			return fmt.Errorf("not within %s: %s: %w%s", limit, what, err, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers waits until a controller answers, itself or through the leader. Their status they report
// without a leader, too.
func (d *demo) answers(ctx context.Context, p *process, limit time.Duration) error {
	return d.until(ctx, limit, p.name+" answers", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := p.api.ListGroups(ctx, &controlv1.ListGroupsRequest{})
		return err
	})
}

// watched reports whether every workload's interface is attached so; the standby controller is asked.
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
func (d *demo) learn(uses []use) func(context.Context) error {
	return func(ctx context.Context) error {
		d.tell.Step("It learns", "web on node1 and worker on node2 call api on node2, over both families, a new connection each time.")
		clients := []*host{d.hosts["web"], d.hosts["worker"]}
		d.run = startTraffic(clients, d.hosts["intruder"], d.hosts["api"], uses)
		err := d.until(ctx, 30*time.Second, "rules are learned", func(ctx context.Context) error {
			res, err := d.controllers[1].api.ListRules(ctx, &controlv1.ListRulesRequest{})
			if err != nil {
				return err
			}
			if len(res.Rules) < len(clients)*len(uses) {
				return fmt.Errorf("%d rules", len(res.Rules))
			}
			for _, r := range res.Rules {
				d.tell.Say("%d: %s to %s, %s, %s", r.Id, r.From, r.To, strings.Join(r.Ports, " "), strings.Join(r.Apps, " "))
			}
			return nil
		})
		return errors.Join(err, d.firstTrouble())
	}
}

// protect switches every group, through the standby controller.
func (d *demo) protect(ctx context.Context) error {
	d.tell.Step("It protects", "Every group goes to protect mode, under traffic. From now on the intruder tries the same as web does, all the time.")
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	res, err := d.controllers[1].api.SetMode(ctx, &controlv1.SetModeRequest{Groups: []string{"all"}, Mode: controlv1.Mode_MODE_PROTECT, Wait: true})
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if !res.Enforced {
		return fmt.Errorf("set mode: not every agent enforces policy %d", res.Policy)
	}
	d.run.probe.Store(true)
	d.run.fresh()
	d.tell.Say("%d groups are protected by policy %d on both nodes", len(res.Groups), res.Policy)
	return d.hold(ctx, 2*time.Second)
}

// hold lets the traffic continue for a while.
func (d *demo) hold(ctx context.Context, t time.Duration) error {
	if err := sleep(ctx, t); err != nil {
		return err
	}
	return d.firstTrouble()
}

// killController kills the leader.
func (d *demo) killController(ctx context.Context) error {
	dead, other := d.controllers[0], d.controllers[1]
	d.tell.Step("The leading controller is killed", "Enforcement continues without it, agents keep what they have to report, the other one takes its place.")
	begin := time.Now()
	if err := dead.kill(); err != nil {
		return err
	}
	d.controllers = d.controllers[1:]
	if err := d.answers(ctx, other, 30*time.Second); err != nil {
		return err
	}
	d.rep.Takeover = time.Since(begin).Milliseconds()
	d.tell.Say("%s leads after %d ms", other.name, d.rep.Takeover)
	err := d.hold(ctx, 2*time.Second)
	d.tell.Say("the longest time without a served connection: %d ms", d.gap())
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
	d.tell.Step("Consul's leader is killed", "Two of three servers choose another; then a new rule reaches the nodes by the controller that is left.")
	leader, err := d.consul.Leader()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := d.consul.Kill(leader); err != nil {
		return err
	}
	rule := &controlv1.Rule{From: "svc:default/intruder", To: "svc:default/api", Ports: []string{fmt.Sprintf("tcp/%d", portLater)}, Apps: []string{"any"}, Action: controlv1.Action_ACTION_ALLOW}
	err = d.until(ctx, 30*time.Second, "a rule is added", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := d.controllers[0].api.PutRule(ctx, &controlv1.PutRuleRequest{Rule: rule})
		return err
	})
	if err != nil {
		return err
	}
	err = d.until(ctx, 30*time.Second, "the rule is in force", func(context.Context) error {
		intruder := d.hosts["intruder"]
		c, err := intruder.dial(net.Dialer{Timeout: time.Second}, "tcp", d.hosts["api"].addr("ipv4", portLater))
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	d.rep.Recovery = time.Since(begin).Milliseconds()
	d.tell.Say("server %d killed; the new rule is in force after %d ms", leader, d.rep.Recovery)
	err = d.hold(ctx, 2*time.Second)
	d.tell.Say("the longest time without a served connection: %d ms", d.gap())
	return err
}

// killAgent kills the agent of the node from which web and the intruder call, and starts it again while
// no Consul leader and one controller less are there for it.
func (d *demo) killAgent(ctx context.Context) error {
	d.tell.Step("An agent is killed", "Connections of node1 continue, no agent there watches them for a moment; the intruder is refused by node2's agent alone. Then node1 has an agent again.")
	node, dead := d.nodes[0], d.agents[0]
	begin := time.Now()
	node.away.open(begin.Add(-lostByKill))
	if err := dead.kill(); err != nil {
		return err
	}
	if err := d.hold(ctx, time.Second); err != nil {
		return err
	}
	start := time.Now()
	p, err := d.restart(dead)
	if err != nil {
		return err
	}
	d.agents[0] = p
	if err := d.until(ctx, 30*time.Second, "the agent is back", func(context.Context) error { return p.back() }); err != nil {
		return err
	}
	node.away.close()
	d.rep.AgentBack = time.Since(start).Milliseconds()
	d.tell.Say("without an agent for %d ms; the new one enforces the policy on its disk %d ms after it was started", start.Sub(begin).Milliseconds(), d.rep.AgentBack)
	err = d.hold(ctx, 2*time.Second)
	d.tell.Say("the longest time without a served connection: %d ms", d.gap())
	return err
}

// back reports whether an agent has attached its workloads.
func (p *process) back() error {
	if !p.logged("watches its workloads") {
		return errors.New("it does not watch its workloads yet")
	}
	return nil
}

// count stops the traffic and compares what the clients did with what the controller knows.
func (d *demo) count(ctx context.Context) error {
	d.tell.Step("Nothing is missing", "What the clients counted, from the first connection on, against what the controller knows that is left.")
	d.run.stop()
	r, want := d.rep, d.bounds()
	known, wrong, err := d.compare(ctx, want)
	if err != nil {
		return err
	}
	r.Problems = append(r.Problems, wrong...)
	var unwatched int
	r.Made, r.Unwatched, r.Known = sum(want, known, false)
	r.Tried, unwatched, r.Violations = sum(want, known, true)
	for text, n := range d.trouble() {
		r.Problems = append(r.Problems, fmt.Sprintf("%s (%d times)", text, n))
	}
	r.judge()
	d.tell.Say("%d connections were made, %d of them while their node had no agent: %d are known", r.Made, r.Unwatched, r.Known)
	d.tell.Say("%d times the intruder was refused, %d of them while its node had no agent: %d are known", r.Tried, unwatched, r.Violations)
	return nil
}
