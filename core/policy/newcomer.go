package policy

import (
	"net/netip"

	"github.com/sluicenet/sluice/core/packet"
)

// NewcomerSpec is the policy for a workload of a service group that the policy does not list
// yet, so that a new workload has a policy before the next version arrives.
type NewcomerSpec struct {
	// Group is the service group; "" is every group without an entry of its own.
	Group string `json:"group"`
	// WorkloadSpec without an ID.
	WorkloadSpec
}

// Guest is a running workload, listed by the policy or not.
type Guest struct {
	ID, Group string
	Addresses []netip.Prefix
}

// With returns the Table extended with policy for guests that it does not list, from its
// newcomers, and with the present addresses of guests, which take precedence over those known
// at compilation. It returns the Table itself where nothing changes. The version stays: the
// next one replaces both. Of two guests with one address the first wins.
func (t *Table) With(guests []Guest) *Table {
	added := make(map[string]*Workload)
	overlay := make(map[netip.Addr]uint32)
	for i := range guests {
		g := &guests[i]
		w := t.workloads[g.ID]
		if w == nil {
			w = added[g.ID]
		}
		if w == nil {
			if w = t.newcomer(g); w == nil {
				continue
			}
			added[g.ID] = w
		}
		for _, p := range g.Addresses {
			a := p.Addr().Unmap().WithZone("")
			if _, taken := overlay[a]; !taken && own(a) && t.Identity(packet.AddrFrom(a), a.Is6()) != w.spec.Identity {
				overlay[a] = w.spec.Identity
			}
		}
	}
	if len(added) == 0 && len(overlay) == 0 {
		return t
	}
	n := *t
	n.guests = nil
	if len(overlay) > 0 {
		list := make([]AddressSpec, 0, len(overlay))
		for a, id := range overlay {
			list = append(list, AddressSpec{netip.PrefixFrom(a, a.BitLen()), id})
		}
		h := newHosts(list)
		n.guests = &h
	}
	n.workloads = make(map[string]*Workload, len(t.workloads)+len(added))
	for id, w := range t.workloads {
		n.workloads[id] = &Workload{table: &n, spec: w.spec, rows: w.rows}
	}
	for id, w := range added {
		w.table = &n
		n.workloads[id] = w
	}
	return &n
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
