package demo

import (
	"context"
	"fmt"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/internal/stage/lab"
	"github.com/sluicenet/sluice/internal/vocab"
)

// protect switches every group of the lab.
func (d *demo) protect(ctx context.Context) error {
	d.tell.Step("Now it protects", "Every group goes to protect mode, under traffic: frames are steered through the engine, no link goes down.")
	if err := d.run.trouble(); err != nil {
		return fmt.Errorf("the lab's traffic failed before the switch: %w", err)
	}
	var groups []string
	for _, h := range d.lab.Hosts() {
		groups = append(groups, "svc:default/"+h.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	d.run.mark()
	begin := time.Now()
	res, err := d.api.SetMode(ctx, &controlv1.SetModeRequest{Groups: groups, Mode: controlv1.Mode_MODE_PROTECT, Wait: true})
	if err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	if !res.Enforced {
		return fmt.Errorf("set mode: the agent does not enforce policy %d", res.Policy)
	}
	d.tell.Say("%d groups protected in %d ms, policy %d", len(res.Groups), time.Since(begin).Milliseconds(), res.Policy)
	return nil
}

// keep lets what was learned continue for a while.
func (d *demo) keep(ctx context.Context) error {
	d.tell.Step("What was learned continues", "Connections from before the switch as well as new ones.")
	if err := sleep(ctx, keepOn); err != nil {
		return err
	}
	d.count()
	d.tell.kept(&d.rep.Protect)
	return nil
}

// count takes the traffic's state into the report.
func (d *demo) count() {
	p := &d.rep.Protect
	p.Kept, p.Broken, p.Allowed, p.Failures = d.run.state()
}

// intrude lets those try who should not get through.
func (d *demo) intrude(ctx context.Context) error {
	d.tell.Step("What was not is refused", "TCP by a reset within a millisecond or so, UDP by silence; IPv4 and IPv6 alike.")
	for _, a := range d.lab.Attempts() {
		outcome, took, err := d.lab.Try(ctx, a)
		if err != nil {
			return fmt.Errorf("%s over %s: %w", a.What, a.Family, err)
		}
		x := Denied{From: a.From, To: a.To, Proto: a.Proto, Port: a.Port, Family: a.Family, Outcome: string(outcome),
			MS: round(float64(took.Microseconds()) / 1000)}
		if err := d.explain(ctx, a, &x); err != nil {
			return err
		}
		d.rep.Protect.Denied = append(d.rep.Protect.Denied, x)
		d.tell.denied(a, &x)
	}
	d.count()
	if err := d.run.trouble(); err != nil {
		d.tell.Say("broken: %v", err)
	}
	return nil
}

// explain finds the record of a refusal, which says by which rule it was.
func (d *demo) explain(ctx context.Context, a lab.Attempt, x *Denied) error {
	for deadline := time.Now().Add(opTime); ; {
		res, err := d.api.ListViolations(ctx, &controlv1.ListViolationsRequest{})
		if err != nil {
			return fmt.Errorf("list violations: %w", err)
		}
		for _, v := range res.Violations {
			if short(v.From) == a.From && short(v.To) == a.To && protoName(v.Proto) == a.Proto && int(v.Port) == a.Port &&
				vocab.Text(v.Family) == a.Family && v.Verdict == controlv1.Verdict_VERDICT_DENY {
				x.Rule, x.Reason, x.App, x.Reported = v.Rule, vocab.Text(v.Reason), v.App, true
				return nil
			}
		}
		if time.Now().After(deadline) {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}
