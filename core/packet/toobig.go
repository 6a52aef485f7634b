package packet

import "encoding/binary"

// BuildTooBig writes the ICMP error that asks u's destination for packets of at most mtu
// octets (RFC 1191 4: type 3 code 4; RFC 4443 3.2: type 2) into buf and returns its bytes; nil
// if buf is too small (AnswerMax is always enough). MayAnswer reports whether it may be sent.
func BuildTooBig(buf []byte, u Unreachable, mtu uint32) []byte {
	b := BuildUnreachable(buf, u)
	if b == nil {
		return nil
	}
	at, pseudo := len(u.Link)+ipv4Header, uint32(0)
	if u.IPv6 {
		at = len(u.Link) + ipv6Header
	}
	t := b[at:]
	if u.IPv6 {
		t[0], t[1] = 2, 0
		binary.BigEndian.PutUint32(t[4:], mtu)
		pseudo = PseudoSum(&u.Src, &u.Dst, ProtoICMPv6, len(t))
	} else {
		t[1] = 4
		binary.BigEndian.PutUint16(t[6:], uint16(min(mtu, 0xffff)))
	}
	t[2], t[3] = 0, 0
	binary.BigEndian.PutUint16(t[2:], Checksum(t, pseudo))
	return b
}

// Largest returns the length of the largest IP packet that a decoded frame becomes on the
// wire: that of its segments, if it is to be segmented.
func (p *Packet) Largest(f *Frame) int {
	total := len(p.Network) + p.PayloadWire - len(p.Payload)
	if f.Flags&GSO == 0 {
		return total
	}
	return min(total, total-p.PayloadWire+int(binary.LittleEndian.Uint16(f.VNet[4:])))
}
