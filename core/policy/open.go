package policy

import "github.com/sluicenet/sluice/core/packet"

// open reports whether a connection is not subject to policy: loopback inside the workload, and
// prefixes exempted by the settings. What else is not subject to policy (neighbour discovery,
// listener reports, address configuration) core/path recognises by its packets, and opens no
// session for it.
func (t *Table) open(q *Query) bool {
	if isLoopback(&q.Peer, q.IPv6) || isLoopback(&q.Local, q.IPv6) || q.Peer == q.Local {
		return true
	}
	return t.exempt != nil && t.exempt.Contains(toNetip(q.Peer, q.IPv6))
}

// isLoopback reports whether an address is one of loopback: RFC 1122 3.2.1.3, RFC 4291 2.5.3.
func isLoopback(a *packet.Addr, ipv6 bool) bool {
	if !ipv6 {
		return a[12] == 127
	}
	return a[0] == 0 && *a == ipv6Loopback
}

var ipv6Loopback = packet.Addr{15: 1}
