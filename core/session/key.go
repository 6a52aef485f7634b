package session

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// Key identifies a session of one workload. It is canonical: (A, APort) is not greater than
// (B, BPort), bytewise, so that both directions find the same session. For ICMP echo both
// ports are the identifier; protocols without ports have 0.
type Key struct {
	A, B         packet.Addr
	APort, BPort uint16
	// Workload is the number under which the sessions of a workload are kept, whichever of its
	// interfaces their frames take; core/path assigns it.
	Workload uint32
	Proto    uint8
	IPv6     bool
}

// KeyOf returns the key of a decoded packet, whose Status is OK; swapped is true if its
// source is B.
func KeyOf(p *packet.Packet, workload uint32) (k Key, swapped bool) {
	src, dst := p.SrcPort, p.DstPort
	if p.Proto == packet.ProtoICMP || p.Proto == packet.ProtoICMPv6 {
		dst = src // the decoder returns the echo identifier as source, 0 for all else
	}
	k.Workload, k.Proto, k.IPv6 = workload, p.Proto, p.IPv6
	if swapped = less(&p.Dst, dst, &p.Src, src); swapped {
		k.A, k.B, k.APort, k.BPort = p.Dst, p.Src, dst, src
	} else {
		k.A, k.B, k.APort, k.BPort = p.Src, p.Dst, src, dst
	}
	return k, swapped
}

// less reports whether (a, ap) sorts before (b, bp).
func less(a *packet.Addr, ap uint16, b *packet.Addr, bp uint16) bool {
	if x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8]); x != y {
		return x < y
	}
	if x, y := binary.BigEndian.Uint64(a[8:]), binary.BigEndian.Uint64(b[8:]); x != y {
		return x < y
	}
	return ap < bp
}
