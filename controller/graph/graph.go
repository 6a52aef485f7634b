// Package graph keeps what is known of who talks to whom: edges between groups and workloads, and
// violations, aggregated and bounded, in memory. It can be written down and read
// back, so that history survives a restart. It resolves no addresses and decides nothing.
package graph

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// Limits of a Graph; a zero value is the default.
type Limits struct {
	Edges      int // 50,000
	Violations int // 10,000 kinds
	Sessions   int // 100,000 live sessions whose edge is remembered
}

// Bounds of an edge's attributes.
const (
	maxAttrs     = 16
	maxAttrName  = 64
	maxAttrValue = 256
)

// Observation is what one end reported of one or more sessions of one kind, its ends resolved.
type Observation struct {
	// Reporter is the id of the workload that reports; with Node and Run it tells the engine whose
	// session numbers these are.
	Node, Run, Reporter string
	// Egress: the reporter is the client.
	Egress bool
	// ClientReports says that the client is a managed workload, whose own report counts; that of
	// the server then adds only violations.
	ClientReports bool
	// Doubled says that the other end reports the same packets and more of them: this one
	// adds only violations.
	Doubled bool

	Kind
	Client, Server string // addresses

	Base   app.ID
	Reason flow.Reason
	Rule   uint32

	Sessions, Ended       uint64 // that began and ended since the last report
	PacketsOut, PacketsIn uint64 // client to server, and back
	BytesOut, BytesIn     uint64
	First, Last           int64 // ns since the epoch
	Answered              bool
	Attrs                 map[string]string
	// Session is the engine's number where the observation is of one session; else 0.
	Session uint64
}

// Kind is what makes two connections the same edge.
type Kind struct {
	From         string `json:"from"` // groups
	To           string `json:"to"`
	FromWorkload string `json:"from_workload"` // names, or addresses
	ToWorkload   string `json:"to_workload"`
	Proto        uint8  `json:"proto"`
	Port         uint16 `json:"port"`
	App          app.ID `json:"app"`
	IPv6         bool   `json:"ipv6,omitempty"`
	// Verdict of an edge is one of its class: what passes by learning, by a rule or openly
	// is one edge, whatever the policy of the day; Edge.Now says which it was last.
	Verdict flow.Verdict `json:"verdict"`
}

// class is the verdict under which an edge is kept.
func class(v flow.Verdict) flow.Verdict {
	if v == flow.Open || v == flow.Learn {
		return flow.Allow
	}
	return v
}

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

// take subtracts o, but never below 0.
func (c *Counts) take(o Counts) {
	c.Sessions -= min(c.Sessions, o.Sessions)
	c.PacketsOut -= min(c.PacketsOut, o.PacketsOut)
	c.PacketsIn -= min(c.PacketsIn, o.PacketsIn)
	c.BytesOut -= min(c.BytesOut, o.BytesOut)
	c.BytesIn -= min(c.BytesIn, o.BytesIn)
}

// Edge is what is known of one kind of connection.
type Edge struct {
	Kind
	Counts
	Open     uint64            `json:"-"` // sessions not yet ended; not kept over a restart
	Base     app.ID            `json:"base"`
	Now      flow.Verdict      `json:"now"`    // of the last session
	Reason   flow.Reason       `json:"reason"` // of the last session, as is Rule
	Rule     uint32            `json:"rule,omitempty"`
	First    int64             `json:"first"`
	Last     int64             `json:"last"`
	Answered bool              `json:"answered,omitempty"`
	Attrs    map[string]string `json:"attrs,omitempty"`
}

// Totals are counts over the whole graph.
type Totals struct {
	Edges      uint64
	Sessions   uint64 // that were ever counted, evicted edges included
	Violations uint64 // sessions that violated, evicted kinds included
	Evicted    uint64 // edges and kinds of violation that made room
}

// Graph may be used from any goroutine.
type Graph struct {
	limits Limits

	mu         sync.Mutex // guards what follows
	edges      bounded[Kind, *Edge]
	violations bounded[violationKind, *Violation]
	sessions   bounded[sessionKey, *live]
	totals     Totals
}

// sessionKey is one session of one engine.
type sessionKey struct {
	node, run, reporter string
	session             uint64
}

// live is what a session has added to the edge that it is on, so that it can move.
type live struct {
	kind     Kind
	counts   Counts
	violated bool
}

