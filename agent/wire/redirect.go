package wire

// Mesh is the traffic that a namespace's rules redirect to a proxy there, as for the sidecars of a mesh.
type Mesh struct {
	// Out: connections that its own sockets open.
	Out bool
	// In: connections that come to it.
	In bool
}

// Any reports whether there is a sidecar.
func (m Mesh) Any() bool { return m.Out || m.In }

// Or returns the union of both.
func (m Mesh) Or(o Mesh) Mesh { return Mesh{m.Out || o.Out, m.In || o.In} }

// step summarises the rules of one chain.
type step struct {
	redirects bool
	next      []string // chains that they go to
	anywhere  bool     // they may go to any chain, by a map
}

// reaches reports whether a redirect is reachable from a chain.
func reaches(from string, chains map[string]step) bool {
	seen := map[string]bool{from: true}
	for todo := []string{from}; len(todo) > 0; {
		c := chains[todo[0]]
		todo = todo[1:]
		if c.redirects {
			return true
		}
		if c.anywhere {
			for name := range chains {
				c.next = append(c.next, name)
			}
		}
		for _, n := range c.next {
			if !seen[n] {
				seen[n] = true
				todo = append(todo, n)
			}
		}
	}
	return false
}
