package lab

import (
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/netns"
)

// natTable is the table of the sidecar's rules.
const natTable = "lab-sidecar"

// redirect places the rules, in a table for each family.
func (s *Sidecar) redirect() error {
	ns, err := netns.Open(s.cfg.NetNS)
	if err != nil {
		return err
	}
	defer ns.Close()
	err = netns.Do(s.cfg.NetNS, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		six := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("::6"), Mask: net.CIDRMask(128, 128)}, Flags: unix.IFA_F_NODAD}
		return netlink.AddrReplace(lo, six)
	})
	if err != nil {
		return fmt.Errorf("sidecar's address: %w", err)
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return err
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		t := c.AddTable(&nftables.Table{Name: natTable, Family: family})
		chain := func(name string, hook *nftables.ChainHook, rules ...[]expr.Any) {
			ch := c.AddChain(&nftables.Chain{Name: name, Table: t, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: nftables.ChainPriorityNATDest})
			for _, r := range rules {
				c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: r})
			}
		}
		chain("in", nftables.ChainHookPrerouting, redirectTo(nil, sidecarIn))
		chain("out", nftables.ChainHookOutput, s.outgoing(family)...)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("sidecar's redirects: %w", err)
	}
	return nil
}

// outgoing are the rules for what sockets inside open, in the order in which Istio has them.
func (s *Sidecar) outgoing(family nftables.TableFamily) [][]expr.Any {
	inbound, own, src, dst := []byte{127, 0, 0, 6}, []byte{127, 0, 0, 1}, uint32(12), uint32(16)
	if family == nftables.TableFamilyIPv6 {
		inbound, own, src, dst = net.ParseIP("::6"), net.ParseIP("::1"), 8, 24
	}
	lo := compare(&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1}, expr.CmpOpEq, append([]byte("lo"), make([]byte, 14)...))
	addr := func(at uint32, op expr.CmpOp, a []byte) []expr.Any {
		return compare(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: uint32(len(a))}, op, a)
	}
	proxy := func(key expr.MetaKey, op expr.CmpOp) []expr.Any {
		return compare(&expr.Meta{Key: key, Register: 1}, op, binaryutil.NativeEndian.PutUint32(sidecarUID))
	}
	back := []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}
	rule := func(parts ...[]expr.Any) (out []expr.Any) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	keys := []expr.MetaKey{expr.MetaKeySKUID, expr.MetaKeySKGID}
	if s.cfg.SharedUser {
		keys = []expr.MetaKey{expr.MetaKeyMARK}
	}
	rules := [][]expr.Any{rule(addr(src, expr.CmpOpEq, inbound), lo, back)}
	for _, k := range keys {
		rules = append(rules,
			redirectTo(rule(addr(dst, expr.CmpOpNeq, own), lo, proxy(k, expr.CmpOpEq)), sidecarIn),
			rule(lo, proxy(k, expr.CmpOpNeq), back),
			rule(proxy(k, expr.CmpOpEq), back))
	}
	return append(rules, rule(addr(dst, expr.CmpOpEq, own), back), redirectTo(nil, sidecarOut))
}

// compare loads a value and compares it.
func compare(load expr.Any, op expr.CmpOp, value []byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: op, Register: 1, Data: value}}
}

// redirectTo redirects TCP that meets a condition.
func redirectTo(condition []expr.Any, port uint16) []expr.Any {
	out := append(condition, compare(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, expr.CmpOpEq, []byte{unix.IPPROTO_TCP})...)
	return append(out, &expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)}, &expr.Redir{RegisterProtoMin: 1, RegisterProtoMax: 1})
}

// restore takes the rules and the address away.
func (s *Sidecar) restore() {
	ns, err := netns.Open(s.cfg.NetNS)
	if err != nil {
		return // the namespace has ended, and its rules with it
	}
	defer ns.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		return
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		c.DelTable(&nftables.Table{Name: natTable, Family: family})
	}
	_ = c.Flush()
	_ = netns.Do(s.cfg.NetNS, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.AddrDel(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("::6"), Mask: net.CIDRMask(128, 128)}})
	})
}