// New is an empty Graph.
func New(l Limits) *Graph {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&l.Edges, 50_000)
	def(&l.Violations, 10_000)
	def(&l.Sessions, 100_000)
	return &Graph{limits: l, edges: newBounded[Kind, *Edge](), violations: newBounded[violationKind, *Violation](),
		sessions: newBounded[sessionKey, *live]()}
}

// Add takes an observation in.
func (g *Graph) Add(o *Observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var s *live
	if o.Session != 0 {
		s = g.session(o)
	}
	g.violation(o, s)
	if !o.Doubled && (o.Egress || !o.ClientReports) {
		c := *o
		c.Kind.Verdict = class(o.Verdict)
		g.count(&c, s)
		g.edge(&c).tell(o)
	}
	if o.Session != 0 && o.Ended > 0 {
		g.sessions.remove(sessionKey{o.Node, o.Run, o.Reporter, o.Session})
	}
}

// session is what is remembered of the observation's session.
func (g *Graph) session(o *Observation) *live {
	k := sessionKey{o.Node, o.Run, o.Reporter, o.Session}
	s, ok := g.sessions.touch(k)
	if !ok {
		s = &live{kind: o.Kind}
		s.kind.Verdict = class(o.Verdict)
		g.sessions.put(k, s, g.limits.Sessions)
	}
	return s
}

// count adds an observation to its edge. A session whose application or verdict has changed takes
// what it counted along to its new edge.
func (g *Graph) count(o *Observation, s *live) {
	c := Counts{o.Sessions, o.PacketsOut, o.PacketsIn, o.BytesOut, o.BytesIn}
	e := g.edge(o)
	g.totals.Sessions += o.Sessions
	e.Open += o.Sessions
	if s != nil {
		if s.kind != o.Kind {
			g.move(s.kind, e, s.counts)
			s.kind = o.Kind
		}
		s.counts.add(c)
	}
	g.settle(o, e)
	e.Counts.add(c)
	e.Open -= min(e.Open, o.Ended)
	e.describe(o)
}

// edge is the edge of an observation, made where there is none.
func (g *Graph) edge(o *Observation) *Edge {
	e, ok := g.edges.touch(o.Kind)
	if !ok {
		e = &Edge{Kind: o.Kind, First: o.First}
		g.totals.Evicted += g.edges.put(o.Kind, e, g.limits.Edges)
	}
	return e
}

// move takes the counts of one session from an edge to another, and the edge away when nothing is left.
func (g *Graph) move(from Kind, to *Edge, c Counts) {
	old, ok := g.edges.get(from)
	if !ok || old == to {
		return
	}
	c.Sessions = min(c.Sessions, old.Sessions)
	old.Counts.take(c)
	to.Counts.add(c)
	open := min(c.Sessions, old.Open)
	old.Open -= open
	to.Open += open
	to.First = min(to.First, old.First)
	if old.Sessions == 0 && old.Open == 0 {
		to.Counts.add(old.Counts)
		g.edges.remove(from)
	}
}

// settle moves sessions that were counted while their application was undecided and several were
// told of without their numbers: more end here than had begun here.
func (g *Graph) settle(o *Observation, e *Edge) {
	if o.App == app.Undecided || o.Ended <= e.Open {
		return
	}
	for _, v := range []flow.Verdict{o.Verdict, flow.Pending} {
		k := o.Kind
		k.App, k.Verdict = app.Undecided, v
		if old, ok := g.edges.get(k); ok && e.Open < o.Ended {
			g.move(k, e, Counts{Sessions: min(o.Ended-e.Open, old.Open)})
		}
	}
}

// tell notes the verdict of the newest observation.
func (e *Edge) tell(o *Observation) {
	if o.Last >= e.Last {
		e.Now = o.Verdict
	}
}

// describe notes what the newest observation says.
func (e *Edge) describe(o *Observation) {
	e.First = min(e.First, o.First)
	e.Answered = e.Answered || o.Answered
	if o.Last < e.Last {
		return
	}
	e.Last, e.Base, e.Reason, e.Rule = o.Last, o.Base, o.Reason, o.Rule
	for _, k := range slices.Sorted(maps.Keys(o.Attrs)) {
		_, have := e.Attrs[k]
		if len(k) > maxAttrName || !have && len(e.Attrs) >= maxAttrs {
			continue
		}
		if e.Attrs == nil {
			e.Attrs = make(map[string]string)
		}
		v := o.Attrs[k]
		e.Attrs[k] = strings.ToValidUTF8(v[:min(len(v), maxAttrValue)], "")
	}
}
