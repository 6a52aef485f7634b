package nfqueue

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A bridge inside of a workload may join its interface with those of nested containers. Frames
// between two ports of a bridge reach no IP hook (but with br_netfilter, a module that is off in
// most places), so that a table of the bridge family queues what enters or leaves by the
// interface of an endpoint. ARP passes, as it does elsewhere; what is neither IP nor ARP is
// queued, and refused by the engine as malformed.

// chainBridged is the chain of bridged frames.
const chainBridged = "bridged"

// priorityBridged is before the rules of others (NF_BR_PRI_FILTER_BRIDGED).
const priorityBridged = -200

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
	for _, exprs := range r.bridged() {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: exprs})
	}
}

// bridged returns the rules of the chain of bridged frames.
func (r *ruleset) bridged() [][]expr.Any {
	kind := func(t uint16) []expr.Any { return match(expr.MetaKeyPROTOCOL, binaryutil.BigEndian.PutUint16(t)) }
	out := [][]expr.Any{
		append(match(expr.MetaKeyMARK, binaryutil.NativeEndian.PutUint32(r.inject)), accept()),
		append(kind(unix.ETH_P_ARP), accept()),
	}
	for _, e := range r.inStack() {
		if e.index == 0 {
			continue
		}
		for _, way := range []struct {
			chain  string
			device expr.MetaKey
		}{{"in", expr.MetaKeyIIF}, {"out", expr.MetaKeyOIF}} {
			of := match(way.device, number(e.index))
			out = append(out, r.queued(e, append(kind(unix.ETH_P_IP), of...), way.chain, nftables.TableFamilyIPv4)...)
			out = append(out, r.queued(e, append(kind(unix.ETH_P_IPV6), of...), way.chain, nftables.TableFamilyIPv6)...)
			out = append(out, append(of, r.queue(e, 0)))
		}
	}
	return out
}

// removeBridge removes the table of the bridge family; a missing one, or a kernel without that
// family, is no error.
func removeBridge(ns int) error {
	c, err := nftables.New(nftables.WithNetNSFd(ns))
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	c.DelTable(c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyBridge}))
	if err := c.Flush(); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove rules for bridges: %w", err)
	}
	return nil
}
