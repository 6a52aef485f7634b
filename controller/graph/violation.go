package graph

import (
	"net/netip"

	"github.com/sluicenet/sluice/core/flow"
)

// violationKind is what makes two violations the same.
type violationKind struct {
	Kind
	client, server netip.Addr
	reporter       string
	egress         bool
	verdict        flow.Verdict
	reason         flow.Reason
	rule           uint32
	text           string
}

// Violation is sessions of one kind that an end refused, or would have in protect mode; or,
// where its reason is ByFailOpen, unjudged frames.
type Violation struct {
	Kind
	Verdict  flow.Verdict `json:"verdict"`
	Client   netip.Addr   `json:"client"`
	Server   netip.Addr   `json:"server"`
	Reporter string       `json:"reporter"` // id of the workload whose end decided
	Egress   bool         `json:"egress,omitempty"`
	Reason   flow.Reason  `json:"reason"`
	Rule     uint32       `json:"rule,omitempty"`
	Outcome  flow.Outcome `json:"outcome,omitempty"` // of the last
	Text     string       `json:"text,omitempty"`    // backend and cause of unjudged frames
	Count    uint64       `json:"count"`
	First    int64        `json:"first"`
	Last     int64        `json:"last"`
	Touched  uint64       `json:"-"` // counts up with every change of any row

	Open uint64 `json:"open,omitempty"` // sessions not yet ended, of those that are reported without their numbers
}

func (v *Violation) kind() violationKind {
	return violationKind{v.Kind, v.Client, v.Server, v.Reporter, v.Egress, v.Verdict, v.Reason, v.Rule, v.Text}
}

// connectionKind is what the reports of both ends about one violating connection have in common.
type connectionKind struct {
	Kind           // without the application, which one end may not know
	client, server netip.Addr
}

// recent is what the ends reported of a connection's violations a moment ago, each waiting for
// the other end's report of the same.
type recent struct{ ends [2]counted }

type counted struct {
	kind violationKind
	n    uint64
	port uint16 // of the client where it is one session with a known one; else 0
	last int64
	open uint64 // Violation.Open of a kind without a row: the other end's row counts its sessions
}

// add adds n sessions that came with an observation.
func (c *counted) add(n uint64, o *Observation) {
	if c.n, c.last = c.n+n, max(c.last, o.Last); n == 0 {
		return
	}
	if c.port = o.ClientPort; c.n > 1 {
		c.port = 0
	}
}

// unlike reports whether the sessions are known to be others than that of an observation.
func (c *counted) unlike(o *Observation) bool {
	return c.port != 0 && o.ClientPort != 0 && c.port != o.ClientPort
}

const (
	maxRecent = 10_000
	// together is how far two ends' reports of one connection may be apart, ns.
	together = int64(5e9)
)

// violation notes a violating observation. Each connection counts once, whenever its verdict
// became a violation and whichever ends report it, at the end whose verdict is the stricter one.
func (g *Graph) violation(o *Observation, s *live) {
	if o.Verdict != flow.Violate && o.Verdict != flow.Deny {
		return
	}
	x := Violation{Kind: o.Kind, Verdict: o.Verdict, Client: o.Client, Server: o.Server, Reporter: o.Reporter, Egress: o.Egress,
		Reason: o.Reason, Rule: o.Rule, Outcome: o.Outcome, First: o.First, Last: o.Last}
	k := x.kind()
	if s != nil && s.violated && !Stricter(o.Verdict, s.violation.verdict) && !o.renames(s.violation.App) {
		g.update(s.violation, o)
		return
	}
	n := g.newSessions(k, o, s)
	if s == nil && g.unended(k, o) == nil {
		defer g.begin(k, o)
	}
	if s != nil {
		if s.violated && s.violation != k { // it became stricter, or its application known
			n = g.subtract(s.violation, 1)
		}
		s.violated, s.violation = true, k
	}
	if n == 0 {
		g.update(k, o)
		return
	}
	if n = g.unmatched(o, k, n); n > 0 {
		g.addViolations(k, &x, n, o.Share)
	}
}

