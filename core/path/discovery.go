package path

import (
	"net"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
)

// Types of neighbour discovery (RFC 4861 4).
const (
	routerSolicit    = 133
	routerAdvert     = 134
	neighbourSolicit = 135
	neighbourAdvert  = 136
)

// discovered is what a message of neighbour discovery states.
type discovered struct {
	target packet.Addr // of a neighbour solicitation or advertisement
	mac    own.MAC     // of its sender, or of the target in an advertisement; zero: not stated
	plain  bool        // it has no options but that address
}

// discovery judges neighbour and router discovery (RFC 4861): believed with hop limit 255 only,
// which no router forwards, without extension headers, and where it is well-formed. It must not
// claim what is not the sender's. A workload advertises no routes unless it forwards for others.
func (l *links) discovery(c *packetContext) (packet.Action, bool) {
	m, ok := parseDiscovery(c.p)
	if !ok || c.f.Dir == packet.Egress && !m.plain {
		return packet.Undecided, false
	}
	if !l.discoveryOwned(c, &m) {
		mac := m.mac
		if mac == (own.MAC{}) {
			mac = c.p.SrcMAC
		}
		subject := c.p.Src
		if c.p.ICMPType == neighbourAdvert || c.p.ICMPType == neighbourSolicit && unspecified(c.p) {
			subject = m.target
		}
		if c.p.ICMPType == routerAdvert {
			return l.refuseSource(c, "router advertisement of a workload that is no router"), true
		}
		return l.refuseSource(c, "neighbour discovery: %s is at %s", subject.Netip(), net.HardwareAddr(mac[:])), true
	}
	l.ses.out.count[counter.Neighbours]++
	return packet.Pass, true
}

// discoveryOwned reports whether everything that a message claims is its sender's.
func (l *links) discoveryOwned(c *packetContext, m *discovered) bool {
	if !c.verifies() || c.v.Sources.Forwards() {
		return true
	}
	o := c.v.Sources
	mac := m.mac
	if mac == (own.MAC{}) {
		mac = c.p.SrcMAC
	}
	if c.f.Dir == packet.Egress {
		if m.mac != (own.MAC{}) && !o.HasMAC(&m.mac, own.Sent) || !unspecified(c.p) && !o.HasAddr(&c.p.Src, own.Sent) {
			return false
		}
		switch c.p.ICMPType {
		case routerAdvert:
			return false
		case neighbourAdvert:
			return o.HasAddr(&m.target, own.Sent)
		case neighbourSolicit: // without a source it is duplicate address detection (RFC 4862 5.4)
			return !unspecified(c.p) || o.HasAddr(&m.target, own.Sent)
		}
		return true
	}
	switch {
	case c.p.ICMPType == neighbourAdvert:
		return l.claims(c, &m.target, &mac)
	case unspecified(c.p):
		return true // it asks
	}
	return l.claims(c, &c.p.Src, &mac)
}

// parseDiscovery reads a message as RFC 4861 6.1 and 7.1 require it.
func parseDiscovery(p *packet.Packet) (m discovered, ok bool) {
	if p.TTL != 255 || p.ICMPCode != 0 || p.IPHeader != 40 || p.Embedded != nil || len(p.Payload) != p.PayloadWire {
		return m, false
	}
	fixed, link := 0, byte(1) // bytes behind the ICMP header; the option of the sender's address
	toGroup := p.Dst[0] == 0xff
	switch p.ICMPType {
	case routerAdvert:
		fixed = 8
		if p.Src[0] != 0xfe || p.Src[1]&0xc0 != 0x80 {
			return m, false
		}
	case neighbourSolicit, neighbourAdvert:
		fixed = 16
		if len(p.Payload) < 16 || p.Payload[0] == 0xff {
			return m, false
		}
		m.target = packet.Addr(p.Payload[:16])
		if p.ICMPType == neighbourAdvert {
			link = 2
		}
	}
	switch {
	case len(p.Payload) < fixed:
		return m, false
	case unspecified(p) && (!toGroup || p.ICMPType == neighbourAdvert || p.ICMPType == routerAdvert):
		return m, false
	}
	return m, m.options(p.Payload[fixed:], link)
}

// options reads the options of a message, and reports whether they are well-formed.
func (m *discovered) options(b []byte, link byte) bool {
	const nonce = 14 // RFC 7527
	m.plain = len(b) <= 16
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || len(b) < int(b[1])*8 {
			return false
		}
		switch {
		case b[0] == link && b[1] == 1:
			m.mac = own.MAC(b[2:8])
		case b[0] != nonce || b[1] != 1:
			m.plain = false
		}
		b = b[int(b[1])*8:]
	}
	return true
}
