package nfqueue

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A bridge inside of a workload may join its interface with those of nested containers. Frames
// between two ports of a bridge reach no IP hook, and most kernels cannot queue them elsewhere
// (the target of xtables is for IP only). They would pass unjudged, so rules of the bridge family
// drop what a bridge passes to or from the interface of an endpoint. What the workload itself
// sends and receives by the bridge is queued like anything else.

// chainBridged is the chain of bridged frames.
const chainBridged = "bridged"

// priorityBridged is before the rules of others (NF_BR_PRI_FILTER_BRIDGED).
const priorityBridged = -200

// flushBridge makes the table of the bridge family match r. A kernel without that family passes
// what a bridge forwards.
func (r *ruleset) flushBridge(ns int, fresh bool) error {
	if !r.needs(false) {
		return nil
	}
	c, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	r.placeBridge(c, fresh)
	if err := c.Flush(); err != nil && !noBridges(err) {
		return fmt.Errorf("place rules for bridges: %w", err)
	}
	return nil
}

// noBridges reports whether an error means that the kernel has no rules for bridges.
func noBridges(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOENT)
}

// placeBridge adds the messages for the table of the bridge family.
func (r *ruleset) placeBridge(c *nftables.Conn, fresh bool) {
	t := c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyBridge})
	if fresh {
		c.DelTable(t)
		t = c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyBridge})
	}
	p := nftables.ChainPriority(priorityBridged)
	ch := c.AddChain(&nftables.Chain{Name: chainBridged, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: &p})
	if !fresh {
		c.FlushChain(ch)
	}
	for _, e := range r.inStack() {
		for _, i := range append([]int{e.index}, e.further...) {
			if i == 0 {
				continue
			}
			for _, device := range []expr.MetaKey{expr.MetaKeyIIF, expr.MetaKeyOIF} {
				c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: append(match(device, number(i)), &expr.Verdict{Kind: expr.VerdictDrop})})
			}
		}
	}
}

// removeBridge removes the table of the bridge family; a missing one, or a kernel without that
// family, is no error.
func removeBridge(ns int) error {
	c, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	c.DelTable(c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyBridge}))
	if err := c.Flush(); err != nil && !noBridges(err) {
		return fmt.Errorf("remove rules for bridges: %w", err)
	}
	return nil
}
