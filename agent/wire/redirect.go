package wire

// Mesh says what a namespace's rules redirect to a proxy there, as the sidecars of a mesh have it.
type Mesh struct {
	// Out: connections that its own sockets open.
	Out bool
	// In: connections that come to it.
	In bool
}

// Any says whether there is a sidecar.
func (m Mesh) Any() bool { return m.Out || m.In }

// Or is what either says.
func (m Mesh) Or(o Mesh) Mesh { return Mesh{m.Out || o.Out, m.In || o.In} }

// step is what the rules of one chain do.
type step struct {
	redirects bool
	next      []string // chains that they go to
	anywhere  bool     // they may go to any chain: a map says to which
}

// reaches says whether a redirect can be met from a chain on.
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
