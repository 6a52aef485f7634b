package policy

import (
	"math"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// candidate is one rule's decision at one point of the port space.
type candidate struct {
	rule uint32
	pos  uint32 // the rule's position in the list
	app  app.ID // valid with candApp
	bits uint8
}

// Bits of a candidate.
const (
	candDeny uint8 = 1 << iota // the rule denies
	candApp                    // the rule names applications; app is one of them
	candLast                   // the end of its list
	candNone                   // no rule: only the empty list has it
)

// Decide returns the verdict of the workload's end on one connection. It allocates nothing.
func (w *Workload) Decide(q *Query) Decision {
	if w.spec.Quarantined {
		return Decision{Verdict: flow.Deny, Reason: flow.ByQuarantine}
	}
	if w.table.open(q) {
		return Decision{Verdict: flow.Open}
	}
	if to := w.table.services.of(q); len(to) > 0 {
		return w.translated(q, to)
	}
	return w.decideOwned(q)
}

// decideOwned returns the decision for a connection with those who have the other end's address.
func (w *Workload) decideOwned(q *Query) Decision {
	o := w.table.ownersOf(q)
	if o.n > 1 {
		_, d := w.strictest(q, &o)
		return d
	}
	return w.vacant(q, &o, w.decideFor(q, o.ids[0]))
}

// decideFor returns the decision for a connection with an identity.
func (w *Workload) decideFor(q *Query, peer uint32) Decision {
	d := Decision{Verdict: w.spec.Mode.byDefault(), Reason: flow.ByDefault}
	c := w.first(q, peer, w.spec.FailClosed)
	if c != nil {
		d = Decision{Verdict: w.spec.Mode.byRule(c.bits, q), Reason: flow.ByRule, Rule: c.rule}
	}
	if q.lost() && w.lostMattered(c != nil, c != nil && c.bits&candApp != 0, q, peer) {
		d.Reason = flow.ByUnidentified
	}
	return d
}

// lost reports whether the session of the query will never be identified.
func (q *Query) lost() bool { return q.Lost && q.App == app.Unknown }

// lostMattered reports whether the decision on a lost session could be different with its
// application known: where the rule that was found names applications, or an earlier one
// would match with some application. Learning without a rule would record the wrong
// application.
func (w *Workload) lostMattered(found, byApps bool, q *Query, peer uint32) bool {
	if byApps || !found && w.spec.Mode == Discover {
		return true
	}
	open := *q
	open.App, open.Open = app.Undecided, nil
	c := w.first(&open, peer, false)
	return c != nil && c.bits&candApp != 0
}

// byDefault returns the mode's verdict where no rule matches.
func (m Mode) byDefault() flow.Verdict {
	switch m {
	case Protect:
		return flow.Deny
	case Monitor:
		return flow.Violate
	}
	return flow.Learn
}

// byRule returns the verdict of a candidate that matches.
func (m Mode) byRule(bits uint8, q *Query) flow.Verdict {
	switch {
	case bits&candApp != 0 && q.App == app.Undecided:
		return flow.Pending
	case bits&candDeny == 0:
		return flow.Allow
	case m == Protect:
		return flow.Deny
	}
	return flow.Violate
}

// first returns the first candidate in rule order that decides the query or that it must wait
// for, with an identity at the other end, for a workload that fails closed or open; nil if no rule does. Each table's list is in
// rule order, so the earliest of the tables' first matches is the first of all.
func (w *Workload) first(q *Query, id uint32, closed bool) *candidate {
	t := w.table
	var classes [3]uint32
	own := w.rowsFor(q)
	if q.Dir == packet.Egress {
		classes = [...]uint32{own.egress, t.everyone.egress[id], own.peers.egress[id]}
	} else {
		classes = [...]uint32{own.ingress, t.everyone.ingress[id], own.peers.ingress[id]}
	}
	named := t.named[id]
	x := uint32(q.Proto)<<16 | uint32(q.Port)
	var best *candidate
	bestPos := uint32(math.MaxUint32)
	for _, n := range classes {
		if n&direct != 0 {
			if c := t.match(t.list(n&^direct, x), q, closed, named); c != nil && c.pos < bestPos {
				best, bestPos = c, c.pos
			}
			continue
		}
		cl := &t.classes[n]
		for _, n := range t.classTables[cl.first : cl.first+cl.n] {
			if c := t.match(t.list(n, x), q, closed, named); c != nil && c.pos < bestPos {
				best, bestPos = c, c.pos
			}
		}
	}
	return best
}

// match returns the first candidate of a list that the query meets. A named peer is allowed only
// by rules that name it.
func (t *Table) match(list uint32, q *Query, closed, named bool) *candidate {
	for i := list; ; i++ {
		c := &t.candidates[i]
		if c.meets(q, closed) && !(named && c.bits&candDeny == 0 && t.unnamed(c.pos, q.Dir)) {
			return c
		}
		if c.bits&candLast != 0 {
			return nil
		}
	}
}

// meets reports whether the candidate decides the query, or will once its application is
// known.
func (c *candidate) meets(q *Query, closed bool) bool {
	switch {
	case c.bits&candApp == 0:
		return c.bits&candNone == 0
	case q.App == app.Undecided:
		return q.Open == nil || q.Open.Could(c.app) || q.Lost && !closed
	case q.lost():
		return closed == (c.bits&candDeny != 0) || q.Midstream && c.bits&candDeny == 0
	case q.App == c.app:
		return true
	case q.App == app.Unknown:
		return q.Midstream && c.bits&candDeny == 0
	}
	return q.Base == c.app && c.app != app.Unknown
}
