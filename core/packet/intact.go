package packet

import "encoding/binary"

// Offsets in VNet (struct virtio_net_hdr), and its flag for checksums that are to be filled in.
const (
	vnetStart  = 6
	vnetOffset = 8
	needsSum   = 1
)

// zeroSumPorts are the UDP ports of tunnels that may omit checksums over IPv6 (RFC 6935 5):
// GTP-U, LISP, VXLAN (also where Linux had it first), Geneve, MPLS.
var zeroSumPorts = [...]uint16{2152, 4341, 4789, 8472, 6081, 6635}

// Intact reports whether a packet has the checksums that a receiver demands: that of the IPv4
// header always, and that of TCP, UDP or ICMP unless an interface has verified it. One that the
// sender leaves to an offload is the offload's, if what the offload completes is right.
func (p *Packet) Intact(f *Frame) bool {
	switch {
	case !VerifyIPv4(p):
		return false
	case f.Flags&(ChecksumValid|Injected) != 0:
		return true
	case f.Flags&PartialChecksum != 0:
		return p.completes(f)
	}
	return VerifyTransport(p) || p.omitsSum()
}

// omitsSum reports whether a datagram over IPv6 may be without a checksum.
func (p *Packet) omitsSum() bool {
	t, field := p.segment()
	if p.Proto != ProtoUDP || field == 0 || t[field]|t[field+1] != 0 {
		return false
	}
	for _, port := range zeroSumPorts {
		if p.DstPort == port {
			return true
		}
	}
	return false
}

// completes reports whether the checksum becomes right when the offload that the frame's
// metadata describes fills it in: the sum from csum_start to the end, with the initial value of
// the field at csum_offset, which is replaced by the complement. So what it covers contributes
// the complement of the initial value, whatever its bytes are.
func (p *Packet) completes(f *Frame) bool {
	t, field := p.segment()
	if field == 0 || f.Flags&GSO != 0 || p.Proto != ProtoTCP && p.Proto != ProtoUDP {
		return true // each segment gets its own
	}
	if f.VNet[0]&needsSum == 0 {
		// Neither taps nor queues show where it starts: at an inner header of a tunnel, perhaps.
		return p.Proto != ProtoTCP || LooksOffloaded(p)
	}
	start := int(binary.LittleEndian.Uint16(f.VNet[vnetStart:])) - p.L3 - p.IPHeader
	at := start + int(binary.LittleEndian.Uint16(f.VNet[vnetOffset:]))
	if start < 0 {
		return VerifyTransport(p) // Linux verifies it, too: the offload is not the transport's
	}
	if start > len(t) || at+2 > len(t) {
		return false
	}
	if p.Proto == ProtoUDP && start > 0 && t[field]|t[field+1] == 0 {
		return !p.IPv6 || p.omitsSum()
	}
	if start == 0 && at != field {
		return false
	}
	seed := ^binary.BigEndian.Uint16(t[at:])
	return Checksum(t[:start&^1], PseudoSum(&p.Src, &p.Dst, p.Proto, len(t))+uint32(seed)) == 0 && start&1 == 0
}
