package server

import (
	"net/netip"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// departed remembers workloads that are gone, so that connections which they had while they were
// there still count as theirs: reports come a moment later, and a container may live for
// less than that. The server's lock guards it.
type departed struct {
	addresses map[netip.Addr]leaver
	ids       map[string]leaver // by node and workload id
}

// leaver is a workload that is gone.
type leaver struct {
	member *member
	at     int64 // ns since the epoch, by our clock
}

const (
	// maxDeparted bounds the addresses and ids that are remembered.
	maxDeparted = 8192
	// departedSlack is how far clocks of nodes may be apart from ours, in ns.
	departedSlack = int64(2e9)
)

// rememberGone remembers the members of a node that are not among those that it has now.
func (d *directory) rememberGone(name string, members []*member, now int64) {
	n := d.node(name)
	still := make(map[string]bool, len(members))
	for _, m := range members {
		still[m.workload.Id] = true
	}
	g := &d.gone
	if g.ids == nil || len(g.ids) > maxDeparted || len(g.addresses) > maxDeparted {
		g.ids, g.addresses = make(map[string]leaver), make(map[netip.Addr]leaver)
	}
	for id, m := range n.members {
		if still[id] {
			continue
		}
		l := leaver{m, now}
		g.ids[name+"\x00"+id] = l
		if m.workload.HostNet {
			continue
		}
		for _, p := range m.policy.Addresses {
			if a := p.Addr(); !a.IsLinkLocalUnicast() {
				g.addresses[a] = l
			}
		}
	}
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

// owned is who had an address when a connection began; nil if it had no owner.
func (g *departed) owned(a netip.Addr, began int64) *member {
	if l, ok := g.addresses[a]; ok && began <= l.at+departedSlack {
		return l.member
	}
	return nil
}
