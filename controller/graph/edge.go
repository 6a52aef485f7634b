package graph

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// Bounds of an edge.
const (
	maxAttrs     = 16
	maxAttrName  = 64
	maxAttrValue = 256
	maxAddresses = 4
)

// Outcomes is how many outcomes there are.
const Outcomes = int(flow.OutcomeDenied) + 1

// Counts are what is summed up.
type Counts struct {
	Sessions   uint64 `json:"sessions"`
	PacketsOut uint64 `json:"packets_out"`
	PacketsIn  uint64 `json:"packets_in"`
	BytesOut   uint64 `json:"bytes_out"`
	BytesIn    uint64 `json:"bytes_in"`
}

func (c *Counts) add(o Counts) {
	c.Sessions += o.Sessions
	c.PacketsOut += o.PacketsOut
	c.PacketsIn += o.PacketsIn
	c.BytesOut += o.BytesOut
	c.BytesIn += o.BytesIn
}

// subtract subtracts o, but never below 0.
func (c *Counts) subtract(o Counts) {
	c.Sessions -= min(c.Sessions, o.Sessions)
	c.PacketsOut -= min(c.PacketsOut, o.PacketsOut)
	c.PacketsIn -= min(c.PacketsIn, o.PacketsIn)
	c.BytesOut -= min(c.BytesOut, o.BytesOut)
	c.BytesIn -= min(c.BytesIn, o.BytesIn)
}

// End is what one managed end decided last. Its verdict is NoVerdict where the end is not
// managed or has not reported.
type End struct {
	Workload string       `json:"workload,omitempty"` // id
	Verdict  flow.Verdict `json:"verdict,omitempty"`
	Reason   flow.Reason  `json:"reason,omitempty"`
	Rule     uint32       `json:"rule,omitempty"`
	Enforced bool         `json:"enforced,omitempty"`
	Last     int64        `json:"last,omitempty"`
}

// Edge is what is known of one kind of connection, both ends' reports joined. An edge without
// sessions waits for them and is in no list.
type Edge struct {
	Kind
	Counts
	Open  uint64           `json:"-"` // sessions not yet ended; not kept over a restart
	Base  app.ID           `json:"base"`
	Ends  [2]End           `json:"ends"` // client, server
	Ended [Outcomes]uint64 `json:"ended"`
	// Refused are sessions that policy refused only at the end whose counts are not those of the
	// connection.
	Refused  uint64        `json:"refused,omitempty"`
	Outcome  flow.Outcome  `json:"outcome"` // of the last session
	Pending  flow.Outcome  `json:"-"`       // of those that are open
	Evidence flow.Evidence `json:"evidence"`
	Lossy    bool          `json:"lossy,omitempty"`
	First    int64         `json:"first"`
	Last     int64         `json:"last"`
	Answered bool          `json:"answered,omitempty"`
	// Addresses of the client and the server, at most maxAddresses each, the last used in front.
	Addresses [2][]netip.Addr   `json:"addresses"`
	Attrs     map[string]string `json:"attrs,omitempty"`
}

// Decision returns what both ends together decided: the stricter verdict, of two alike the client's.
func (e *Edge) Decision() End {
	if Stricter(e.Ends[1].Verdict, e.Ends[0].Verdict) {
		return e.Ends[1]
	}
	return e.Ends[0]
}

// looksLike is what a session that one end's policy refused is to the other end, likeliest first.
var looksLike = [...]flow.Outcome{flow.OutcomeRefused, flow.OutcomeReset, flow.OutcomeUnanswered, flow.OutcomeOpening}

// ByOutcome returns how many sessions had which outcome, those that are open among them. What
// policy refused at either end is denied: to the other end that is a reset like any.
func (e *Edge) ByOutcome() [Outcomes]uint64 {
	out := e.Ended
	out[e.Pending] += e.Open
	rest := e.Refused
	for _, o := range looksLike {
		n := min(rest, out[o])
		out[o] -= n
		out[flow.OutcomeDenied] += n
		rest -= n
	}
	return out
}

// LastOutcome returns the outcome of the last session, both ends' reports joined.
func (e *Edge) LastOutcome() flow.Outcome {
	if by := e.ByOutcome(); by[e.Outcome] == 0 && by[flow.OutcomeDenied] > 0 {
		return flow.OutcomeDenied
	}
	return e.Outcome
}

// severity orders verdicts: what one end refuses does not pass.
var severity = [...]uint8{flow.NoVerdict: 0, flow.Open: 1, flow.Allow: 2, flow.Learn: 3, flow.Pending: 4, flow.Violate: 5, flow.Deny: 6}

