package policy

import (
	"net/netip"
)

// NewcomerSpec is the policy for a workload of a service group that the policy does not list
// yet, so that a new workload has a policy before the next version arrives.
type NewcomerSpec struct {
	// Group is the service group; "" is every group without an entry of its own.
	Group string `json:"group"`
	// WorkloadSpec without an ID.
	WorkloadSpec
}

// Guest is a running workload, listed by the policy or not, or one that had addresses until a
// moment ago.
type Guest struct {
	ID, Group string
	Addresses []netip.Prefix
	// Ended is when it was noticed that it no longer has the addresses, ns since the epoch; 0 while it has
	// them. Connections that began before remain its own.
	Ended int64
	// Stale: the policy may still list the addresses as its own; no workload has them until it is
	// known who does.
	Stale bool
}

// With returns the Table extended with policy for guests that it does not list, from its
// newcomers, and with the present addresses of guests, which take precedence over those known
// at compilation. It returns the Table itself where nothing changes. The version stays: the
// next one replaces both. Of an address that several have, each is asked.
func (t *Table) With(guests []Guest) *Table {
	x := extension{t: t, added: make(map[string]*Workload), overlay: make(map[netip.Addr]uint32), present: make(map[netip.Addr]uint32)}
	for i := range guests {
		if guests[i].Ended == 0 {
			x.addPresent(&guests[i])
		}
	}
	for i := range guests {
		if guests[i].Ended != 0 {
			x.addFormer(&guests[i])
		}
	}
	return x.table()
}

// extension collects what guests change in a Table.
type extension struct {
	t       *Table
	added   map[string]*Workload
	present map[netip.Addr]uint32 // first owner among the running guests
	overlay map[netip.Addr]uint32 // identities other than listed
	book    bookBuilder
	// differs: the policy lists several owners of an address that a guest has.
	differs bool
}

// workload returns the policy of a guest, nil if nothing is known of its group.
func (x *extension) workload(g *Guest) *Workload {
	if w := x.t.workloads[g.ID]; w != nil {
		return w
	}
	w := x.added[g.ID]
	if w == nil {
		if w = x.t.newcomer(g); w != nil {
			x.added[g.ID] = w
		}
	}
	return w
}

func (x *extension) addPresent(g *Guest) {
	w := x.workload(g)
	if w == nil {
		return
	}
	for _, p := range g.Addresses {
		a := p.Addr().Unmap().WithZone("")
		if !own(a) {
			continue
		}
		if first, taken := x.present[a]; taken {
			if first != w.spec.Identity {
				x.book.share(a, w.spec.Identity)
			}
			continue
		}
		x.present[a] = w.spec.Identity
		x.differs = x.differs || x.t.book != nil && x.t.book.built.sharers[a] != nil
		if id, ok := x.t.listed(a); !ok || id != w.spec.Identity {
			x.overlay[a] = w.spec.Identity
		}
	}
}

func (x *extension) addFormer(g *Guest) {
	w := x.workload(g)
	if w == nil {
		return
	}
	for _, p := range g.Addresses {
		a := p.Addr().Unmap().WithZone("")
		if !own(a) {
			continue
		}
		_, taken := x.present[a]
		id, listed := x.t.listed(a)
		x.book.former(a, past{w.spec.Identity, g.Ended, taken, !taken && (!listed || id == w.spec.Identity)})
		if taken || !g.Stale {
			continue
		}
		if listed && id == w.spec.Identity {
			x.overlay[a] = x.t.subnet(a)
		}
	}
}

// table returns the extended Table.
func (x *extension) table() *Table {
	t := x.t
	book := x.book.build()
	if len(x.added) == 0 && len(x.overlay) == 0 && book == nil && !x.differs {
		return t
	}
	n := t.clone()
	n.guests = nil
	n.book = book.over(t.book, x.present)
	if len(x.overlay) > 0 {
		list := make([]AddressSpec, 0, len(x.overlay))
		for a, id := range x.overlay {
			list = append(list, AddressSpec{netip.PrefixFrom(a, a.BitLen()), id})
		}
		h := newHosts(list)
		n.guests = &h
	}
	for id, w := range x.added {
		w.table = n
		n.workloads[id] = w
	}
	return n
}

// newcomer returns the policy of a guest that the Table does not list; nil if nothing is
// known of its group.
func (t *Table) newcomer(g *Guest) *Workload {
	like := t.newcomers[g.Group]
	if like == nil {
		like = t.newcomers[""]
	}
	if like == nil {
		return nil
	}
	w := &Workload{spec: like.spec, rows: like.rows}
	w.spec.ID = g.ID
	return w
}

// own reports whether an address identifies one workload everywhere.
func own(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}
