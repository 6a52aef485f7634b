package engine

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// icmpError judges an ICMP error by the session of the packet that it quotes: errors about what
// passes pass (path MTU discovery depends on it), errors about what is denied do not.
// known is false when there is no such session.
func (w *worker) icmpError(v *view, f *packet.Frame, p *packet.Packet) (a packet.Action, known bool) {
	if !w.inner.DecodeQuoted(p.Embedded) {
		return packet.Undecided, false
	}
	k, _ := session.KeyOf(&w.inner, f.Endpoint)
	s := w.table.Lookup(&k)
	if s == nil {
		return packet.Undecided, false
	}
	w.count[counter.ICMPErrors]++
	if flow.Verdict(s.Verdict) == flow.Deny && v.inline {
		return w.stop(byPolicy), true
	}
	return packet.Pass, true
}

// neighbourly says whether p is one of the messages that keep an IPv6 link going: multicast listeners
// (RFC 2710, 3810) and neighbour discovery (RFC 4861). They are not subject to policy and are
// no conversation of anybody's. Off-link they mean nothing: neighbour discovery
// is believed with hop limit 255 only (RFC 4861 6.1, 7.1), listener reports with 1.
func neighbourly(p *packet.Packet) bool {
	if p.Proto != packet.ProtoICMPv6 {
		return false
	}
	switch t := p.ICMPType; {
	case t >= 133 && t <= 137:
		return p.TTL == 255
	case t >= 130 && t <= 132 || t == 143:
		return p.TTL == 1
	}
	return false
}
