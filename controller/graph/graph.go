// Package graph keeps what is known of who talks to whom: edges between groups and workloads,
// violations and threats, aggregated and bounded, in memory. It can be written down and read
// back, so that history survives a restart. It resolves no addresses and decides nothing.
package graph

import (
	"net/netip"
	"sync"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// Limits of a Graph; a zero value is the default.
type Limits struct {
	Edges      int // 50,000
	Violations int // 10,000 kinds
	Threats    int // 5,000 kinds
	Sessions   int // 100,000 live sessions whose edge is remembered
}

// Observation is what one end reported of one or more sessions of one kind, its ends resolved.
type Observation struct {
	// Reporter is the id of the workload that reports; Node and Run identify the engine whose
	// session numbers these are.
	Node, Run, Reporter string
	// Egress: the reporter is the client.
	Egress bool
	// Leads: this end's counts are those of the connection. What the other end reports adds its
	// verdict to the same edge, and violations.
	Leads bool
	// Share is the workload whose part of the graph's bounds it takes.
	Share string

	Kind
	Client, Server netip.Addr
	ClientPort     uint16 // of the one session that it is of; else 0

	Base     app.ID
	Verdict  flow.Verdict
	Reason   flow.Reason
	Rule     uint32
	Enforced bool
	Outcome  flow.Outcome
	Evidence flow.Evidence
	Lossy    bool

	Sessions, Ended       uint64 // that began and ended since the last report
	Continued             uint64 // that an earlier run reported, and this one sees first
	PacketsOut, PacketsIn uint64 // client to server, and back
	BytesOut, BytesIn     uint64
	First, Last           int64 // ns since the epoch
	Answered              bool
	Attrs                 map[string]string
	// Session is the engine's number where the observation is of one session; else 0.
	Session uint64
	// Judged is the same with the other end as the client, as policy decided about it; nil where that
	// is no other.
	Judged *Observation
}

func (o *Observation) owner() owner { return ownerOf(o.Share, o.Client) }

// Kind is what makes two connections the same edge. Verdicts and outcomes are not part of it:
// they are what happened to connections of the kind. What policy refused is a row of its own.
type Kind struct {
	From         string `json:"from"` // groups
	To           string `json:"to"`
	FromNode     string `json:"from_node,omitempty"` // of a workload
	ToNode       string `json:"to_node,omitempty"`
	FromWorkload string `json:"from_workload"` // names, or addresses
	ToWorkload   string `json:"to_workload"`
	Proto        uint8  `json:"proto"`
	Port         uint16 `json:"port"`
	App          app.ID `json:"app"`
	IPv6         bool   `json:"ipv6,omitempty"`
	// Related is what connections of the kind belong to, as "tcp/21 ftp"; "" for most. Port is 0 then:
	// each has another.
	Related string `json:"related,omitempty"`
	// Refused: the row of those connections of the kind that policy refused. Only rows have it.
	Refused bool `json:"refused_row,omitempty"`
}

// ends returns the kind without its application.
func (k Kind) ends() Kind {
	k.App = 0
	return k
}

// Totals are counts over the whole graph.
type Totals struct {
	Edges      uint64
	Sessions   uint64 // that were ever counted, evicted edges included
	Violations uint64 // sessions that violated, evicted kinds included
	Threats    uint64 // packets that showed one, evicted kinds included
	Evicted    uint64 // edges, and kinds of violation and threat, that made room
}

// Graph may be used from any goroutine.
type Graph struct {
	limits Limits

	mu         sync.Mutex // guards what follows
	edges      edges
	violations bounded[violationKind, *Violation]
	recent     bounded[connectionKind, *recent]
	refusals   bounded[refusalKey, *refusal]
	threats    bounded[threatKind, *Threat]
	sessions   bounded[sessionKey, *live]
	totals     Totals
	touched    uint64 // counts touches, for the order of lists
}

// sessionKey is one session of one engine.
type sessionKey struct {
	node, run, reporter string
	session             uint64
}

// live is what a session has added to the edge and the violation that it is on, so that it can move.
type live struct {
	kind      Kind
	counts    Counts
	violated  bool
	refused   bool          // its refusal was noted
	denied    bool          // its counts are in Edge.Denied, too
	open      bool          // it is in Edge.Going of
	outcome   flow.Outcome  // this one
	left      bool          // it is described by Edge.Denied
	violation violationKind // valid where violated
	passage   passage
}

// New returns an empty Graph.
func New(l Limits) *Graph {
	def := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&l.Edges, 50_000)
	def(&l.Violations, 10_000)
	def(&l.Threats, 5_000)
	def(&l.Sessions, 100_000)
	g := &Graph{limits: l}
	clearGraph(g)
	return g
}

// clearGraph removes everything. The lock is held, or g is not shared yet.
func clearGraph(g *Graph) {
	g.edges = newEdges()
	g.violations, g.recent = newBounded[violationKind, *Violation](), newBounded[connectionKind, *recent]()
	g.refusals = newBounded[refusalKey, *refusal]()
	g.threats, g.sessions = newBounded[threatKind, *Threat](), newBounded[sessionKey, *live]()
	g.totals = Totals{}
}

// Add counts an observation.
func (g *Graph) Add(o *Observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var s *live
	if o.Session != 0 {
		s = g.session(o)
	}
	judged := o
	if o.Judged != nil {
		judged = o.Judged
	}
	g.violation(judged, s)
	switch {
	case o.Leads:
		g.count(o, s)
	case o.Judged != nil:
		withdraw(g, s)
		fallthrough
	default:
		g.join(o, s)
	}
	if o.Session != 0 && o.Ended > 0 {
		g.sessions.remove(sessionKey{o.Node, o.Run, o.Reporter, o.Session})
	}
}

// session returns what is remembered of the observation's session.
func (g *Graph) session(o *Observation) *live {
	k := sessionKey{o.Node, o.Run, o.Reporter, o.Session}
	s, ok := g.sessions.touch(k)
	if !ok {
		s = &live{kind: o.Kind}
		g.sessions.insert(k, s, o.owner(), g.limits.Sessions)
	}
	return s
}

// next returns the number of a touch.
func (g *Graph) next() uint64 {
	g.touched++
	return g.touched
}
