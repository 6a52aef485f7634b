package overlay

import "encoding/binary"

// EtherTypes (IANA) of what a tunnel carries.
const (
	etherIPv4   = 0x0800
	etherARP    = 0x0806
	etherVLAN   = 0x8100
	etherIPv6   = 0x86dd
	etherQinQ   = 0x88a8
	etherBridge = 0x6558 // an Ethernet frame

	etherLen = 14
	tagLen   = 4
	maxTags  = 2
	arpLen   = 28
	ipv4Len  = 20
	ipv6Len  = 40

	// shortest is the length to which an Ethernet frame without its checksum may be padded.
	shortest = 60
	// snapped is the length from which a datagram may be cut: a tap copies the beginning of
	// large ones only, and identification reads no further either.
	snapped = 384
)

// consistent reports whether b is an IPv4, IPv6 or ARP packet, by EtherType, or an Ethernet
// frame with one, whose lengths agree with that of b. If b may be cut, it may also be shorter
// than they say.
func consistent(kind uint16, b []byte, cut bool) bool {
	pad := 0
	if kind == etherBridge {
		whole := len(b)
		if kind, b = ethernet(b); b == nil {
			return false
		}
		if whole <= shortest {
			pad = len(b)
		}
	}
	switch kind {
	case etherIPv4:
		return ipv4(b, pad, cut)
	case etherIPv6:
		return ipv6(b, pad, cut)
	case etherARP:
		return arp(b, pad)
	}
	return false
}

// ethernet returns the EtherType behind a frame's VLAN tags, and what follows; nil where the
// frame is none that a host sends.
func ethernet(b []byte) (kind uint16, inner []byte) {
	if len(b) < etherLen || b[6]&1 != 0 || zero(b[0:6]) || zero(b[6:12]) {
		return 0, nil
	}
	kind, b = binary.BigEndian.Uint16(b[12:]), b[etherLen:]
	for range maxTags {
		if kind != etherVLAN && kind != etherQinQ {
			break
		}
		if len(b) < tagLen {
			return 0, nil
		}
		kind, b = binary.BigEndian.Uint16(b[2:]), b[tagLen:]
	}
	return kind, b
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// fits reports whether a packet of n bytes fills what there is, apart from padding and from
// what was cut off.
func fits(n, have, pad int, cut bool) bool {
	return n == have || n < have && pad > 0 || n > have && cut
}

// ipv4 verifies the header and its checksum.
func ipv4(b []byte, pad int, cut bool) bool {
	if len(b) < ipv4Len || b[0]>>4 != 4 {
		return false
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if header < ipv4Len || len(b) < header || total < header || !fits(total, len(b), pad, cut) {
		return false
	}
	sum := uint32(0)
	for at := 0; at < header; at += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[at:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff
}

// ipv6 verifies the header, which has no checksum.
func ipv6(b []byte, pad int, cut bool) bool {
	if len(b) < ipv6Len || b[0]>>4 != 6 || b[8] == 0xff { // no packet comes from a group
		return false
	}
	return fits(ipv6Len+int(binary.BigEndian.Uint16(b[4:])), len(b), pad, cut)
}

// arp verifies a request or an answer for IPv4 over Ethernet (RFC 826).
func arp(b []byte, pad int) bool {
	return len(b) >= arpLen && (len(b) == arpLen || pad > 0) &&
		binary.BigEndian.Uint32(b) == 1<<16|etherIPv4 && b[4] == 6 && b[5] == 4 && b[6] == 0 && (b[7] == 1 || b[7] == 2)
}