// newSessions returns how many sessions of an observation are not counted as violations yet.
func (g *Graph) newSessions(k violationKind, o *Observation, s *live) uint64 {
	if s != nil {
		if s.violated {
			return 0
		}
		return 1
	}
	open := g.unended(k, o)
	if open == nil {
		return max(o.Sessions, o.Ended, 1)
	}
	n := o.Sessions
	if begun := *open + o.Sessions; o.Ended > begun {
		n += o.Ended - begun // they began with another verdict
	}
	*open = *open + n - min(*open+n, o.Ended)
	return n
}

// unended returns the number of sessions of a kind that were counted, at either end, and have not ended; nil
// if nothing is known of the kind.
func (g *Graph) unended(k violationKind, o *Observation) *uint64 {
	if v, ok := g.violations.get(k); ok {
		return &v.Open
	}
	if r, ok := g.recent.get(connectionKind{k.Kind.ends(), k.client, k.server}); ok && r.end(o).kind == k {
		return &r.end(o).open
	}
	return nil
}

// begin notes how many sessions of the first observation of a kind have not ended.
func (g *Graph) begin(k violationKind, o *Observation) {
	if open := g.unended(k, o); open != nil {
		*open = o.Sessions - min(o.Sessions, o.Ended)
	}
}

// end returns what the end of an observation reported.
func (r *recent) end(o *Observation) *counted {
	if o.Egress {
		return &r.ends[0]
	}
	return &r.ends[1]
}

// update moves the time of a row.
func (g *Graph) update(k violationKind, o *Observation) {
	if v, ok := g.violations.touch(k); ok {
		v.Last, v.Outcome, v.Touched = max(v.Last, o.Last), o.Outcome, g.next()
	}
}

// unmatched returns how many of n sessions the other end has not counted. Where this end's verdict
// prevails, those that it has are taken from its row.
func (g *Graph) unmatched(o *Observation, k violationKind, n uint64) uint64 {
	c := connectionKind{k.Kind.ends(), k.client, k.server}
	r, ok := g.recent.touch(c)
	if !ok {
		r = new(recent)
		g.recent.insert(c, r, o.owner(), maxRecent)
	}
	own, far := &r.ends[1], &r.ends[0]
	if o.Egress {
		own, far = far, own
	}
	var matched uint64
	if far.n > 0 && !far.unlike(o) && far.last >= o.Last-together && far.last <= o.Last+together {
		matched = min(n, far.n)
		far.n -= matched
	}
	rest := n - matched
	switch {
	case own.kind != k:
		*own = counted{kind: k}
	case own.last < o.Last-together:
		*own = counted{kind: k, open: own.open}
	}
	own.add(rest, o)
	if matched == 0 {
		return n
	}
	if Stricter(k.verdict, far.kind.verdict) || k.verdict == far.kind.verdict && o.Egress {
		return rest + g.subtract(far.kind, matched)
	}
	return rest
}

// subtract removes sessions from a row, and the row when none are left. It returns how many they were.
func (g *Graph) subtract(k violationKind, n uint64) uint64 {
	v, ok := g.violations.get(k)
	if !ok {
		return n // it made room for others
	}
	n = min(n, v.Count)
	if v.Count -= n; v.Count == 0 {
		g.violations.remove(k)
	}
	g.totals.Violations -= min(g.totals.Violations, n)
	return n
}

// addViolations adds sessions to a row, made where there is none.
func (g *Graph) addViolations(k violationKind, x *Violation, n uint64, share string) {
	v, ok := g.violations.touch(k)
	if !ok {
		c := *x
		v = &c
		v.Count = 0
		g.totals.Evicted += uint64(len(g.violations.insert(k, v, ownerOf(share, v.Client), g.limits.Violations)))
	}
	v.Count += n
	v.First, v.Last, v.Outcome, v.Touched = min(v.First, x.First), max(v.Last, x.Last), x.Outcome, g.next()
	if x.Reason != flow.ByFailOpen {
		g.totals.Violations += n
	}
}

// AddUnjudged counts unjudged frames: v.Count of them. Its reason is ByFailOpen.
func (g *Graph) AddUnjudged(v *Violation, share string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v.Count > 0 {
		g.addViolations(v.kind(), v, v.Count, share)
	}
}
