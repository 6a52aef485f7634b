package graph

import "github.com/sluicenet/sluice/core/flow"

// passage is the state of an edge before a session was counted there. When the session's application
// becomes known the session moves to another edge, and the sessions that stay are described as before: what
// was refused stays refused.
type passage struct {
	end      End // of the reporting end
	outcome  flow.Outcome
	answered bool
	last     int64 // of the edge; 0: there was none
	since    int64 // Last of the reporting end by the session; 0: not noted yet
}

// enter remembers an edge as it is without the session.
func (s *live) enter(e *Edge, end int) {
	s.passage = passage{end: e.Ends[end], outcome: e.Outcome, answered: e.Answered, last: e.Last}
}

// leave restores an edge that the session moved away from, unless others were noted there since.
func (s *live) leave(e *Edge, end int, leads bool) {
	p := &s.passage
	if p.since == 0 || e.Ends[end].Last != p.since || p.last == 0 {
		return
	}
	e.Ends[end] = p.end
	if leads {
		e.Outcome, e.Answered, e.Last = p.outcome, p.answered, p.last
	}
}

// withdraw takes back what a session, which may be nil, has counted: it is one that the other end
// counts.
func withdraw(g *Graph, s *live) {
	if s == nil || s.counts == (Counts{}) {
		return
	}
	if e, ok := g.edges.get(s.kind); ok {
		if s.open {
			e.takeOpen(1, s.outcome)
		}
		e.Counts.subtract(s.counts)
		if s.denied {
			e.Denied.Counts.subtract(s.counts.sizes())
		}
		if e.Sessions == 0 {
			g.edges.removeEdge(e)
		}
	}
	g.totals.Sessions -= min(g.totals.Sessions, s.counts.Sessions)
	s.counts, s.open, s.denied = Counts{}, false, false
}

// describe has note describe an edge by an observation of the session, which may be nil.
func (s *live) describe(list *edges, e *Edge, o *Observation, note func()) {
	end := 1
	if o.Egress {
		end = 0
	}
	switch {
	case s == nil:
		note()
		return
	case s.kind != e.Kind:
		if old, ok := list.get(s.kind); ok {
			s.leave(old, end, o.Leads)
		}
		s.kind = e.Kind
		s.enter(e, end)
	case s.passage.since == 0:
		s.enter(e, end)
	case o.Outcome == flow.OutcomeDenied && !s.left:
		s.leave(e, end, o.Leads) // others of its kind are described as before
		s.enter(e, end)
	}
	s.left = o.Outcome == flow.OutcomeDenied
	note()
	s.passage.since = e.Ends[end].Last
}
