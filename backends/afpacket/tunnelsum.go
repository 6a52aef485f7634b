package afpacket

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// The kernel fills in the outer checksum of a tunnel's segments only if it made the tunnel
// itself. But that checksum depends on the headers and the length alone, because the inner
// checksum makes the inner segment's sum known in advance (local checksum offload): it is the
// same for all segments of full length. So a frame is sent in two parts, the segments of full
// length under their checksum, and a shorter last one under its own.

// shape is where the headers of a tunnelled frame begin.
type shape struct {
	udp, ip, tcp, data int
	segment            int // payload of one segment
}

// shapeOf finds the headers; inner is where the inner IP header begins.
func shapeOf(b []byte, vnet packet.VNet, inner int) (s shape, ok bool) {
	s.udp, s.ip = outerUDP(b), inner
	s.tcp = int(binary.LittleEndian.Uint16(vnet[6:]))
	s.segment = int(binary.LittleEndian.Uint16(vnet[4:]))
	if s.tcp+20 > len(b) {
		return s, false
	}
	s.data = s.tcp + int(b[s.tcp+12]>>4)*4
	return s, s.segment > 0 && s.data >= s.tcp+20 && s.data < len(b)
}

// summed reports whether the outer datagram has a checksum.
func (s *shape) summed(b []byte) bool { return b[s.udp+6] != 0 || b[s.udp+7] != 0 }

// lengths writes the lengths, for a payload of n octets, and what depends on them: IP header
// checksums, and the inner checksum's part that the sender of a partial one fills in.
func (s *shape) lengths(b []byte, n int) {
	end := s.data + n
	ipLengths(b[etherLen:], end-etherLen)
	binary.BigEndian.PutUint16(b[s.udp+4:], uint16(end-s.udp))
	ipLengths(b[s.ip:], end-s.ip)
	src, dst := addresses(b[s.ip:])
	seed := ^packet.Checksum(nil, packet.PseudoSum(&src, &dst, packet.ProtoTCP, end-s.tcp))
	binary.BigEndian.PutUint16(b[s.tcp+16:], seed)
}

// sum returns the outer checksum of a segment whose lengths are written; it reads headers only.
func (s *shape) sum(b []byte) uint16 {
	src, dst := addresses(b[etherLen:])
	n := int(binary.BigEndian.Uint16(b[s.udp+4:]))
	acc := packet.PseudoSum(&src, &dst, packet.ProtoUDP, n)
	acc += uint32(^binary.BigEndian.Uint16(b[s.tcp+16:])) // the inner segment's sum
	was := binary.BigEndian.Uint16(b[s.udp+6:])
	binary.BigEndian.PutUint16(b[s.udp+6:], 0)
	c := packet.Checksum(b[s.udp:s.tcp], acc)
	binary.BigEndian.PutUint16(b[s.udp+6:], was)
	if c == 0 {
		return 0xffff // 0 is none (RFC 768)
	}
	return c
}

// TCP flags that only the first or the last segment has.
const (
	onlyLast  = packet.FIN | packet.PSH
	onlyFirst = packet.CWR
)

// split writes the headers of a frame that has an outer checksum, for its segments of full
// length, and returns where they end. What follows is one shorter segment, whose headers it
// writes to tail; none where tail is nil. room holds the tail.
func (s *shape) split(b, room []byte) (end int, tail []byte) {
	n := len(b) - s.data
	count := n / s.segment
	rest := n - count*s.segment
	if rest > 0 {
		tail = room[:s.data+rest]
		copy(tail, b[:s.data])
		copy(tail[s.data:], b[len(b)-rest:])
		s.advance(tail, count)
		s.lengths(tail, rest)
		binary.BigEndian.PutUint16(tail[s.udp+6:], s.sum(tail))
		b[s.tcp+13] &^= onlyLast
	}
	if count == 0 {
		return s.data, tail
	}
	s.lengths(b, s.segment)
	c := s.sum(b)
	s.lengths(b, count*s.segment)
	binary.BigEndian.PutUint16(b[s.udp+6:], c)
	return s.data + count*s.segment, tail
}

// advance makes the headers of a frame those of its segment behind count others.
func (s *shape) advance(b []byte, count int) {
	if count > 0 {
		b[s.tcp+13] &^= onlyFirst
	}
	binary.BigEndian.PutUint32(b[s.tcp+4:], binary.BigEndian.Uint32(b[s.tcp+4:])+uint32(count*s.segment))
	for _, at := range [...]int{etherLen, s.ip} {
		if b[at]>>4 == 4 {
			binary.BigEndian.PutUint16(b[at+4:], binary.BigEndian.Uint16(b[at+4:])+uint16(count))
		}
	}
}

// outerUDP is where the outer UDP header of a tunnelled frame begins.
func outerUDP(b []byte) int {
	if b[etherLen]>>4 == 4 {
		return etherLen + int(b[etherLen]&0xf)*4
	}
	return etherLen + ip6Len
}

// ipLengths writes the length of an IP packet of n octets.
func ipLengths(b []byte, n int) {
	if b[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[4:], uint16(n-ip6Len))
		return
	}
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	binary.BigEndian.PutUint16(b[10:], 0)
	binary.BigEndian.PutUint16(b[10:], packet.Checksum(b[:int(b[0]&0xf)*4], 0))
}

// addresses returns those of an IP header.
func addresses(b []byte) (src, dst packet.Addr) {
	if b[0]>>4 == 6 {
		return packet.Addr(b[8:24]), packet.Addr(b[24:40])
	}
	mapped := packet.Addr{10: 0xff, 11: 0xff}
	src, dst = mapped, mapped
	copy(src[12:], b[12:16])
	copy(dst[12:], b[16:20])
	return src, dst
}
