package graph

import (
	"maps"

	"github.com/sluicenet/sluice/core/flow"
)

// of returns the description that an observation belongs to.
func (e *Edge) of(o *Observation) *Description {
	if o.Outcome == flow.OutcomeDenied {
		return &e.Denied.Description
	}
	return &e.Description
}

// rows returns an edge as the n rows that lists have: the sessions that policy refused are one of their own,
// whatever it decides about later ones. They share the edge's attributes.
func (e *Edge) rows() (list [2]Edge, n int) {
	by := e.ByOutcome()
	denied := min(by[flow.OutcomeDenied], e.Sessions)
	if denied < e.Sessions {
		by[flow.OutcomeDenied] = 0
		list[n] = e.passed(by, denied)
		n++
	}
	if denied > 0 {
		list[n] = e.refused(denied)
		n++
	}
	return list, n
}

// passed returns the row of all sessions but those that policy refused, and their outcomes.
func (e *Edge) passed(by [Outcomes]uint64, denied uint64) Edge {
	x := Edge{Kind: e.Kind, Counts: e.Counts, Description: e.Description, Open: e.Open - e.Going[flow.OutcomeDenied], Ended: by}
	if denied > 0 {
		x.Counts.subtract(e.Denied.Counts)
	}
	x.Sessions = e.Sessions - denied
	for o := range by {
		if by[x.Outcome] == 0 && by[o] > 0 {
			x.Outcome = flow.Outcome(o) // the last one was refused at the other end
		}
	}
	return x
}

// refused returns the row of the sessions that policy refused.
func (e *Edge) refused(denied uint64) Edge {
	x := Edge{Kind: e.Kind, Counts: e.Denied.Counts, Description: e.Denied.Description}
	if denied == e.Sessions {
		x.Counts = e.Counts
	}
	x.Refused, x.Sessions, x.Outcome = true, denied, flow.OutcomeDenied
	x.Ended[flow.OutcomeDenied] = denied
	if x.Ends[0].Verdict == flow.NoVerdict {
		x.Ends[0] = e.Ends[0] // which reported it later
	}
	return x
}

func (d *Description) clone() Description {
	c := *d
	c.Attrs = maps.Clone(d.Attrs)
	return c
}

// looksLike is what a session that one end's policy refused is to the other end, likeliest first.
var looksLike = [...]flow.Outcome{flow.OutcomeRefused, flow.OutcomeReset, flow.OutcomeUnanswered, flow.OutcomeOpening, flow.OutcomeEstablished, flow.OutcomeClosed}

// ByOutcome returns how many sessions had which outcome, those that are open among them. What
// policy refused at either end is denied: to the other end that is a reset like any.
func (e *Edge) ByOutcome() [Outcomes]uint64 {
	out := e.Ended
	for o, n := range e.Going {
		out[o] += n
	}
	rest := e.FarRefused
	for _, o := range looksLike {
		n := min(rest, out[o])
		out[o] -= n
		out[flow.OutcomeDenied] += n
		rest -= n
	}
	return out
}

// refusedFar counts sessions that only the end refused whose counts are not those of the connection.
func (e *Edge) refusedFar(o *Observation, n uint64) {
	e.FarRefused += n
	e.Denied.Counts.add(o.sizes())
	e.Denied.describe(o)
	far := 0
	if o.Egress {
		far = 1
	}
	if e.Denied.Ends[far].Verdict == flow.NoVerdict {
		e.Denied.Ends[far] = e.Ends[far] // it passed there
	}
}

// sizes returns the packets and bytes.
func (o *Observation) sizes() Counts {
	return Counts{PacketsOut: o.PacketsOut, PacketsIn: o.PacketsIn, BytesOut: o.BytesOut, BytesIn: o.BytesIn}
}

// sizes returns the counts without the sessions.
func (c Counts) sizes() Counts {
	c.Sessions = 0
	return c
}

// progress counts the sessions that an observation begins, continues, refuses and ends. It returns how
// many of those that continue were lost.
func (e *Edge) progress(o *Observation, s *live) (lost uint64) {
	denies := o.Outcome == flow.OutcomeDenied
	if denies {
		e.Denied.Counts.add(o.sizes())
	}
	if s != nil {
		if denies && !s.denied {
			before := s.counts.sizes()
			before.subtract(o.sizes())
			e.Denied.Counts.add(before) // one connection is in one row
		}
		s.denied = s.denied || denies
	}
	outcome := min(o.Outcome, flow.OutcomeDenied)
	begun := o.Sessions + o.Continued
	switch {
	case begun > 0:
		e.Going[outcome] += begun
		e.Open += begun
	case s != nil && s.open:
		e.Going[s.outcome]--
		e.Going[outcome]++
	case o.Ended == 0:
		e.become(outcome, s)
	}
	if s != nil {
		s.open, s.outcome = s.open || begun > 0, outcome
	}
	if o.Continued > 0 {
		lost = e.Open - min(e.Open, e.Sessions)
		e.Sessions += lost
	}
	e.Ended[o.Final()] += o.Ended
	e.takeOpen(o.Ended, outcome)
	if s != nil && o.Ended > 0 {
		s.open = false
	}
	return lost
}

// become notes the outcome of open sessions of which the number is not known: all those that are not
// denied. A refusal is that of one of them, unless it has been counted.
func (e *Edge) become(outcome flow.Outcome, s *live) {
	if outcome != flow.OutcomeDenied {
		if s == nil {
			denied := e.Going[flow.OutcomeDenied]
			e.Going = [Outcomes]uint64{flow.OutcomeDenied: denied}
			e.Going[outcome] += e.Open - denied
		}
		return
	}
	if e.Going[flow.OutcomeDenied] == 0 && e.Open > 0 {
		e.takeOpen(1, flow.OutcomeEstablished)
		e.Going[flow.OutcomeDenied]++
		e.Open++
	}
}

// takeOpen takes n open sessions away, those of an outcome first, and denied ones last. It returns them.
func (e *Edge) takeOpen(n uint64, first flow.Outcome) (taken [Outcomes]uint64) {
	for i := -1; i < Outcomes; i++ {
		o := first
		if i >= 0 {
			o = flow.Outcome(i)
		}
		k := min(n, e.Going[o])
		e.Going[o] -= k
		e.Open -= k
		taken[o] += k
		n -= k
	}
	return taken
}

// moveOpen moves those of n sessions that are open to another edge.
func (e *Edge) moveOpen(to *Edge, n uint64, s *live) {
	first := flow.OutcomeEstablished
	if s != nil {
		if n = min(n, 1); !s.open {
			n = 0
		}
		first = s.outcome
	}
	for o, k := range e.takeOpen(n, first) {
		to.Going[o] += k
		to.Open += k
	}
}

// restore prepares an edge that was read from a history.
func (e *Edge) restore() {
	denied := e.Going[flow.OutcomeDenied]
	e.Going = [Outcomes]uint64{flow.OutcomeDenied: denied}
	e.Open = denied
	if e.Denied.Last == 0 && (e.Ended[flow.OutcomeDenied] > 0 || e.FarRefused > 0) {
		e.Denied.Description = e.Description.clone() // of a version that had one row for both
	}
}

// compareRefused orders kinds that passed before those that were refused.
func compareRefused(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
