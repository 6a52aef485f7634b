package packet

import "encoding/binary"

// Probe describes a TCP segment without payload that its receiver does not accept, and so
// answers with an ACK of its present numbers (RFC 9293 3.10.7.4).
type Probe struct {
	// Link is copied in front of the packet, as in Reset.
	Link             []byte
	IPv6             bool
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Seq, Ack         uint32
}

// EthernetHeader returns the header of a frame from one address to another.
func EthernetHeader(to, from [6]byte, ipv6 bool) (h [etherHeader]byte) {
	copy(h[0:], to[:])
	copy(h[6:], from[:])
	kind := uint16(etherIPv4)
	if ipv6 {
		kind = etherIPv6
	}
	binary.BigEndian.PutUint16(h[12:], kind)
	return h
}

// BuildProbe writes a probe into buf and returns its bytes; nil if buf is too small
// (AnswerMax is always enough).
func BuildProbe(buf []byte, p *Probe) []byte {
	b, t := start(buf, p.Link, false, p.IPv6, 20)
	if b == nil {
		return nil
	}
	binary.BigEndian.PutUint16(t[0:], p.SrcPort)
	binary.BigEndian.PutUint16(t[2:], p.DstPort)
	binary.BigEndian.PutUint32(t[4:], p.Seq)
	binary.BigEndian.PutUint32(t[8:], p.Ack)
	t[12], t[13] = 5<<4, ACK
	binary.BigEndian.PutUint16(t[16:], Checksum(t, PseudoSum(&p.Src, &p.Dst, ProtoTCP, len(t))))
	ipHeader(b[len(p.Link):], &p.Src, &p.Dst, p.IPv6, ProtoTCP)
	return b
}
