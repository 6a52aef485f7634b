package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Step is one step of an explanation.
type Step struct {
	Rule    uint32 // 0 where the step is not a rule
	Text    string // what was evaluated: a rule as a sentence, or the setting
	Outcome string // the result
}

// Explain evaluates the rules between the two ends of a connection one by one, in order, and
// returns the result of each, the deciding step last. It reads the rules themselves rather
// than the compiled form, so its cost grows with the number of rules: it is meant for
// operators.
func (w *Workload) Explain(q *Query) ([]Step, Decision) {
	if w.spec.Quarantined {
		return []Step{{Text: "the workload is quarantined", Outcome: "denies everything"}},
			Decision{Verdict: flow.Deny, Reason: flow.ByQuarantine}
	}
	if w.table.open(q) {
		return []Step{{Text: "loopback, or exempted by the settings",
			Outcome: "not subject to policy"}}, Decision{Verdict: flow.Open}
	}
	o := w.table.ownersOf(q)
	peer, _ := w.strictest(q, &o)
	from, to := w.spec.Identity, peer
	if q.Dir != packet.Egress {
		from, to = peer, w.spec.Identity
		if w.rowsFor(q) != w.rows {
			to = w.table.Identity(q.Local, q.IPv6)
		}
	}
	var steps []Step
	if o.n > 1 {
		steps = append(steps, Step{Text: "several workloads have the other address, or had it when the connection began", Outcome: "the strictest decision applies"})
	}
	for i := range w.table.rules {
		r := &w.table.rules[i]
		if !w.table.in(from, r.From) || !w.table.in(to, r.To) {
			continue
		}
		if w.table.named[peer] && w.table.unnamed(uint32(i), q.Dir) {
			steps = append(steps, Step{r.ID, w.table.sentence(r), "no: this address must be named by its own group"})
			continue
		}
		outcome, d := w.consider(r, q, peer)
		steps = append(steps, Step{r.ID, w.table.sentence(r), outcome})
		if d.Verdict != flow.NoVerdict {
			return steps, d
		}
	}
	d := Decision{Verdict: w.spec.Mode.byDefault(), Reason: flow.ByDefault}
	if q.lost() && w.lostMattered(false, false, q, peer) {
		d.Reason = flow.ByUnidentified
	}
	steps = append(steps, Step{Text: "no rule between the two ends matches", Outcome: "mode " + w.spec.Mode.String() + ": " + d.Verdict.String()})
	if v := w.vacant(q, &o, d); v != d {
		return append(steps, Step{v.Rule, "no workload has the address now", "as with its last owner: " + v.Verdict.String()}), v
	}
	return steps, d
}

// in reports whether an identity belongs to a group.
func (t *Table) in(identity, group uint32) bool {
	if t.groups[group].Any {
		return true
	}
	return int(identity) < len(t.identities) && slices.Contains(t.identities[identity].Groups, group)
}

// consider returns the result of one rule between the right groups; the decision's verdict is
// NoVerdict where the next rule is to be evaluated.
func (w *Workload) consider(r *RuleSpec, q *Query, peer uint32) (string, Decision) {
	if len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(p PortSpec) bool { return p.Contains(q.Proto, q.Port) }) {
		return "no: the connection is to " + portText(q), Decision{}
	}
	d := Decision{Reason: flow.ByRule, Rule: r.ID}
	note := ""
	switch {
	case len(r.Apps) == 0, !q.lost() && slices.Contains(r.Apps, q.App):
	case q.App == app.Undecided && (q.Open == nil || slices.ContainsFunc(r.Apps, q.Open.Could) || q.Lost && !w.spec.FailClosed):
		d.Verdict = flow.Pending
		return "waits until the application is known", d
	case q.App == app.Unknown && q.Midstream && !r.Deny:
		note = ", because the connection was picked up without its beginning"
	case q.lost() && w.spec.FailClosed == r.Deny:
		note = ", because the application could not be identified"
	case q.App != app.Unknown && q.Base != app.Unknown && slices.Contains(r.Apps, q.Base):
		note = ", because " + q.App.Name() + " rides on " + q.Base.Name()
	default:
		return "no: the application is " + q.App.Name(), Decision{}
	}
	if q.lost() && w.lostMattered(true, len(r.Apps) > 0, q, peer) {
		d.Reason = flow.ByUnidentified
	}
	switch {
	case !r.Deny:
		d.Verdict = flow.Allow
	case w.spec.Mode == Protect:
		d.Verdict = flow.Deny
	default:
		d.Verdict = flow.Violate
		note += ", which mode " + w.spec.Mode.String() + " only reports"
	}
	return "matches: " + d.Verdict.String() + note, d
}

// sentence returns a rule in words.
func (t *Table) sentence(r *RuleSpec) string {
	ports, apps, action := "any port", "any application", "allow"
	if r.Deny {
		action = "deny"
	}
	if len(r.Ports) > 0 {
		s := make([]string, len(r.Ports))
		for i, p := range r.Ports {
			s[i] = p.String()
		}
		ports = strings.Join(s, ", ")
	}
	if len(r.Apps) > 0 {
		s := make([]string, len(r.Apps))
		for i, a := range r.Apps {
			s[i] = a.Name()
		}
		apps = strings.Join(s, ", ")
	}
	return fmt.Sprintf("%s from %s to %s on %s, %s", action, t.groups[r.From].Name, t.groups[r.To].Name, ports, apps)
}

func portText(q *Query) string {
	if !HasPorts(q.Proto) {
		return ProtoName(q.Proto)
	}
	return PortSpec{q.Proto, q.Port, q.Port}.String()
}
