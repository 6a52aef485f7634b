// Package sidecar knows the sidecars of service meshes: their addresses on the loopback
// interface, how to recover the original destination of a redirected connection, and how to
// match the two halves of one connection, plain on lo and encrypted outside. It is given
// values and returns decisions. It evaluates no policy, tracks nothing, and reads nothing
// from the system: its callers do that.
package sidecar

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// source is the address from which a sidecar connects to its application, Istio's
// InboundPassthroughBindIpv4 and -Ipv6.
var (
	source4 = [4]byte{127, 0, 0, 6}
	source6 = [16]byte{15: 6}
)

// Source returns the address from which a sidecar connects to its application, in network
// order: 4 bytes, or 16 for IPv6. The caller owns the slice.
func Source(ipv6 bool) []byte {
	if ipv6 {
		a := source6
		return a[:]
	}
	a := source4
	return a[:]
}

// End is the kind of address at one end of a packet on lo.
type End uint8

// Kinds of end.
const (
	Elsewhere  End = iota // another host's
	Own                   // the workload's own, on one of its other interfaces
	Loopback              // a loopback address: applications, and a sidecar that listens
	SidecarEnd            // Source: where a sidecar connects to its application from
)

// EndOf returns the kind of an address in network order, 4 or 16 bytes, by the address alone.
// Own is never returned: it takes the list of the workload's addresses.
func EndOf(addr []byte) End {
	switch len(addr) {
	case 4:
		switch {
		case addr[0] != 127:
			return Elsewhere
		case [4]byte(addr) == source4:
			return SidecarEnd
		}
		return Loopback
	case 16:
		// Istio adds ::6 to lo, beside ::1.
		switch {
		case binary.BigEndian.Uint64(addr) != 0 || binary.BigEndian.Uint64(addr[8:])>>8 != 0:
			return Elsewhere
		case [16]byte(addr) == source6:
			return SidecarEnd
		}
		return Loopback
	}
	return Elsewhere
}

// Local reports whether an address is an application's or a sidecar's own on lo.
func Local(a packet.Addr, ipv6 bool) bool {
	if ipv6 {
		return EndOf(a[:]) >= Loopback
	}
	return EndOf(a[12:]) >= Loopback
}

// Ends are the two ends of an IP packet. The addresses are borrowed from the packet, in
// network order.
type Ends struct {
	Src, Dst         []byte
	SrcPort, DstPort uint16
	Ports            bool // the ports are in the packet, and valid
}

// EndsOf reads the ends of an IP packet; ok is false where it is no IP packet or too short.
func EndsOf(ip []byte) (e Ends, ok bool) {
	if len(ip) < 20 {
		return Ends{}, false
	}
	l4 := 40
	switch {
	case ip[0]>>4 == 4:
		e.Src, e.Dst, l4 = ip[12:16], ip[16:20], int(ip[0]&15)*4
	case ip[0]>>4 == 6 && len(ip) >= 40:
		e.Src, e.Dst = ip[8:24], ip[24:40]
	default:
		return Ends{}, false
	}
	if e.Ports = len(ip) >= l4+4; e.Ports {
		e.SrcPort, e.DstPort = binary.BigEndian.Uint16(ip[l4:]), binary.BigEndian.Uint16(ip[l4+2:])
	}
	return e, true
}

// Direction returns the direction of a packet between an application and its sidecar, whose
// ends are of the kinds from and to. Egress is what the application sends. A redirect of the
// workload's own packets goes to the loopback address (nf_nat_redirect.c); the sidecar
// forwards what it received from outside from Source, or from its client's address.
func (e *Ends) Direction(from, to End) packet.Direction {
	switch {
	case from == SidecarEnd || to == Own && from != Own:
		return packet.Ingress
	case to == SidecarEnd || from == Own && to != Own:
		return packet.Egress
	case to == Loopback && from == Elsewhere:
		return packet.Egress
	case from == Loopback && to == Elsewhere:
		return packet.Ingress
	case !e.Ports:
		return packet.NoDirection
	case e.SrcPort >= e.DstPort: // clients' ports are usually the higher ones
		return packet.Egress
	}
	return packet.Ingress
}
