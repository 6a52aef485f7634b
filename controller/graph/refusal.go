package graph

import "net/netip"

// refusalKey identifies a connection that policy refused.
type refusalKey struct {
	client, server         netip.Addr
	clientPort, serverPort uint16
	proto                  uint8
}

// refusal is which ends of a connection refused it a moment ago.
type refusal struct {
	last [2]int64 // of the reports of the client and the server; 0 for none
	kind Kind     // of the edge whose FarRefused it is counted in; valid with counted
	// counted: it is in FarRefused, as only the end that does not lead has refused it.
	counted bool
	sizes   Counts // what was counted in Edge.Denied then
}

// refusedThere reports whether the other end has refused the same connection, and remembers that this
// end did. An edge counts it as refused by the end that does not lead only if the other one did not.
func refusedThere(g *Graph, o *Observation, edge Kind) bool {
	k := refusalKey{o.Client, o.Server, o.ClientPort, o.Port, o.Proto}
	own, far := 1, 0
	if o.Egress {
		own, far = far, own
	}
	r, ok := g.refusals.touch(k)
	if !ok {
		r = new(refusal)
		g.refusals.insert(k, r, o.owner(), maxRecent)
	}
	same := r.last[far] != 0 && r.last[far] >= o.Last-together && r.last[far] <= o.Last+together
	if !same {
		*r = refusal{}
	}
	r.last[own] = o.Last
	if same {
		if e, ok := g.edges.get(r.kind); ok && r.counted && o.Leads {
			e.FarRefused -= min(e.FarRefused, 1)
			e.Denied.Counts.subtract(r.sizes)
		}
		*r = refusal{} // the next one is another connection
	} else if !o.Leads {
		r.kind, r.counted, r.sizes = edge, true, o.sizes()
	}
	return same
}
