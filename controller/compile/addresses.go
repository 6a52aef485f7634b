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
	c.workloadAddresses(put)
	for _, n := range c.in.Nodes {
		for _, a := range n.Addresses {
			if a = a.Unmap().WithZone(""); mapped(a) {
				put(netip.PrefixFrom(a, a.BitLen()), nodes)
			}
		}
	}
	internal := c.internal()
	for _, p := range internal {
		put(p, unmanaged)
	}
	for p := range c.cidrs.All() {
		if slices.ContainsFunc(internal, func(i netip.Prefix) bool { return i.Bits() <= p.Bits() && i.Contains(p.Addr()) }) {
			put(p, unmanaged)
		} else {
			put(p, external)
		}
	}
	slices.SortFunc(c.spec.Addresses, func(a, b policy.AddressSpec) int { return comparePrefix(a.Prefix, b.Prefix) })
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
				if other.Node == w.Node && other.ID != w.ID {
					c.share(host, other, w)
				}
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
			if !w.HostNet && !p.IsSingleIP() && p.Bits() > 0 && mapped(p.Addr().Unmap()) && !p.Addr().Is4In6() {
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

// mapped reports whether an address stands for one workload wherever it is seen: link-local
// ones mean something else on each link, and are not subject to policy.
func mapped(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast()
}
