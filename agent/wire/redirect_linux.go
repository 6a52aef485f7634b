package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// Redirects detects a sidecar in the namespace at path: rules that redirect what sockets inside open, or what
// comes in, to another socket there. It reads nftables, which is where iptables-nft has its rules too, and
// the tables of the older iptables, both families.
func Redirects(path string) (Mesh, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return Mesh{}, err
	}
	defer ns.Close()
	m, err := nftRedirects(int(ns.Fd()))
	return m, errors.Join(err, netns.Do(path, func() error {
		old, err := xtRedirects()
		m = m.Or(old)
		return err
	}))
}

// tableKey is one table.
type tableKey struct {
	name   string
	family nftables.TableFamily
}

// nftRedirects reads nftables.
func nftRedirects(ns int) (Mesh, error) {
	c, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return Mesh{}, fmt.Errorf("nftables: %w", err)
	}
	list, err := c.ListChains()
	if err != nil {
		return Mesh{}, fmt.Errorf("list chains: %w", err)
	}
	hooks := map[tableKey]bool{}
	for _, ch := range list {
		if base(ch) != nil {
			hooks[keyOf(ch)] = true
		}
	}
	tables := map[tableKey]map[string]step{}
	if len(hooks) == 0 {
		return Mesh{}, nil
	}
	proxied, failed := tproxies(ns)
	for _, ch := range list {
		if !hooks[keyOf(ch)] {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if errors.Is(err, unix.ENOENT) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			failed = fmt.Errorf("list rules of %s: %w", ch.Name, err) // the others may be enough
			continue
		}
		if tables[keyOf(ch)] == nil {
			tables[keyOf(ch)] = map[string]step{}
		}
		s := stepOf(rules)
		s.redirects = s.redirects || proxied[chainKey{keyOf(ch), ch.Name}]
		tables[keyOf(ch)][ch.Name] = s
	}
	var m Mesh
	for _, ch := range list {
		if b := base(ch); b != nil && reaches(ch.Name, tables[keyOf(ch)]) {
			m = m.Or(*b)
		}
	}
	if m.Any() {
		return m, nil
	}
	return m, failed
}

func keyOf(ch *nftables.Chain) tableKey { return tableKey{ch.Table.Name, ch.Table.Family} }

// base returns what a redirect in a chain redirects; nil if the chain is not at a relevant hook. A
// transparent proxy's rules are filters before the routing decision.
func base(ch *nftables.Chain) *Mesh {
	switch {
	case ch.Hooknum == nil || ch.Table.Name == ownTable:
		return nil
	case ch.Type == nftables.ChainTypeNAT && *ch.Hooknum == *nftables.ChainHookOutput:
		return &Mesh{Out: true}
	case (ch.Type == nftables.ChainTypeNAT || ch.Type == nftables.ChainTypeFilter) && *ch.Hooknum == *nftables.ChainHookPrerouting:
		return &Mesh{In: true}
	}
	return nil
}

// ownTable is the name of our own table in a workload.
const ownTable = "sluice"

// stepOf reads the rules of a chain.
func stepOf(rules []*nftables.Rule) (s step) {
	for _, r := range rules {
		proxied := false // a register holds the address of a proxy
		for _, e := range r.Exprs {
			switch e := e.(type) {
			case *expr.Redir:
				s.redirects = true
			case *expr.Immediate:
				proxied = proxied || proxyAddress(e.Data)
			case *expr.NAT:
				s.redirects = s.redirects || e.Type == expr.NATTypeDestNAT && proxied
			case *expr.Target:
				s.redirects = s.redirects || target(e)
			case *expr.Verdict:
				if e.Kind == expr.VerdictJump || e.Kind == expr.VerdictGoto {
					s.next = append(s.next, e.Chain)
				}
			case *expr.Lookup:
				s.anywhere = s.anywhere || e.IsDestRegSet && e.DestRegister == unix.NFT_REG_VERDICT
			}
		}
	}
	return s
}

// target reports whether a target of xtables redirects.
func target(t *expr.Target) bool {
	if redirectTarget(t.Name, nil) {
		return true
	}
	switch i := t.Info.(type) {
	case *xt.NatRange:
		return t.Name == "DNAT" && proxyAddress(i.MinIP)
	case *xt.NatRange2:
		return t.Name == "DNAT" && proxyAddress(i.MinIP)
	case *xt.NatIPv4MultiRangeCompat:
		return t.Name == "DNAT" && slices.ContainsFunc(*i, func(r xt.NatIPv4Range) bool { return proxyAddress(r.MinIP) })
	case *xt.Unknown:
		return redirectTarget(t.Name, *i)
	}
	return false
}

// proxyAddress reports whether a proxy inside a workload may listen on an address. Other addresses in
// 127/8 do not count: Docker has its name server on one.
func proxyAddress(b []byte) bool {
	a, ok := netip.AddrFromSlice(b)
	a = a.Unmap()
	return ok && (a == netip.AddrFrom4([4]byte{127, 0, 0, 1}) || a == netip.IPv6Loopback())
}
