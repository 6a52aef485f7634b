package policy

import "github.com/sluicenet/sluice/core/packet"

// open reports whether a connection is not subject to policy: loopback inside the workload,
// link-local peers, multicast, address configuration, and prefixes exempted by the settings.
//
// Neighbour discovery is recognised by its addresses (link-local or multicast), because a
// Query has no ICMP type. A link-local address of the workload's own opens only ICMPv6:
// otherwise a workload could evade policy by binding its link-local address.
func (t *Table) open(q *Query) bool {
	switch scopeOf(&q.Peer, q.IPv6) {
	case loopback, linkLocal, multicast:
		return true
	}
	switch scopeOf(&q.Local, q.IPv6) {
	case loopback, multicast:
		return true
	case linkLocal:
		if q.Proto == packet.ProtoICMPv6 {
			return true
		}
	}
	if q.Peer == q.Local {
		return true
	}
	if q.Proto == packet.ProtoUDP && isDHCP(q.Port, q.IPv6) {
		return true
	}
	return t.exempt != nil && t.exempt.Contains(toNetip(q.Peer, q.IPv6))
}

// isDHCP reports whether a server port is one of address configuration: BOOTP and DHCP (RFC 2131),
// DHCPv6 (RFC 8415).
func isDHCP(port uint16, ipv6 bool) bool {
	if ipv6 {
		return port == 546 || port == 547
	}
	return port == 67 || port == 68
}

// scope is the scope of an address, as far as policy needs it.
type scope uint8

const (
	global scope = iota
	loopback
	linkLocal
	multicast
)

// scopeOf returns an address' scope: RFC 1122 3.2.1.3 and RFC 3927 for IPv4, RFC 4291 2.4 for
// IPv6.
func scopeOf(a *packet.Addr, ipv6 bool) scope {
	if !ipv6 {
		switch {
		case a[12] == 127:
			return loopback
		case a[12] == 169 && a[13] == 254:
			return linkLocal
		case a[12]&0xf0 == 0xe0:
			return multicast
		}
		return global
	}
	switch {
	case a[0] == 0xff:
		return multicast
	case a[0] == 0xfe && a[1]&0xc0 == 0x80:
		return linkLocal
	case a[0] == 0 && *a == ipv6Loopback:
		return loopback
	}
	return global
}

var ipv6Loopback = packet.Addr{15: 1}
