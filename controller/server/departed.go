package server

import (
	"net/netip"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/policy"
)

// departed remembers workloads that are gone and who had which address, so that connections which
// they had while they were there still count as theirs: reports come a moment later, a container
// may live for less than that, and a connection may outlive its workload. The server's lock
// guards it.
type departed struct {
	addresses map[netip.Addr][]leaver // the last ones of each, in order
	ids       map[string]leaver       // by node and workload id
	since     map[holding]int64       // of present holdings; absent where the beginning was not seen
}

// holding is an address of a workload.
type holding struct {
	node, id string
	addr     netip.Addr
}

// leaver is a workload that is gone, or no longer has an address.
type leaver struct {
	member *member
	from   int64 // since when it had the address; 0 if that was not seen
	at     int64 // ns since the epoch, by our clock
}

const (
	// maxDeparted bounds the addresses and ids that are remembered, maxOwners the owners of one address.
	maxDeparted = 8192
	maxOwners   = 4
	// departedSlack is how far clocks of nodes may be apart from ours, in ns.
	departedSlack = int64(2e9)
	// handedOver is how long the report about a new owner of an address takes at most, in ns, with the
	// difference of the clocks: what began later than that before it is the new owner's.
	handedOver = int64(1e9)
)

// rememberGone remembers the members of a node that are not among those that it has now, the
// addresses that they or others lost, and since when new ones are had.
func (d *directory) rememberGone(name string, members []*member, now int64) {
	n := d.node(name)
	still := make(map[string]*member, len(members))
	for _, m := range members {
		still[m.workload.Id] = m
	}
	g := &d.gone
	if g.ids == nil || len(g.ids) > maxDeparted || len(g.addresses) > maxDeparted {
		g.ids, g.addresses = make(map[string]leaver), make(map[netip.Addr][]leaver)
	}
	if g.since == nil {
		g.since = make(map[holding]int64)
	}
	for id, m := range n.members {
		if still[id] == nil {
			g.ids[name+"\x00"+id] = leaver{member: m, at: now}
		}
	}
	had, has := holdings(n.members), holdings(still)
	for h, m := range had {
		if has[h] != nil {
			continue
		}
		list := append(g.addresses[h.addr], leaver{m, g.since[h], now})
		g.addresses[h.addr] = list[max(0, len(list)-maxOwners):]
		delete(g.since, h)
	}
	for h := range has {
		if had[h] == nil {
			g.since[h] = now
		}
	}
}

// holdings returns the addresses by which others know workloads.
func holdings(members map[string]*member) map[holding]*member {
	out := make(map[holding]*member, 2*len(members))
	for id, m := range members {
		if m.workload.HostNet {
			continue // its addresses are the node's
		}
		for _, p := range m.policy.Addresses {
			if a := p.Addr(); !a.IsLinkLocalUnicast() {
				out[holding{m.node, id, a}] = m
			}
		}
	}
	return out
}

// reporter is the workload that saw a connection, if it is there or was when the connection began; nil
// if it is not known.
func (d *directory) reporter(n *node, c *controlv1.Connection) *member {
	return d.known(n, c.Workload, c.First)
}

// known is the workload of a node with an id, if it is there or was at a time; nil if it is not known.
func (d *directory) known(n *node, id string, at int64) *member {
	if m := n.members[id]; m != nil {
		return m
	}
	if l, ok := d.gone.ids[n.name+"\x00"+id]; ok && at <= l.at+departedSlack {
		return l.member
	}
	return nil
}

// owned is who had an address when a connection began; nil if no workload had it. Where the first known
// owner was reported later, it is that one.
func (g *departed) owned(a netip.Addr, began int64) (m *member) {
	list := g.addresses[a]
	for i := len(list) - 1; i >= 0 && began <= list[i].at+departedSlack; i-- {
		m = list[i].member
		if began >= list[i].from-handedOver {
			break
		}
	}
	return m
}

// last is who had an address until a moment before a connection began, while no workload had it: policy
// judges what clients open to it by that one. It is nil if that is longer ago.
func (g *departed) last(a netip.Addr, began int64) *member {
	list := g.addresses[a]
	if len(list) == 0 {
		return nil
	}
	l := list[len(list)-1]
	if began < l.at || began-l.at >= policy.Vacancy {
		return nil
	}
	return l.member
}

// before reports whether a connection began before its owner was seen to have an address.
func (g *departed) before(m *member, a netip.Addr, began int64) bool {
	return began < g.since[holding{m.node, m.workload.Id, a}]-handedOver
}
