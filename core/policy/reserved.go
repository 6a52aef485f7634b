package policy

import "github.com/sluicenet/sluice/core/packet"

// markReserved finds the identities of the reserved groups that are judged in their own way.
func (t *Table) markReserved(b *builder) {
	for id := range t.identities {
		for _, g := range t.identities[id].Groups {
			if t.groups[g].Cast {
				if t.casts == nil {
					t.casts = make(map[uint32]*rows)
				}
				t.casts[uint32(id)] = b.rows(uint32(id))
			}
			if t.groups[g].Named {
				if t.named == nil {
					t.named = make(map[uint32]bool)
				}
				t.named[uint32(id)] = true
			}
		}
	}
}

// rowsFor returns the rows by which a query is judged: of what a workload receives as a member of
// a multicast group or as one of all, those of that address, because the rule for the sender says
// who may send to it.
func (w *Workload) rowsFor(q *Query) *rows {
	if q.Dir == packet.Ingress && len(w.table.casts) > 0 && mayCast(q) {
		if r := w.table.casts[w.table.Identity(q.Local, q.IPv6)]; r != nil {
			return r
		}
	}
	return w.rows
}

// mayCast reports whether a query's local address may be multicast or broadcast: the broadcast
// address of a subnet may be any of IPv4.
func mayCast(q *Query) bool { return !q.IPv6 || q.Local[0] == 0xff }

// unnamed reports whether the rule at a position allows its far end only as one of all.
func (t *Table) unnamed(pos uint32, dir packet.Direction) bool {
	r := &t.rules[pos]
	far := r.To
	if dir != packet.Egress {
		far = r.From
	}
	return !r.Deny && t.groups[far].Any
}