// Stricter reports whether verdict a prevails over b at the other end.
func Stricter(a, b flow.Verdict) bool {
	return int(a) < len(severity) && int(b) < len(severity) && severity[a] > severity[b]
}

// count adds an observation to its edge. A session whose application has changed takes what it
// counted along to its new edge.
func (g *Graph) count(o *Observation, s *live) {
	c := Counts{o.Sessions, o.PacketsOut, o.PacketsIn, o.BytesOut, o.BytesIn}
	e := g.edge(o, s)
	g.totals.Sessions += o.Sessions
	e.Open += o.Sessions
	if s != nil {
		if s.kind != e.Kind {
			g.move(s.kind, e, s.counts)
		}
		s.counts.add(c)
	}
	g.moveNamed(o, e)
	e.Counts.add(c)
	lost := e.resume(o.Continued)
	g.totals.Sessions += lost
	if s != nil {
		s.counts.Sessions += lost
	}
	e.Open -= min(e.Open, o.Ended)
	s.describe(&g.edges, e, o, func() {
		e.describe(o)
		e.decide(o)
	})
	if s != nil && !s.refused && o.Outcome == flow.OutcomeDenied {
		s.refused = true
		refusedThere(g, o, e.Kind)
	}
}

// resume counts open sessions that an earlier run of the agent reported. Where that was lost, as by a
// kill of the controller, they were not counted: an edge has at least the sessions that are open. It
// returns how many were lost.
func (e *Edge) resume(n uint64) (lost uint64) {
	if n == 0 {
		return 0
	}
	e.Open += n
	lost = e.Open - min(e.Open, e.Sessions)
	e.Sessions += lost
	return lost
}

// NewRun notes that another run of a node's agent reports from now on: it reports again which of
// the sessions that were open continue.
func (g *Graph) NewRun(node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.edges.each(func(e *Edge, _ string) {
		if e.FromNode == node || e.FromNode == "" && e.ToNode == node {
			e.Open = 0
		}
	})
}

// join notes what the end decided whose counts are not those of the connection.
func (g *Graph) join(o *Observation, s *live) {
	e, ok := g.edges.touch(o.Kind)
	if !ok {
		if e = g.edges.sibling(o.Kind); e == nil {
			e = g.newEdge(o) // the client's end is about to report
		}
	}
	s.describe(&g.edges, e, o, func() { e.decide(o) })
	switch {
	case o.Outcome != flow.OutcomeDenied:
	case s == nil:
		e.Refused += o.Sessions
	case !s.refused:
		s.refused = true
		if !refusedThere(g, o, e.Kind) {
			e.Refused++
		}
	}
	e.Evidence, e.Lossy = max(e.Evidence, o.Evidence), e.Lossy || o.Lossy
}

// edge returns the edge of a leading observation. One that brings no session of its own goes
// to an edge of the same ends: its sessions are counted there.
func (g *Graph) edge(o *Observation, s *live) *Edge {
	if e, ok := g.edges.touch(o.Kind); ok {
		return e
	}
	near := g.edges.sibling(o.Kind)
	moves := s != nil && s.counts.Sessions > 0
	if near != nil && near.Sessions > 0 && o.Sessions == 0 && !moves && (near.App != app.Undecided || !o.named()) {
		g.edges.touch(near.Kind)
		return near
	}
	e := g.newEdge(o)
	switch {
	case near == nil:
	case near.Sessions == 0: // it waited for this one, under another application
		e.Ends, e.Refused = near.Ends, near.Refused
		g.edges.removeEdge(near)
	case near.App == app.Undecided && o.Sessions == 0 && !moves:
		g.move(near.Kind, e, Counts{Sessions: max(o.Ended, 1)})
	}
	return e
}

// named reports whether the application of the observation is known.
func (o *Observation) named() bool { return o.App != app.Undecided && o.App != app.Unknown }

// renames reports whether the observation knows more than that the application is the known one.
func (o *Observation) renames(known app.ID) bool {
	return o.App != known && (o.named() || o.App == app.Unknown && known == app.Undecided)
}

// newEdge adds the edge of an observation.
func (g *Graph) newEdge(o *Observation) *Edge {
	e := &Edge{Kind: o.Kind, First: o.First}
	for _, old := range g.edges.add(e, o.owner(), g.limits.Edges) {
		if old.Sessions > 0 {
			g.totals.Evicted++
		}
	}
	return e
}

