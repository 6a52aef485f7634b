package afpacket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

// Frames of BIG TCP: more than 64 KiB of TCP segments as one frame, whose IP header cannot hold the
// length (zero in IPv4, a jumbo payload option in IPv6, RFC 2675). They are received in a ring of
// their own and judged whole, but sent in parts that are ordinary frames to be segmented, as a
// packet socket sends no larger ones.
const (
	jumboSlot = 64 * 3199
	maxJumbo  = jumboSlot - 128 - vnetLen
	// jumboSlots is how many of them are buffered.
	jumboSlots = 8 * 5
	// portGSO is the largest frame that the service port accepts whole.
	portGSO = 196608
	// jumbo in Frame.Slot: the slot is of the ring of such frames.
	jumbo = 1 << 33
	// mostIP is the maximum length of an IP packet in a part.
	mostIP = 0xffff
)

// parts cuts a frame that is longer than an IP packet can be into parts. Their headers are written
// over the end of the part before.
type parts struct {
	b             []byte // the frame, behind room for offload metadata
	vnet          packet.VNet
	ip, tcp, data int // where headers and payload begin in a part
	segment, most int // payload of a segment, and of a part
	at            int // in b: the payload of the next part
	sent          int // payload before it
	head          [256]byte
}

// partsOf finds the headers of a frame of TCP segments, which begins at vnetLen of b; ok is false for
// any other.
func partsOf(b []byte, vnet packet.VNet) (p parts, ok bool) {
	switch vnet[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6:
	default:
		return p, false
	}
	p = parts{b: b, vnet: vnet, ip: etherLen, tcp: int(binary.LittleEndian.Uint16(vnet[6:])), segment: int(binary.LittleEndian.Uint16(vnet[4:]))}
	f := b[vnetLen:]
	for len(f) > p.ip && p.ip < len(p.head)/2 && vlanType(f[p.ip-2:]) {
		p.ip += etherTagLen
	}
	if vnet[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 || p.segment == 0 || p.tcp < p.ip+ipLen || p.tcp+20 > len(f) {
		return p, false
	}
	p.data = p.tcp + int(f[p.tcp+12]>>4)*4
	if p.data < p.tcp+20 || p.data >= len(f) || p.data > len(p.head) {
		return p, false
	}
	p.at = vnetLen + p.data
	copy(p.head[:p.data], f)
	if !p.removeOption() {
		return p, false
	}
	p.most = (mostIP - (p.data - p.ip)) / p.segment * p.segment
	return p, p.most >= p.data+vnetLen
}

// removeOption removes the header with the jumbo payload option, and reports whether TCP follows the
// IP header then.
func (p *parts) removeOption() bool {
	h := p.head[p.ip:]
	if h[0]>>4 == 4 {
		return h[9] == protoTCP && p.tcp == p.ip+int(h[0]&0xf)*4
	}
	if h[0]>>4 != 6 {
		return false
	}
	const option = 8 // bytes of a hop-by-hop header with this option alone
	if h[6] == 0 && h[ip6Len+1] == 0 && p.tcp == p.ip+ip6Len+option {
		h[6] = h[ip6Len]
		copy(h[ip6Len:], h[ip6Len+option:p.data-p.ip])
		p.tcp, p.data = p.tcp-option, p.data-option
		binary.LittleEndian.PutUint16(p.vnet[6:], uint16(p.tcp))
	}
	return h[6] == protoTCP && p.tcp == p.ip+ip6Len
}

// next returns the next part, behind room for offload metadata, and its metadata; nil where there is
// none. It is valid until the next call.
func (p *parts) next() (part []byte, vnet packet.VNet) {
	n := min(len(p.b)-p.at, p.most)
	if n == 0 {
		return nil, p.vnet
	}
	part, vnet = p.b[p.at-p.data-vnetLen:p.at+n], p.vnet
	f := part[vnetLen:]
	copy(f, p.head[:p.data])
	if p.sent > 0 {
		f[p.tcp+13] &^= onlyFirst
	}
	if p.at+n < len(p.b) {
		f[p.tcp+13] &^= onlyLast
	}
	binary.BigEndian.PutUint32(f[p.tcp+4:], binary.BigEndian.Uint32(f[p.tcp+4:])+uint32(p.sent))
	if f[p.ip]>>4 == 4 {
		binary.BigEndian.PutUint16(f[p.ip+4:], binary.BigEndian.Uint16(f[p.ip+4:])+uint16(p.sent/p.segment))
	}
	ipLengths(f[p.ip:], len(f)-p.ip)
	src, dst := addresses(f[p.ip:])
	binary.BigEndian.PutUint16(f[p.tcp+16:], ^packet.Checksum(nil, packet.PseudoSum(&src, &dst, packet.ProtoTCP, len(f)-p.tcp)))
	if n <= p.segment {
		vnet[1], vnet[4], vnet[5] = unix.VIRTIO_NET_HDR_GSO_NONE, 0, 0
	}
	p.at, p.sent = p.at+n, p.sent+n
	return part, vnet
}
