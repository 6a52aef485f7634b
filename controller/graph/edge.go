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
	Description        // of the sessions that policy did not refuse
	Denied      Denied `json:"denied"` // those that it did, which are a row of their own
	// Open are the sessions not yet ended, and Going the same by outcome. Of them only those that are
	// denied are kept over a restart.
	Open  uint64           `json:"-"`
	Going [Outcomes]uint64 `json:"going"`
	Ended [Outcomes]uint64 `json:"ended"`
	// FarRefused are sessions that policy refused only at the end whose counts are not those of the
	// connection.
	FarRefused uint64 `json:"refused,omitempty"`
}

// Denied is what is known of the sessions of an edge that policy refused. Counts has no sessions: those
// are counted by their outcome.
type Denied struct {
	Counts
	Description
}

// Description is what was reported last of sessions of an edge.
type Description struct {
	Base     app.ID        `json:"base"`
	Ends     [2]End        `json:"ends"` // client, server
	Outcome  flow.Outcome  `json:"outcome"`
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
func (d *Description) Decision() End {
	if Stricter(d.Ends[1].Verdict, d.Ends[0].Verdict) {
		return d.Ends[1]
	}
	return d.Ends[0]
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
	if s != nil {
		if s.kind != e.Kind {
			g.move(s.kind, e, s.counts, s)
		}
		s.counts.add(c)
	}
	g.moveNamed(o, e)
	e.Counts.add(c)
	lost := e.progress(o, s)
	g.totals.Sessions += lost
	if s != nil {
		s.counts.Sessions += lost
	}
	s.describe(&g.edges, e, o, func() {
		e.of(o).describe(o)
		e.of(o).decide(o)
	})
	if s != nil && !s.refused && o.Outcome == flow.OutcomeDenied {
		s.refused = true
		refusedThere(g, o, e.Kind)
	}
}

// NewRun notes that another run of a node's agent reports from now on: it reports again which of
// the sessions that were open continue.
func (g *Graph) NewRun(node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.edges.each(func(e *Edge, _ string) {
		if e.FromNode == node || e.FromNode == "" && e.ToNode == node {
			e.Ended[flow.OutcomeDenied] += e.Going[flow.OutcomeDenied] // they do not continue
			e.Open, e.Going = 0, [Outcomes]uint64{}
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
	d := e.of(o)
	s.describe(&g.edges, e, o, func() { d.decide(o) })
	switch {
	case o.Outcome != flow.OutcomeDenied:
	case s == nil:
		e.refusedFar(o, o.Sessions)
	case !s.refused:
		s.refused = true
		if !refusedThere(g, o, e.Kind) {
			e.refusedFar(o, 1)
		}
	}
	d.Evidence, d.Lossy = max(d.Evidence, o.Evidence), d.Lossy || o.Lossy
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
		e.Ends, e.FarRefused, e.Denied = near.Ends, near.FarRefused, near.Denied
		g.edges.removeEdge(near)
	case near.App == app.Undecided && o.Sessions == 0 && !moves:
		g.move(near.Kind, e, Counts{Sessions: max(o.Ended, 1)}, nil)
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
	e := &Edge{Kind: o.Kind}
	e.of(o).First = o.First
	for _, old := range g.edges.add(e, o.owner(), g.limits.Edges) {
		if old.Sessions > 0 {
			g.totals.Evicted++
		}
	}
	return e
}

// move takes the counts of sessions from an edge to another, and the edge away when nothing is left. s is
// the session; nil for several.
func (g *Graph) move(from Kind, to *Edge, c Counts, s *live) {
	old, ok := g.edges.get(from)
	if !ok || old == to {
		return
	}
	c.Sessions = min(c.Sessions, old.Sessions)
	old.Counts.subtract(c)
	to.Counts.add(c)
	old.moveOpen(to, c.Sessions, s)
	if s != nil && s.denied {
		old.Denied.Counts.subtract(c.sizes())
		to.Denied.Counts.add(c.sizes())
	}
	to.Description.merge(&old.Description)
	to.Denied.merge(&old.Denied.Description)
	if old.Sessions == 0 {
		to.Counts.add(old.Counts)
		to.FarRefused += old.FarRefused
		to.Denied.Counts.add(old.Denied.Counts)
		g.edges.removeEdge(old)
	}
}

// merge takes over from the description of an edge that sessions come from what is not known here.
func (d *Description) merge(old *Description) {
	if old.First > 0 && (d.First == 0 || old.First < d.First) {
		d.First = old.First
	}
	for i := range d.Ends {
		if d.Ends[i].Verdict == flow.NoVerdict {
			d.Ends[i] = old.Ends[i]
		}
	}
	d.Lossy = d.Lossy || old.Lossy
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
		g.move(k, e, Counts{Sessions: min(o.Ended-e.Open, old.Open)}, nil)
	}
}

// decide notes what the reporting end decided last. That a verdict is pending is only noted
// where nothing else is known, and a refused session keeps the verdict that refused it.
func (d *Description) decide(o *Observation) {
	x := &d.Ends[1]
	if o.Egress {
		x = &d.Ends[0]
	}
	refused := o.Outcome == flow.OutcomeDenied && o.Verdict != flow.Deny && o.Verdict != flow.Violate
	decided := x.Verdict != flow.NoVerdict && x.Verdict != flow.Pending
	if o.Verdict == flow.NoVerdict || refused && decided || o.Verdict == flow.Pending && decided || o.Last < x.Last {
		return
	}
	*x = End{Workload: o.Reporter, Verdict: o.Verdict, Reason: o.Reason, Rule: o.Rule, Enforced: o.Enforced, Last: o.Last}
}

// describe copies the description from the newest observation.
func (d *Description) describe(o *Observation) {
	if d.First == 0 || o.First < d.First {
		d.First = o.First
	}
	d.Answered = d.Answered || o.Answered
	d.Evidence, d.Lossy = max(d.Evidence, o.Evidence), d.Lossy || o.Lossy
	if o.Last < d.Last {
		return
	}
	d.Last, d.Base, d.Outcome = o.Last, o.Base, o.Outcome
	if o.Ended > 0 {
		d.Outcome = o.Final()
	}
	d.Addresses[0], d.Addresses[1] = withAddress(d.Addresses[0], o.Client), withAddress(d.Addresses[1], o.Server)
	d.replaceAttrs(o.Attrs)
}

// replaceAttrs replaces the attributes by those of another observation, which are all of one session's: those of two
// exchanges never stand beside each other. A process at an end is reported apart from what the session carries.
func (d *Description) replaceAttrs(attrs map[string]string) {
	carries := func(k string) bool { return k != "process" && k != "pid" && k != "container" }
	found := slices.Sorted(maps.Keys(attrs))
	if slices.ContainsFunc(found, carries) {
		maps.DeleteFunc(d.Attrs, func(k, _ string) bool { return carries(k) })
	}
	for _, k := range found {
		_, have := d.Attrs[k]
		if len(k) > maxAttrName || !have && len(d.Attrs) >= maxAttrs {
			continue
		}
		if d.Attrs == nil {
			d.Attrs = make(map[string]string)
		}
		v := attrs[k]
		d.Attrs[k] = strings.ToValidUTF8(v[:min(len(v), maxAttrValue)], "")
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
