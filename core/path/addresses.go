package path

import (
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/related"
	"github.com/sluicenet/sluice/core/session"
)

// A workload with several addresses uses one for the other: a server whose UDP socket is bound to none
// answers from the address that the route to its client prefers, and the data connection of FTP may be
// to or from any of them. Which addresses belong together is known of the workloads of this node.

// ownerOf returns the list of the workload that has an address; nil if none or several workloads have
// it. Of what the endpoint's own workload has, it is that one.
func (v *View) ownerOf(a *packet.Addr) (of *own.List) {
	if v.Sources != nil && v.Sources.Set().Has(a) {
		return v.Sources
	}
	if v.owners == nil {
		return nil
	}
	for _, l := range (*v.owners)[*a] {
		switch {
		case !l.Set().Has(a): // removed a moment ago
		case of == nil:
			of = l
		case !of.SameWorkload(l):
			return nil
		}
	}
	return of
}

// together reports whether two addresses are one workload's.
func (v *View) together(a, b *packet.Addr) bool {
	if *a == *b {
		return true
	}
	x, y := v.ownerOf(a), v.ownerOf(b)
	return x != nil && y != nil && x.SameWorkload(y)
}

// besides returns the addresses of the workload that has an address, that one included; nil where it has
// no other of the family.
func (v *View) besides(a *packet.Addr, ipv6 bool) []packet.Addr {
	if l := v.ownerOf(a); l != nil {
		return l.Set().Several(ipv6)
	}
	return nil
}

// maxExpects bounds the look-ups of one connection among the addresses of both ends.
const maxExpects = 64

// expects returns the expectation that a connection meets: from any address of the other end's workload,
// and to any of the expecting end's where that announced none. anyFrom is that of related.Table.Find.
func expects(l *lifecycle, c *packetContext, k *related.Key, anyFrom bool) (e related.Expectation, ok bool) {
	if e, ok = l.expected.Find(k, anyFrom, l.now); ok || !l.expected.Of(k.Endpoint) {
		return e, ok
	}
	here, from := [1]packet.Addr{k.At}, [1]packet.Addr{k.From}
	n := 0
	for i, ats := range [2][]packet.Addr{here[:], c.v.besides(&k.At, k.IPv6)} {
		for _, at := range ats {
			for _, froms := range [2][]packet.Addr{from[:], c.v.besides(&k.From, k.IPv6)} {
				for _, x := range froms {
					if n++; n > maxExpects {
						return e, false
					}
					other := *k
					other.At, other.From = at, x
					if e, ok = l.expected.Find(&other, false, l.now); ok && (i == 0 || e.Wide) {
						return e, true
					}
				}
			}
		}
	}
	return e, false
}

// answered returns the session that a datagram answers from another address of its server, nil if
// there is none, and whether the server is the B of its key. It has the ports of the question.
func (v *View) answered(t *session.Table, p *packet.Packet, dir packet.Direction) (s *session.Session, swapped bool) {
	if p.Proto != packet.ProtoUDP || dir == packet.NoDirection || v.Loopback {
		return nil, false
	}
	list := v.besides(&p.Src, p.IPv6)
	if len(list) == 0 {
		return nil, false
	}
	q := packet.Packet{Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort, Proto: p.Proto, IPv6: p.IPv6}
	for i := range list {
		if list[i] == p.Src {
			continue
		}
		q.Src = list[i]
		k, swapped := session.KeyOf(&q, v.workload)
		s := t.Lookup(&k)
		if s != nil && s.DirOf(swapped) == 1 && fits(s, dir, swapped) {
			return s, swapped
		}
	}
	return nil, false
}
