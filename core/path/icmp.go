package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// icmpError judges an ICMP error by the session of the packet that it quotes: errors about what
// passes pass (path MTU discovery depends on it), errors about what is denied do not. One to the
// workload about a packet that it may have sent, of a session that is gone, is dropped inline.
// Any other that relates to no session could carry anything anywhere: done is false, and it is
// judged like an ICMP message of its own.
func (p *Path) icmpError(c *packetContext) (a packet.Action, done bool) {
	s, swapped := quotedSession(p, c)
	switch {
	case s == nil:
		p.ses.out.count[counter.ICMPUnrelated]++
		if !p.capture && (c.f.Dir != packet.Ingress || p.quoted.Src != c.p.Dst || c.v.Sources != nil && !c.v.Sources.HasAddr(&c.p.Dst, own.Received)) {
			return packet.Undecided, false
		}
		if p.link.enforces(c) {
			return c.stop(counter.Unrelated), true
		}
		return packet.Pass, true
	case s.Verdict == flow.Deny && p.link.enforces(c):
		p.ses.out.count[counter.ICMPErrors]++
		return c.stop(counter.Denied), true
	}
	p.ses.out.count[counter.ICMPErrors]++
	if s.DirOf(swapped) == 0 && s.Flags&(session.Answered|session.Refused) == 0 && unreachable(c.p) {
		s.Flags |= session.Refused
		s.Marks |= session.Changed
	}
	return packet.Pass, true
}

// quotedSession returns the session of the packet that an ICMP error quotes, and whether the quoted
// packet's source is the B of its key; nil if there is none. Errors are sent to the source of the
// packet that they quote (RFC 1122 3.2.2, RFC 4443 2.2): an error to any other address relates to
// nothing. Of a fragment, the ports are those of its datagram: only the first fragment has them.
func quotedSession(p *Path, c *packetContext) (s *session.Session, swapped bool) {
	q := &p.quoted
	if !q.DecodeQuoted(c.p.Embedded) || q.IPv6 != c.p.IPv6 || q.Src != c.p.Dst {
		return nil, false
	}
	if q.Status == packet.Fragment {
		q.VLAN = c.p.VLAN
		if o, ok := p.frags.r.Owner(q, frag.At{Workload: c.v.workload, Dir: c.f.Dir.Reverse()}); ok {
			q.Proto, q.SrcPort, q.DstPort = o.Proto, o.SrcPort, o.DstPort
		}
	}
	k, swapped := session.KeyOf(q, c.v.workload)
	s = p.ses.table.Lookup(&k)
	if c.v.Shares != nil {
		s = c.v.resolve(p.ses.table, &k, s, c.f.Dir.Reverse(), swapped)
	}
	if s == nil {
		return c.v.answered(p.ses.table, q, c.f.Dir.Reverse())
	}
	return s, swapped
}

// unreachable reports whether an ICMP error means that a destination cannot be reached, and not
// that a packet was too big for the way to it (RFC 1191, RFC 4443 3.1).
func unreachable(p *packet.Packet) bool {
	if p.Proto == packet.ProtoICMPv6 {
		return p.ICMPType == 1
	}
	return p.ICMPType == 3 && p.ICMPCode != 4
}
