package packet

import "encoding/binary"

// IP protocols and UDP ports (IANA) of the tunnels that Inner opens.
const (
	protoIPIP    = 4
	protoIPv6    = 41
	protoGRE     = 47
	protoEtherIP = 97
	protoMPLS    = 137

	portGTPU   = 2152
	portTeredo = 3544
	portGRE    = 4754
	portVXLAN  = 4789
	portGeneve = 6081

	etherERSPAN2 = 0x88be
	etherERSPAN3 = 0x22eb
	etherPPP     = 0x880b
)

// Inner returns the packet that p carries, if p belongs to a tunnel: IP in IP (RFC 2003,
// 4213, 2473), EtherIP, MPLS in IP, GRE with IP, MPLS, Ethernet, ERSPAN or (PPTP) PPP inside,
// and over UDP VXLAN, Geneve, GTP-U, Teredo and GRE, which are identified by port alone. It
// serves the reading of captures; the live datapaths judge the outer packet. The wire length
// of inner is len(inner) + p.PayloadWire - len(p.Payload).
func (p *Packet) Inner() (inner []byte, link LinkType, ok bool) {
	if p.Status != OK {
		return nil, RawIP, false
	}
	b := p.Payload
	switch p.Proto {
	case protoIPIP, protoIPv6:
		return ipInside(b)
	case protoGRE:
		return greInside(b)
	case protoMPLS:
		return mplsInside(b)
	case protoEtherIP: // RFC 3378
		if len(b) < 2 || b[0] != 0x30 {
			return nil, RawIP, false
		}
		return etherInside(b[2:])
	case ProtoUDP:
		switch {
		case p.udpPort(portVXLAN):
			return vxlanInside(b)
		case p.udpPort(portGeneve):
			return geneveInside(b)
		case p.udpPort(portGTPU):
			return gtpInside(b)
		case p.udpPort(portTeredo):
			return teredoInside(b)
		case p.udpPort(portGRE):
			return greInside(b)
		}
	}
	return nil, RawIP, false
}

// udpPort reports whether either port is n.
func (p *Packet) udpPort(n uint16) bool { return p.SrcPort == n || p.DstPort == n }

func ipInside(b []byte) ([]byte, LinkType, bool) {
	return b, RawIP, len(b) > 0 && (b[0]>>4 == 4 || b[0]>>4 == 6)
}

func etherInside(b []byte) ([]byte, LinkType, bool) {
	return b, Ethernet, len(b) >= etherHeader
}

func mplsInside(b []byte) ([]byte, LinkType, bool) {
	n, r := mplsLen(b, len(b))
	if r != "" {
		return nil, RawIP, false
	}
	return ipInside(b[n:])
}

// typeInside decodes by EtherType.
func typeInside(kind uint16, b []byte) ([]byte, LinkType, bool) {
	switch kind {
	case etherIPv4, etherIPv6:
		return ipInside(b)
	case etherBridge:
		return etherInside(b)
	case etherMPLS, etherMPLSUp:
		return mplsInside(b)
	}
	return nil, RawIP, false
}

// greInside opens GRE (RFC 2784, 2890) and the enhanced GRE of PPTP (RFC 2637).
func greInside(b []byte) ([]byte, LinkType, bool) {
	if len(b) < 4 || b[0]&0x40 != 0 { // routing is gone since RFC 2784
		return nil, RawIP, false
	}
	kind := binary.BigEndian.Uint16(b[2:])
	at := 4
	for _, bit := range [...]byte{0x80, 0x20, 0x10} { // checksum, key, sequence
		if b[0]&bit != 0 {
			at += 4
		}
	}
	version := b[1] & 7
	if version == 1 && b[1]&0x80 != 0 { // acknowledgement
		at += 4
	}
	if version > 1 || len(b) < at {
		return nil, RawIP, false
	}
	sequence := b[0]&0x10 != 0
	b = b[at:]
	switch {
	case version == 1 && kind == etherPPP:
		return pppInside(b)
	case version == 1:
		return nil, RawIP, false
	case kind == etherERSPAN2 && !sequence: // type I has no header
		return etherInside(b)
	case kind == etherERSPAN2 && len(b) >= 8:
		return etherInside(b[8:])
	case kind == etherERSPAN3 && len(b) >= 12:
		if b[11]&1 != 0 && len(b) >= 20 { // platform subheader
			return etherInside(b[20:])
		}
		return etherInside(b[12:])
	}
	return typeInside(kind, b)
}

// pppInside opens a PPP frame; address and control may be left out (RFC 1661 6.6).
func pppInside(b []byte) ([]byte, LinkType, bool) {
	if len(b) >= 2 && b[0] == 0xff && b[1] == 3 {
		b = b[2:]
	}
	proto, n := pppProto(b)
	if n == 0 || (proto != pppIPv4 && proto != pppIPv6) {
		return nil, RawIP, false
	}
	return ipInside(b[n:])
}

// vxlanInside opens VXLAN (RFC 7348).
func vxlanInside(b []byte) ([]byte, LinkType, bool) {
	if len(b) < 8 || b[0]&0x08 == 0 {
		return nil, RawIP, false
	}
	return etherInside(b[8:])
}

// geneveInside opens Geneve (RFC 8926).
func geneveInside(b []byte) ([]byte, LinkType, bool) {
	if len(b) < 8 || b[0]>>6 != 0 {
		return nil, RawIP, false
	}
	at := 8 + int(b[0]&0x3f)*4
	if len(b) < at {
		return nil, RawIP, false
	}
	return typeInside(binary.BigEndian.Uint16(b[2:]), b[at:])
}

// gtpInside opens a T-PDU of GTP-U version 1 (3GPP TS 29.281 5).
func gtpInside(b []byte) ([]byte, LinkType, bool) {
	if len(b) < 8 || b[0]>>5 != 1 || b[0]&0x10 == 0 || b[1] != 0xff {
		return nil, RawIP, false
	}
	at := 8
	if b[0]&7 != 0 {
		if at += 4; len(b) < at {
			return nil, RawIP, false
		}
		next := b[11]
		if b[0]&4 == 0 {
			next = 0
		}
		for next != 0 {
			if len(b) < at+4 || b[at] == 0 {
				return nil, RawIP, false
			}
			if at += int(b[at]) * 4; len(b) < at {
				return nil, RawIP, false
			}
			next = b[at-1]
		}
	}
	return ipInside(b[at:])
}

// teredoInside opens Teredo (RFC 4380 5.1.1): authentication and origin may precede.
func teredoInside(b []byte) ([]byte, LinkType, bool) {
	if len(b) >= 4 && b[0] == 0 && b[1] == 1 {
		n := 13 + int(b[2]) + int(b[3])
		if len(b) < n {
			return nil, RawIP, false
		}
		b = b[n:]
	}
	if len(b) >= 8 && b[0] == 0 && b[1] == 0 {
		b = b[8:]
	}
	return b, RawIP, len(b) >= ipv6Header && b[0]>>4 == 6
}
