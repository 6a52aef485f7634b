package packet

import (
	"encoding/binary"
	"math/bits"
)

// Checksum returns the Internet checksum (RFC 1071) of b and a partial sum such as
// PseudoSum's, ready to be written into a header whose checksum field was 0. Over bytes that
// include a correct checksum it is 0.
func Checksum(b []byte, initial uint32) uint16 {
	return ^fold(sum(b), initial)
}

// sum adds b as 16-bit words in little-endian order, eight bytes at a time with
// end-around carry; RFC 1071 2(B): byte order does not matter until the end.
func sum(b []byte) uint64 {
	var s, c uint64
	for len(b) >= 32 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[0:8]), 0)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[8:16]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[16:24]), c)
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b[24:32]), c)
		s, c = bits.Add64(s, 0, c)
		s += c
		b = b[32:]
	}
	for len(b) >= 8 {
		s, c = bits.Add64(s, binary.LittleEndian.Uint64(b), 0)
		s += c
		b = b[8:]
	}
	var tail uint64 // less than 2^34
	if len(b) >= 4 {
		tail = uint64(binary.LittleEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		tail += uint64(binary.LittleEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		tail += uint64(b[0])
	}
	s, c = bits.Add64(s, tail, 0)
	return s + c
}

// fold combines a little-endian and a big-endian sum into 16 bits.
func fold(little uint64, big uint32) uint16 {
	s := little>>32 + little&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	t := uint32(bits.ReverseBytes16(uint16(s))) + big>>16 + big&0xffff
	t = t>>16 + t&0xffff
	t = t>>16 + t&0xffff
	return uint16(t)
}

// PseudoSum returns the partial sum of the pseudo header of IPv4 (RFC 9293 3.1) or IPv6 (RFC
// 8200 8.1) for a transport segment of n bytes.
func PseudoSum(src, dst *Addr, proto uint8, n int) uint32 {
	// The prefix of a mapped address adds 0xffff for each, which is zero in ones' complement, so
	// both families share one code path.
	s := uint64(fold(sum(src[:]), 0)) + uint64(fold(sum(dst[:]), 0)) + uint64(proto)
	s += uint64(n)>>16 + uint64(n)&0xffff
	return uint32(s)
}

// VerifyIPv4 reports whether the IPv4 header checksum is correct. It is true for IPv6 and
// where the header is missing.
func VerifyIPv4(p *Packet) bool {
	if p.IPv6 || len(p.Network) < ipv4Header {
		return true
	}
	head := int(p.Network[0]&15) * 4
	return head > len(p.Network) || Checksum(p.Network[:head], 0) == 0
}

// VerifyTransport reports whether the checksum of TCP, UDP, ICMP or ICMPv6 is not known to be
// wrong. It is true where it cannot be verified: other protocols, fragments, cut captures,
// UDP over IPv4 without checksum. It must not be called for frames with PartialChecksum.
func VerifyTransport(p *Packet) bool {
	t, field := p.segment()
	if field == 0 {
		return true
	}
	if p.Proto == ProtoICMP {
		return Checksum(t, 0) == 0
	}
	if p.Proto == ProtoUDP && t[field] == 0 && t[field+1] == 0 {
		// RFC 8200 8.1: over IPv6 it is compulsory.
		return !p.IPv6
	}
	return Checksum(t, PseudoSum(&p.Src, &p.Dst, p.Proto, len(t))) == 0
}

// LooksOffloaded reports whether the checksum field holds only the sum of the pseudo header:
// captures show this where the sender's interface fills in the checksum later. Live frames
// have PartialChecksum instead.
func LooksOffloaded(p *Packet) bool {
	t, field := p.segment()
	if field == 0 || p.Proto == ProtoICMP || p.Proto == ProtoICMPv6 {
		return false
	}
	return binary.BigEndian.Uint16(t[field:]) == fold(0, PseudoSum(&p.Src, &p.Dst, p.Proto, len(t)))
}

// segment returns the whole transport segment and the offset of its checksum; 0 where there
// is no checksum to verify.
func (p *Packet) segment() (t []byte, field int) {
	if p.Status != OK || p.PayloadWire != len(p.Payload) {
		return nil, 0
	}
	t = p.Network[p.IPHeader:]
	switch {
	case p.Proto == ProtoTCP:
		field = 16
	case p.Proto == ProtoUDP:
		field = 6
		t = t[:8+len(p.Payload)] // the UDP length may be less than IP's
	case p.Proto == ProtoICMP && !p.IPv6, p.Proto == ProtoICMPv6 && p.IPv6:
		field = 2
	default:
		return nil, 0
	}
	if len(t) < field+2 || p.routed {
		return nil, 0 // the pseudo header has the final destination, not Dst
	}
	return t, field
}