// move takes the counts of sessions from an edge to another, and the edge away when nothing is left.
func (g *Graph) move(from Kind, to *Edge, c Counts) {
	old, ok := g.edges.get(from)
	if !ok || old == to {
		return
	}
	c.Sessions = min(c.Sessions, old.Sessions)
	old.Counts.subtract(c)
	to.Counts.add(c)
	open := min(c.Sessions, old.Open)
	old.Open -= open
	to.Open += open
	to.First = min(to.First, old.First)
	for i := range to.Ends {
		if to.Ends[i].Verdict == flow.NoVerdict {
			to.Ends[i] = old.Ends[i]
		}
	}
	to.Lossy = to.Lossy || old.Lossy
	if old.Sessions == 0 {
		to.Counts.add(old.Counts)
		to.Refused += old.Refused
		g.edges.removeEdge(old)
	}
}

// moveNamed moves sessions that were counted while their application was undecided and several were
// reported without their numbers: more end here than had begun here.
func (g *Graph) moveNamed(o *Observation, e *Edge) {
	if o.App == app.Undecided || o.Ended <= e.Open {
		return
	}
	k := o.Kind
	k.App = app.Undecided
	if old, ok := g.edges.get(k); ok {
		g.move(k, e, Counts{Sessions: min(o.Ended-e.Open, old.Open)})
	}
}

// decide notes what the reporting end decided last. That a verdict is pending is only noted
// where nothing else is known, and a refused session keeps the verdict that refused it.
func (e *Edge) decide(o *Observation) {
	x := &e.Ends[1]
	if o.Egress {
		x = &e.Ends[0]
	}
	refused := o.Outcome == flow.OutcomeDenied && o.Verdict != flow.Deny && o.Verdict != flow.Violate
	decided := x.Verdict != flow.NoVerdict && x.Verdict != flow.Pending
	if o.Verdict == flow.NoVerdict || refused && decided || o.Verdict == flow.Pending && decided || o.Last < x.Last {
		return
	}
	*x = End{Workload: o.Reporter, Verdict: o.Verdict, Reason: o.Reason, Rule: o.Rule, Enforced: o.Enforced, Last: o.Last}
}

// describe copies the description from the newest observation of the leading end.
func (e *Edge) describe(o *Observation) {
	e.First = min(e.First, o.First)
	e.Answered = e.Answered || o.Answered
	e.Evidence, e.Lossy = max(e.Evidence, o.Evidence), e.Lossy || o.Lossy
	e.Ended[o.Final()] += o.Ended
	if o.Ended < o.Sessions || o.Ended == 0 {
		e.Pending = o.Outcome
	}
	if o.Last < e.Last {
		return
	}
	e.Last, e.Base, e.Outcome = o.Last, o.Base, o.Outcome
	if o.Ended > 0 {
		e.Outcome = o.Final()
	}
	e.Addresses[0], e.Addresses[1] = withAddress(e.Addresses[0], o.Client), withAddress(e.Addresses[1], o.Server)
	e.replaceAttrs(o.Attrs)
}

// replaceAttrs replaces the attributes by those of another observation, which are all of one session's: those of two
// exchanges never stand beside each other. A process at an end is reported apart from what the session carries.
func (e *Edge) replaceAttrs(attrs map[string]string) {
	carries := func(k string) bool { return k != "process" && k != "pid" && k != "container" }
	found := slices.Sorted(maps.Keys(attrs))
	if slices.ContainsFunc(found, carries) {
		maps.DeleteFunc(e.Attrs, func(k, _ string) bool { return carries(k) })
	}
	for _, k := range found {
		_, have := e.Attrs[k]
		if len(k) > maxAttrName || !have && len(e.Attrs) >= maxAttrs {
			continue
		}
		if e.Attrs == nil {
			e.Attrs = make(map[string]string)
		}
		v := attrs[k]
		e.Attrs[k] = strings.ToValidUTF8(v[:min(len(v), maxAttrValue)], "")
	}
}

// withAddress returns the list with an address in front. The list itself is not changed.
func withAddress(list []netip.Addr, a netip.Addr) []netip.Addr {
	if !a.IsValid() || len(list) > 0 && list[0] == a {
		return list
	}
	out := append(make([]netip.Addr, 0, maxAddresses), a)
	for _, x := range list {
		if x != a && len(out) < maxAddresses {
			out = append(out, x)
		}
	}
	return out
}

// Final returns the outcome of the sessions that have ended.
func (o *Observation) Final() flow.Outcome {
	switch {
	case o.Outcome.Over() && int(o.Outcome) < Outcomes:
		return o.Outcome
	case o.Answered || o.Outcome == flow.OutcomeEstablished:
		return flow.OutcomeClosed
	}
	return flow.OutcomeUnanswered
}
