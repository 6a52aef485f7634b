package afpacket

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

// Frames of UDP tunnels that are to be segmented: TCP segments inside of an outer UDP datagram.
// A virtio_net_hdr describes the segments alone. What it lacks travels in the socket's mark,
// and the program wrap on the engine's end restores it.
const (
	wrapL2At    = 9
	wrapTagged  = 1 << 14
	wrapQinQ    = 1 << 15
	wrapTCIAt   = 16
	wrapMaxNet  = 0x1ff
	wrapMaxL2   = 0x1f
	etherLen    = 14
	ipLen       = 20
	ip6Len      = 40
	udpLen      = 8
	protoTCP    = 6
	protoUDP    = 17
	etherTagLen = 4
)

// tunnelled reports whether a frame is one of a UDP tunnel that is to be segmented.
func tunnelled(f *packet.Frame) bool {
	if f.Flags&packet.GSO == 0 || len(f.Data) < etherLen+ip6Len {
		return false
	}
	switch f.VNet[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN {
	case unix.VIRTIO_NET_HDR_GSO_TCPV4, unix.VIRTIO_NET_HDR_GSO_TCPV6:
	default:
		return false
	}
	switch b := f.Data; binary.BigEndian.Uint16(b[12:]) {
	case unix.ETH_P_IP:
		return b[etherLen+9] == protoUDP
	case unix.ETH_P_IPV6:
		return b[etherLen+6] == protoUDP
	}
	return false
}

// wrapMark is the mark with which a tunnelled frame is sent; 0 where its headers are none that
// the kernel makes.
func wrapMark(f *packet.Frame) uint32 {
	b := f.Data
	outer := etherLen + ip6Len
	if binary.BigEndian.Uint16(b[12:]) == unix.ETH_P_IP {
		outer = etherLen + int(b[etherLen]&0xf)*4
	}
	outer += udpLen // where the tunnel's header begins
	inner := innerIP(b, outer, f.VNet)
	if inner < 0 || inner > wrapMaxNet {
		return 0
	}
	mark := uint32(inner) | uint32(innerEther(b, outer, inner))<<wrapL2At
	if f.Flags&packet.VLANStripped != 0 {
		mark |= wrapTagged | uint32(f.VLAN)<<wrapTCIAt
		if f.VLANProto == unix.ETH_P_8021AD {
			mark |= wrapQinQ
		}
	}
	return mark
}

// innerIP finds the IP header before the TCP header at which the checksum begins; -1 where
// there is none behind outer. Extension headers of IPv6 do not occur in frames to be segmented.
func innerIP(b []byte, outer int, vnet packet.VNet) int {
	tcp := int(binary.LittleEndian.Uint16(vnet[6:]))
	if vnet[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM == 0 || tcp > len(b) {
		return -1
	}
	if vnet[1]&^unix.VIRTIO_NET_HDR_GSO_ECN == unix.VIRTIO_NET_HDR_GSO_TCPV6 {
		if at := tcp - ip6Len; at > outer && b[at]>>4 == 6 && b[at+6] == protoTCP {
			return at
		}
		return -1
	}
	for n := ipLen; n <= 60; n += 4 {
		if at := tcp - n; at > outer && int(b[at]) == 4<<4|n/4 && b[at+9] == protoTCP {
			return at
		}
	}
	return -1
}

// innerEther is the length of the Ethernet header, with VLAN tags, that ends at inner and
// begins behind outer; 0 where the tunnel carries IP directly.
func innerEther(b []byte, outer, inner int) int {
	kind := uint16(unix.ETH_P_IP)
	if b[inner]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	if binary.BigEndian.Uint16(b[inner-2:]) != kind {
		return 0
	}
	n := etherLen
	for inner-n-etherTagLen > outer && n < etherLen+2*etherTagLen && vlanType(b[inner-n+12-etherTagLen:]) {
		n += etherTagLen
	}
	if inner-n <= outer || n > wrapMaxL2 {
		return 0
	}
	return n
}

func vlanType(b []byte) bool {
	kind := binary.BigEndian.Uint16(b)
	return kind == unix.ETH_P_8021Q || kind == unix.ETH_P_8021AD
}
