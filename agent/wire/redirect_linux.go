package wire

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"

	"github.com/sluicenet/sluice/internal/netns"
)

// Redirects says whether connections that leave sockets inside the namespace at path are
// redirected to another socket there, as sidecars of a mesh have it: a nat chain at the output
// hook, and a redirect in its table. Rules of xtables' older interface are not seen.
func Redirects(path string) (bool, error) {
	ns, err := netns.Open(path)
	if err != nil {
		return false, err
	}
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return false, fmt.Errorf("nftables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return false, fmt.Errorf("list chains: %w", err)
	}
	tables := map[nftables.Table]bool{}
	for _, ch := range chains {
		if ch.Type == nftables.ChainTypeNAT && ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookOutput {
			tables[nftables.Table{Name: ch.Table.Name, Family: ch.Table.Family}] = true
		}
	}
	for _, ch := range chains {
		if !tables[nftables.Table{Name: ch.Table.Name, Family: ch.Table.Family}] {
			continue
		}
		// A prerouting chain's redirects are of what comes in.
		if ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookPrerouting {
			continue
		}
		rules, err := c.GetRules(ch.Table, ch)
		if err != nil {
			return false, fmt.Errorf("list rules of %s: %w", ch.Name, err)
		}
		for _, r := range rules {
			if redirect(r.Exprs) {
				return true, nil
			}
		}
	}
	return false, nil
}

func redirect(exprs []expr.Any) bool {
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Redir:
			return true
		case *expr.Target:
			if e.Name == "REDIRECT" {
				return true
			}
		}
	}
	return false
}
