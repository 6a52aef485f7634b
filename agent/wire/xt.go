package wire

import (
	"bytes"
	"encoding/binary"
)

// The tables of iptables before nftables, as getsockopt gives them (linux/netfilter/x_tables.h,
// netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h). Offsets are from a rule's beginning.
type xtFamily struct {
	info, entries int // socket options
	level, family int
	targetAt      int // u16: where a rule's target begins
	header        int // length before a rule's matches
	ipv6          bool
}

const (
	xtNameLen    = 32
	xtInfoLen    = 84
	xtHeader     = 40 // of the answer with the rules: the table's name, the rules' size, padding
	xtMaxSize    = 16 << 20
	xtTargetHead = 32 // u16 size, name, u8 revision
	hookPre      = 0  // NF_INET_PRE_ROUTING
	hookOut      = 3  // NF_INET_LOCAL_OUT
)

// xtInfo is a table's head: where the rules of the two hooks begin, -1 where it has none, and how long they are.
type xtInfo struct {
	hooks [5]int
	size  int
}

// parseXTInfo reads a struct ipt_getinfo, which ip6t_getinfo equals.
func parseXTInfo(b []byte) (i xtInfo, ok bool) {
	if len(b) < xtInfoLen {
		return xtInfo{}, false
	}
	valid := binary.NativeEndian.Uint32(b[xtNameLen:])
	for h := range i.hooks {
		i.hooks[h] = -1
		if valid&(1<<h) != 0 {
			i.hooks[h] = int(binary.NativeEndian.Uint32(b[xtNameLen+4+4*h:]))
		}
	}
	i.size = int(binary.NativeEndian.Uint32(b[xtInfoLen-4:]))
	return i, i.size <= xtMaxSize
}

// xtReaches reports whether a redirect is reachable from the rule at an offset. Each rule is read once.
func xtReaches(rules []byte, from int, f *xtFamily) bool {
	seen := map[int]bool{}
	for todo := []int{from}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if at < 0 || at > len(rules)-f.header || seen[at] {
			continue
		}
		seen[at] = true
		redirects, next := xtRule(rules[at:], at, f)
		if redirects {
			return true
		}
		todo = append(todo, next...)
	}
	return false
}

// xtRule reads the rule at the beginning of r: whether it redirects, and which may come next.
func xtRule(r []byte, at int, f *xtFamily) (redirects bool, next []int) {
	target, end := int(binary.NativeEndian.Uint16(r[f.targetAt:])), int(binary.NativeEndian.Uint16(r[f.targetAt+2:]))
	if target < f.header || end < target+xtTargetHead || end > len(r) {
		return false, nil
	}
	info := r[target+xtTargetHead : end]
	name, _, _ := bytes.Cut(r[target+2:target+xtTargetHead-1], []byte{0})
	switch {
	case string(name) == "ERROR": // a user's chain begins, or the table ends
		return false, nil
	case len(name) > 0 || len(info) < 4:
		return redirectTarget(string(name), info), []int{at + end}
	}
	v := int(int32(binary.NativeEndian.Uint32(info)))
	switch {
	case v >= 0:
		return false, []int{at + end, v}
	case target == f.header && plain(r[:f.header], f):
		return false, nil // a policy, or a verdict without a condition: rules behind it are unreachable
	}
	return false, []int{at + end}
}

// plain reports whether a rule has no condition on addresses, interfaces and protocols.
func plain(head []byte, f *xtFamily) bool {
	end := 84 // struct ipt_ip
	if f.ipv6 {
		end = 136 // struct ip6t_ip6
	}
	return len(bytes.TrimLeft(head[:min(end, len(head))], "\x00")) == 0
}

// redirectTarget reports whether a target of xtables redirects; info is its own data.
func redirectTarget(name string, info []byte) bool {
	switch name {
	case "REDIRECT", "TPROXY":
		return true
	case "DNAT":
		// struct nf_nat_ipv4_multi_range_compat has the address at 8, nf_nat_range at 4.
		return len(info) >= 12 && proxyAddress(info[8:12]) || len(info) >= 20 && (proxyAddress(info[4:20]) || proxyAddress(info[4:8]) && bytes.Equal(info[8:20], make([]byte, 12)))
	}
	return false
}
