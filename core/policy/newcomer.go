package policy

import (
	"net/netip"

	"github.com/sluicenet/sluice/core/packet"
)

// NewcomerSpec is what holds for a workload of a service group that the policy does not list
// yet, so that one that has just begun is not without policy until the next version comes.
type NewcomerSpec struct {
	// Group is the service group; "" is every group that has no entry of its own.
	Group string `json:"group"`
	// WorkloadSpec without an ID.
	WorkloadSpec
}

// Guest is a workload that is there now, whether the policy lists it or not.
type Guest struct {
	ID, Group string
	Addresses []netip.Prefix
}

// With is the Table with policy for guests that it does not list, as its newcomers say, and with the
// addresses that guests have now, which count before those that were known when it was made. It is the
// Table itself where that changes nothing. The version stays: the next one replaces
// both. Of two guests with one address the first counts.
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

// newcomer is the policy of a guest that the Table does not list; nil if nothing is known of its group.
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

// own says whether an address stands for one workload wherever it is seen.
func own(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}
