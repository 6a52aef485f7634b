package graph

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Connections returns the rows of all edges with sessions that match accepts, by ends, port and
// application; what policy refused is a row of its own. A nil match accepts all. match is called with the
// lock held and keeps nothing.
func (g *Graph) Connections(match func(*Edge) bool) []Edge {
	g.mu.Lock()
	var out []Edge
	g.edges.each(func(e *Edge, _ string) {
		if e.Sessions == 0 {
			return
		}
		list, n := e.rows()
		for i := range list[:n] {
			if match == nil || match(&list[i]) {
				out = append(out, list[i].clone())
			}
		}
	})
	g.mu.Unlock()
	slices.SortFunc(out, func(a, b Edge) int { return a.Compare(&b.Kind) })
	return out
}

// client returns the last address of the client.
func (e *Edge) client() (a netip.Addr) {
	for _, list := range [][]netip.Addr{e.Addresses[0], e.Denied.Addresses[0]} {
		if len(list) > 0 {
			return list[0]
		}
	}
	return a
}

func (e *Edge) clone() Edge {
	c := *e
	c.Description, c.Denied.Description = e.Description.clone(), e.Denied.Description.clone()
	return c
}

// Compare orders kinds by ends, port and application.
func (k *Kind) Compare(o *Kind) int {
	family := func(v6 bool) int {
		if v6 {
			return 6
		}
		return 4
	}
	return cmp.Or(strings.Compare(k.From, o.From), strings.Compare(k.To, o.To),
		strings.Compare(k.FromWorkload, o.FromWorkload), strings.Compare(k.ToWorkload, o.ToWorkload),
		cmp.Compare(k.Proto, o.Proto), cmp.Compare(k.Port, o.Port), cmp.Compare(k.App, o.App), strings.Compare(k.Related, o.Related),
		cmp.Compare(family(k.IPv6), family(o.IPv6)), strings.Compare(k.FromNode, o.FromNode), strings.Compare(k.ToNode, o.ToNode),
		compareRefused(k.Refused, o.Refused))
}

// Violations returns a copy of the kinds of violation that match accepts, newest first, and the
// number of the last touch. A nil match accepts all.
func (g *Graph) Violations(match func(*Violation) bool) (out []Violation, touched uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.violations.each(func(v *Violation, _ string) {
		if match == nil || match(v) {
			out = append(out, *v)
		}
	})
	return out, g.touched
}

// Threats returns a copy of the kinds of threat that match accepts, newest first, and the number
// of the last touch. A nil match accepts all. Frames are not to be changed.
func (g *Graph) Threats(match func(*Threat) bool) (out []Threat, touched uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.threats.each(func(t *Threat, _ string) {
		if match == nil || match(t) {
			out = append(out, *t)
		}
	})
	return out, g.touched
}

// Totals returns counts over the whole graph.
func (g *Graph) Totals() Totals {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.totals
	g.edges.each(func(e *Edge, _ string) {
		if e.Sessions > 0 {
			_, n := e.rows()
			t.Edges += uint64(n)
		}
	})
	return t
}

// Snapshot is a copy of a Graph's history, in a form that can be written down. Which sessions are
// open is not part of it.
type Snapshot struct {
	Edges      []Kept[Edge]      `json:"edges"` // touched last first, as the other lists
	Violations []Kept[Violation] `json:"violations"`
	Threats    []Kept[Threat]    `json:"threats"`
	Totals     Totals            `json:"totals"`
}

// Kept is one row and whose share it is of.
type Kept[T any] struct {
	Row   T      `json:"row"`
	Share string `json:"share"`
}

// Snapshot copies the history.
func (g *Graph) Snapshot() *Snapshot {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &Snapshot{Totals: g.totals, Edges: make([]Kept[Edge], 0, len(g.edges.items)),
		Violations: make([]Kept[Violation], 0, len(g.violations.items)), Threats: make([]Kept[Threat], 0, len(g.threats.items))}
	g.edges.each(func(e *Edge, share string) { s.Edges = append(s.Edges, Kept[Edge]{e.clone(), share}) })
	g.violations.each(func(v *Violation, share string) { s.Violations = append(s.Violations, Kept[Violation]{*v, share}) })
	g.threats.each(func(t *Threat, share string) { s.Threats = append(s.Threats, Kept[Threat]{*t, share}) })
	return s
}

// MarshalJSON writes the history down.
func (g *Graph) MarshalJSON() ([]byte, error) { return json.Marshal(g.Snapshot()) }

// UnmarshalJSON replaces the history of a Graph made by New by one that was written down; what is
// over its limits is left out, oldest first.
func (g *Graph) UnmarshalJSON(b []byte) error {
	var s Snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("read history of connections: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	clearGraph(g)
	g.totals = s.Totals
	for _, k := range slices.Backward(s.Edges) {
		e := &k.Row
		if _, ok := g.edges.get(e.Kind); ok || int(e.Outcome) >= Outcomes || int(e.Denied.Outcome) >= Outcomes || e.Sessions == 0 {
			continue
		}
		e.restore()
		g.edges.add(e, ownerOf(k.Share, e.client()), g.limits.Edges)
	}
	for _, k := range slices.Backward(s.Violations) {
		v := &k.Row
		if _, ok := g.violations.get(v.kind()); !ok && v.Count > 0 {
			v.Touched = g.next()
			g.violations.insert(v.kind(), v, ownerOf(k.Share, v.Client), g.limits.Violations)
		}
	}
	for _, k := range slices.Backward(s.Threats) {
		t := &k.Row
		if _, ok := g.threats.get(t.kind()); !ok {
			t.Touched = g.next()
			g.threats.insert(t.kind(), t, ownerOf(k.Share, t.Source), g.limits.Threats)
		}
	}
	return nil
}
