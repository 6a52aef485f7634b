package clusterdemo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// Chaos is how long chance rules, and from which seed.
type Chaos struct {
	Time time.Duration
	Seed uint64
}

// trial is a time in which Consul servers, controllers and agents are killed and stopped by chance: one
// of each kind at a time, kinds independently of each other.
type trial struct {
	*demo
	Chaos
	begin time.Time

	mu     sync.Mutex // guards errs, counts and demo.controllers
	errs   []error
	counts map[string]int // what was done, by name
	added  map[string]int // comments of rules whose adding was acknowledged
}

// Try runs a trial: in the end every connection is known once, every rule that was acknowledged is
// there, and nothing that is forbidden ever got through.
func Try(ctx context.Context, cfg Config, c Chaos) (*Report, error) {
	t := &trial{demo: newDemo(cfg), Chaos: c, counts: map[string]int{}, added: map[string]int{}}
	return t.rep, t.play(ctx, t.build, t.servers, t.nodesStart, t.learn([]use{useHTTP, useRedis, useEcho}), t.hang, t.protect, t.disturb, t.rules, t.count)
}

// hang makes connections that stay to the end.
func (t *trial) hang(ctx context.Context) error {
	for _, family := range families {
		for _, name := range []string{"web", "worker"} {
			t.run.wg.Go(func() { t.run.long(t.hosts[name], family) })
		}
	}
	// Rules for them have to be learned too.
	return t.until(ctx, 20*time.Second, "long connections are learned", func(ctx context.Context) error {
		res, err := t.controllers[1].api.ListConnections(ctx, &controlv1.ListConnectionsRequest{})
		if err != nil {
			return err
		}
		n := 0
		for _, e := range res.Edges {
			if e.Port == portLong && e.App == "redis" {
				n++
			}
		}
		if n < 4 {
			return fmt.Errorf("%d of 4 long connections are known", n)
		}
		return nil
	})
}

// disturb lets chance rule.
func (t *trial) disturb(ctx context.Context) error {
	t.tell.Step("Chance rules", fmt.Sprintf("For %s Consul servers, controllers and agents are killed (kill -9) or stopped (SIGSTOP), and come back. Seed %d.", t.Time, t.Seed))
	t.begin = time.Now()
	until, cancel := context.WithTimeout(ctx, t.Time)
	defer cancel()
	var wg sync.WaitGroup
	for i, kind := range []func(context.Context, *rand.Rand) error{t.disturbConsul, t.disturbController, t.disturbAgent} {
		r := rand.New(rand.NewPCG(t.Seed, uint64(i)))
		wg.Go(func() {
			for until.Err() == nil {
				if sleep(until, between(r, 300*time.Millisecond, 2500*time.Millisecond)) != nil {
					return
				}
				if err := kind(ctx, r); err != nil {
					t.mu.Lock()
					t.errs = append(t.errs, err)
					t.mu.Unlock()
					cancel()
					return
				}
			}
		})
	}
	wg.Go(func() { t.addRules(until) })
	wg.Go(func() { t.asks(until) })
	wg.Wait()
	for _, what := range sortedKeys(t.counts) {
		t.tell.Say("%-24s %d times", what, t.counts[what])
	}
	t.tell.Say("the longest time without a served connection: %d ms, without an answer of a controller: %d ms", t.gap(), t.rep.Takeover)
	return errors.Join(errors.Join(t.errs...), ctx.Err())
}

func sortedKeys(m map[string]int) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// between is a time by chance.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// note reports what is done.
func (t *trial) note(what, whom string, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what]++
	t.tell.Say("%6.1f s  %-24s %-8s for %.1f s", time.Since(t.begin).Seconds(), what, whom, d.Seconds())
}

// addRules adds a rule each second or so, through whichever controller, and remembers those that were
// acknowledged.
func (t *trial) addRules(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		comment := fmt.Sprintf("trial %d", n)
		err := t.call(ctx, n, 8*time.Second, func(ctx context.Context, api controlv1.ControlClient) error {
			_, err := api.PutRule(ctx, &controlv1.PutRuleRequest{Rule: &controlv1.Rule{From: "svc:default/web", To: "svc:default/api",
				Ports: []string{fmt.Sprintf("tcp/%d", 20_000+n)}, Apps: []string{"any"}, Action: controlv1.Action_ACTION_ALLOW, Comment: comment}})
			return err
		})
		if err == nil {
			t.added[comment] = 1
		}
		_ = sleep(ctx, 700*time.Millisecond) // the loop ends then
	}
}

// asks asks the controllers all the time and notes the longest time without an answer of either.
func (t *trial) asks(ctx context.Context) {
	last := time.Now()
	for n := 0; ctx.Err() == nil; n++ {
		err := t.call(ctx, n, time.Second, func(ctx context.Context, api controlv1.ControlClient) error {
			_, err := api.ListGroups(ctx, &controlv1.ListGroupsRequest{})
			return err
		})
		t.rep.Takeover = max(t.rep.Takeover, time.Since(last).Milliseconds())
		if err == nil {
			last = time.Now()
		}
		_ = sleep(ctx, 50*time.Millisecond) // the loop ends then
	}
}

// call calls one of the controllers; n turns to the next.
func (t *trial) call(ctx context.Context, n int, limit time.Duration, fn func(context.Context, controlv1.ControlClient) error) error {
	t.mu.Lock()
	p := t.controllers[n%len(t.controllers)]
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return fn(ctx, p.api)
}

// rules looks whether every rule is there that was acknowledged, once, and that both nodes enforce the
// newest policy.
func (t *trial) rules(ctx context.Context) error {
	t.tell.Step("Everything is back", "Every rule that a controller said it had added is there, and both nodes enforce the newest policy.")
	for _, p := range t.controllers {
		// One that was stopped while it led answers a last time before it finds out.
		err := t.until(ctx, back, p.name+" lists the rules", func(ctx context.Context) error {
			res, err := p.api.ListRules(ctx, &controlv1.ListRulesRequest{})
			if err != nil {
				return err
			}
			there := map[string]int{}
			for _, r := range res.Rules {
				there[r.Comment]++
			}
			for comment := range t.added {
				if there[comment] != 1 {
					return fmt.Errorf("the rule %q, which was added and acknowledged, is there %d times", comment, there[comment])
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	t.tell.Say("%d rules were added under way", len(t.added))
	return t.until(ctx, 30*time.Second, "both nodes enforce the newest policy", func(ctx context.Context) error {
		st, err := t.controllers[0].api.Status(ctx, &controlv1.StatusRequest{})
		if err != nil {
			return err
		}
		if len(st.Nodes) != len(t.nodes) {
			return fmt.Errorf("%d nodes have reported their state", len(st.Nodes))
		}
		for _, n := range st.Nodes {
			if n.Policy != st.Policy {
				return fmt.Errorf("%s enforces %d of %d", n.Node, n.Policy, st.Policy)
			}
		}
		return nil
	})
}
