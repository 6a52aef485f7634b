package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/policy"
)

// addresses maps prefixes to identities. The first entry of a prefix applies: workloads (those of the
// node before others, because an address may be in use on several nodes), nodes,
// subnets, prefixes of user groups.
func (c *compiler) addresses() {
	owner := make(map[netip.Prefix]uint32)
	put := func(p netip.Prefix, set ...uint32) {
		if _, taken := owner[p]; !taken {
			id := c.identity(c.withCIDRs(set, p)...)
			owner[p] = id
			c.spec.Addresses = append(c.spec.Addresses, policy.AddressSpec{Prefix: p, Identity: id})
		}
	}
	for _, p := range model.FixedPrefixes(model.Metadata) {
		id := c.identity(c.near(metadata, p)...)
		owner[p] = id
		c.spec.Addresses = append(c.spec.Addresses, policy.AddressSpec{Prefix: p, Identity: id})
	}
	c.workloadAddresses(put)
	for _, n := range c.in.Nodes {
		for _, a := range n.Addresses {
			if a = a.Unmap().WithZone(""); mapped(a) {
				put(netip.PrefixFrom(a, a.BitLen()), nodes)
			}
		}
	}
	internal := c.internal()
	for _, p := range model.FixedPrefixes(model.Multicast) {
		put(p, multicast)
	}
	for _, p := range internal {
		if b, ok := model.Broadcast(p); ok {
			put(netip.PrefixFrom(b, b.BitLen()), multicast)
		}
		put(p, unmanaged)
	}
	for _, p := range model.FixedPrefixes(model.Unmanaged) {
		put(p, unmanaged)
	}
	for p := range c.cidrs.All() {
		switch model.FixedGroup(p.Addr()) {
		case model.Multicast:
			put(p, multicast)
			continue
		case model.Unmanaged:
			put(p, unmanaged)
			continue
		}
		if slices.ContainsFunc(internal, func(i netip.Prefix) bool { return i.Bits() <= p.Bits() && i.Contains(p.Addr()) }) {
			put(p, unmanaged)
		} else {
			put(p, external)
		}
	}
	slices.SortFunc(c.spec.Addresses, func(a, b policy.AddressSpec) int { return comparePrefix(a.Prefix, b.Prefix) })
}

// near returns a group and those whose prefixes hold p and are not much wider: 0.0.0.0/0 does not
// name the metadata service.
func (c *compiler) near(group uint32, p netip.Prefix) []uint32 {
	set := []uint32{group}
	least := 16
	if p.Addr().Is6() {
		least = 32
	}
	for wide, groups := range c.cidrs.Supernets(p) {
		if wide.Bits() >= least {
			set = append(set, groups...)
		}
	}
	return set
}

// workloadAddresses puts each workload's own addresses.
func (c *compiler) workloadAddresses(put func(netip.Prefix, ...uint32)) {
	taken := make(map[netip.Addr]*model.Workload)
	for _, w := range c.sorted {
		if w.HostNet {
			continue
		}
		for _, p := range w.Addresses {
			a := p.Addr().Unmap().WithZone("")
			if !mapped(a) {
				continue
			}
			host := netip.PrefixFrom(a, a.BitLen())
			if other := taken[a]; other != nil {
				if !a.IsLinkLocalUnicast() && other.Node == w.Node && other.ID != w.ID {
					c.share(host, other, w)
				}
				continue
			}
			if a.IsLinkLocalUnicast() && !c.alone(w, a) {
				continue
			}
			taken[a] = w
			put(host, c.of(w)...)
		}
	}
}

// share lists an address that two workloads of one node have at the same time: both are asked. An address
// on several nodes is another matter: networks of nodes may be equal.
func (c *compiler) share(p netip.Prefix, a, b *model.Workload) {
	s := policy.AddressSpec{Prefix: p, Identity: c.identity(c.withCIDRs(c.of(b), p)...)}
	if s.Identity == c.identity(c.withCIDRs(c.of(a), p)...) {
		return
	}
	if a.Node == c.in.Node {
		c.notes = append(c.notes, fmt.Sprintf("workloads %s and %s of node %s both have the address %s: a connection with it needs rules for both",
			a.ID, b.ID, a.Node, p.Addr()))
	}
	if !slices.Contains(c.spec.Addresses, s) {
		c.spec.Addresses = append(c.spec.Addresses, s)
	}
}

// internal is the subnets that workloads are connected to and those of the settings.
func (c *compiler) internal() []netip.Prefix {
	var out []netip.Prefix
	for _, w := range c.sorted {
		for _, p := range w.Addresses {
			if !w.HostNet && !p.IsSingleIP() && p.Bits() > 0 && mapped(p.Addr().Unmap()) && !p.Addr().IsLinkLocalUnicast() && !p.Addr().Is4In6() {
				out = append(out, p.Masked())
			}
		}
	}
	for _, p := range c.in.Settings.Internal {
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, comparePrefix)
	return slices.Compact(out)
}

func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// alone reports whether a workload is the only one with a link-local address, of those of the node
// where it runs there, else of all: such an address means another host on each link.
func (c *compiler) alone(w *model.Workload, a netip.Addr) bool {
	if c.linkOwners == nil {
		c.linkOwners = make(map[netip.Addr][2]int)
		for _, w := range c.sorted {
			for _, p := range w.Addresses {
				if a := p.Addr().WithZone(""); a.IsLinkLocalUnicast() && !w.HostNet {
					n := c.linkOwners[a]
					n[c.away(w)]++
					c.linkOwners[a] = n
				}
			}
		}
	}
	n := c.linkOwners[a]
	return n[c.away(w)] == 1 && (c.away(w) == 0 || n[0] == 0)
}

// mapped reports whether an address may stand for one workload.
func mapped(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}
