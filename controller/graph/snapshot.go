package graph

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Connections is a copy of every edge, by ends, port and application.
func (g *Graph) Connections() []Edge {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]Edge, 0, len(g.edges.items))
	for _, e := range g.edges.newest(0) {
		out = append(out, e.clone())
	}
	slices.SortFunc(out, func(a, b Edge) int { return a.compare(&b.Kind) })
	return out
}

func (e *Edge) clone() Edge {
	c := *e
	c.Attrs = maps.Clone(e.Attrs)
	return c
}

func (k *Kind) compare(o *Kind) int {
	family := func(v6 bool) int {
		if v6 {
			return 6
		}
		return 4
	}
	return cmp.Or(strings.Compare(k.From, o.From), strings.Compare(k.To, o.To),
		strings.Compare(k.FromWorkload, o.FromWorkload), strings.Compare(k.ToWorkload, o.ToWorkload),
		cmp.Compare(k.Proto, o.Proto), cmp.Compare(k.Port, o.Port), cmp.Compare(k.App, o.App),
		cmp.Compare(family(k.IPv6), family(o.IPv6)), cmp.Compare(k.Verdict, o.Verdict))
}

// Violations is a copy of the kinds of violation seen last, newest first, at most limit; 0 is all.
func (g *Graph) Violations(limit int) []Violation {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.violations.newest(limit)
	out := make([]Violation, len(list))
	for i, v := range list {
		out[i] = *v
	}
	return out
}

// Totals are counts over the whole graph.
func (g *Graph) Totals() Totals {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.totals
	t.Edges = uint64(len(g.edges.items))
	return t
}

// saved is the written form; lists are touched last first.
type saved struct {
	Edges      []Edge      `json:"edges"`
	Violations []Violation `json:"violations"`
	Sessions   uint64      `json:"sessions"`
	Violated   uint64      `json:"violated"`
	Evicted    uint64      `json:"evicted"`
}

// MarshalJSON writes the history down. Which sessions are open is not part of it.
func (g *Graph) MarshalJSON() ([]byte, error) {
	g.mu.Lock()
	s := saved{Sessions: g.totals.Sessions, Violated: g.totals.Violations, Evicted: g.totals.Evicted}
	for _, e := range g.edges.newest(0) {
		s.Edges = append(s.Edges, e.clone())
	}
	for _, v := range g.violations.newest(0) {
		s.Violations = append(s.Violations, *v)
	}
	g.mu.Unlock()
	return json.Marshal(s)
}

// UnmarshalJSON replaces the history of a Graph made by New by one that was written down; what is
// over its limits is left out, oldest first.
func (g *Graph) UnmarshalJSON(b []byte) error {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read history of connections: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.edges, g.violations = newBounded[Kind, *Edge](), newBounded[violationKind, *Violation]()
	g.sessions = newBounded[sessionKey, *live]()
	g.totals = Totals{Sessions: s.Sessions, Violations: s.Violated, Evicted: s.Evicted}
	for _, e := range slices.Backward(s.Edges) {
		if _, ok := g.edges.get(e.Kind); !ok {
			g.edges.put(e.Kind, &e, g.limits.Edges)
		}
	}
	for _, v := range slices.Backward(s.Violations) {
		if _, ok := g.violations.get(v.kind()); !ok {
			g.violations.put(v.kind(), &v, g.limits.Violations)
		}
	}
	return nil
}
