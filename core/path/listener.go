package path

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

const protoIGMP = 2

// listener6 reports whether a packet is a message of MLD (RFC 2710, RFC 3810) as hosts and routers
// believe it: hop limit 1, a link-local or no source, and nothing in it but groups.
func listener6(p *packet.Packet) bool {
	if p.TTL != 1 || p.ICMPCode != 0 || len(p.Payload) != p.PayloadWire || p.IPHeader > 48 {
		return false
	}
	if !unspecified(p) && (p.Src[0] != 0xfe || p.Src[1]&0xc0 != 0x80) || p.Dst[0] != 0xff {
		return false
	}
	b := p.Payload // behind 8 bytes of header
	switch p.ICMPType {
	case 130: // query; version 2 has 4 bytes and sources behind the group
		return len(b) == 16 || len(b) >= 20 && len(b) == 20+16*int(binary.BigEndian.Uint16(b[18:]))
	case 131, 132:
		return len(b) == 16
	case 143:
		return len(p.Network) >= p.IPHeader+8 && records(b, int(binary.BigEndian.Uint16(p.Network[p.IPHeader+6:])), 16)
	}
	return false
}

// listener4 is listener6 for IGMP (RFC 1112, RFC 2236, RFC 3376).
func listener4(p *packet.Packet) bool {
	b := p.Payload
	if p.TTL != 1 || len(b) != p.PayloadWire || len(b) < 8 || p.Dst[12]&0xf0 != 0xe0 {
		return false
	}
	switch b[0] {
	case 0x11: // query; version 3 has 4 bytes and sources behind the group
		return len(b) == 8 || len(b) >= 12 && len(b) == 12+4*int(binary.BigEndian.Uint16(b[10:]))
	case 0x12, 0x16, 0x17:
		return len(b) == 8
	case 0x22:
		return records(b[8:], int(binary.BigEndian.Uint16(b[6:])), 4)
	}
	return false
}

// records reports whether b is n group records with addresses of a size, and no auxiliary data.
func records(b []byte, n, size int) bool {
	for range n {
		if len(b) < 4+size || b[0] < 1 || b[0] > 6 || b[1] != 0 {
			return false
		}
		whole := 4 + size + size*int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < whole {
			return false
		}
		b = b[whole:]
	}
	return len(b) == 0
}
