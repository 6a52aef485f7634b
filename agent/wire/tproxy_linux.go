package wire

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// chainKey is one chain.
type chainKey struct {
	tableKey
	chain string
}

// tproxies lists the chains with a rule that hands packets to a transparent proxy: the library does not
// decode that expression.
func tproxies(ns int) (map[chainKey]bool, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: ns})
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	defer c.Close()
	msgs, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, 4), // struct nfgenmsg: every family
	})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	out := map[chainKey]bool{}
	for _, m := range msgs {
		if len(m.Data) < 4 {
			continue
		}
		k := chainKey{tableKey: tableKey{family: nftables.TableFamily(m.Data[0])}}
		found := false
		d, err := netlink.NewAttributeDecoder(m.Data[4:])
		if err != nil {
			continue
		}
		for d.Next() {
			switch d.Type() {
			case unix.NFTA_RULE_TABLE:
				k.name = d.String()
			case unix.NFTA_RULE_CHAIN:
				k.chain = d.String()
			case unix.NFTA_RULE_EXPRESSIONS:
				d.Nested(func(e *netlink.AttributeDecoder) error {
					for e.Next() {
						e.Nested(func(x *netlink.AttributeDecoder) error {
							for x.Next() {
								found = found || x.Type() == unix.NFTA_EXPR_NAME && x.String() == "tproxy"
							}
							return nil
						})
					}
					return nil
				})
			}
		}
		if d.Err() == nil && found {
			out[k] = true
		}
	}
	return out, nil
}
