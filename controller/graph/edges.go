package graph

import (
	"cmp"
	"slices"
)

// edges are the edges by kind, and by their ends.
type edges struct {
	bounded[Kind, *Edge]
	siblings map[Kind][]*Edge // that differ by application only, by Kind.ends
}

func newEdges() edges {
	return edges{newBounded[Kind, *Edge](), make(map[Kind][]*Edge)}
}

// add adds an edge of a kind that is not there, and returns what made room for it.
func (s *edges) add(e *Edge, o owner, limit int) []*Edge {
	evicted := s.insert(e.Kind, e, o, limit)
	for _, old := range evicted {
		s.unlink(old)
	}
	s.siblings[e.ends()] = append(s.siblings[e.ends()], e)
	return evicted
}

// removeEdge removes an edge.
func (s *edges) removeEdge(e *Edge) {
	s.remove(e.Kind)
	s.unlink(e)
}

// unlink takes an edge out of its siblings.
func (s *edges) unlink(e *Edge) {
	k := e.ends()
	list := slices.DeleteFunc(s.siblings[k], func(x *Edge) bool { return x == e })
	if len(list) == 0 {
		delete(s.siblings, k)
		return
	}
	s.siblings[k] = list
}

// sibling returns the newest edge of the same ends with another application, one with sessions
// first; nil if there is none.
func (s *edges) sibling(k Kind) *Edge {
	list := s.siblings[k.ends()]
	if len(list) == 0 {
		return nil
	}
	return slices.MaxFunc(list, func(a, b *Edge) int {
		return cmp.Or(cmp.Compare(min(a.Sessions, 1), min(b.Sessions, 1)), cmp.Compare(max(a.Last, a.Denied.Last), max(b.Last, b.Denied.Last)))
	})
}
