package packet

import "encoding/binary"

// transport reads the header behind IP; t is its captured part and wire its length by the IP
// header.
func (p *Packet) transport(t []byte, wire int, flags Flags) {
	switch p.Proto {
	case ProtoTCP:
		p.tcp(t, wire)
	case ProtoUDP:
		p.udp(t, wire, flags)
	case ProtoICMP, ProtoICMPv6:
		if p.IPv6 == (p.Proto == ProtoICMPv6) {
			p.icmp(t, wire)
			return
		}
		p.Payload, p.PayloadWire = t, wire
	case ProtoSCTP:
		p.sctp(t, wire)
	default:
		p.Payload, p.PayloadWire = t, wire
	}
}

// fragment decodes what a fragment contains; only the first can hold the transport header. A
// header that is cut or invalid sets Reason; Status stays.
func (p *Packet) fragment(wire int) {
	data := p.Network[p.IPHeader:]
	if p.FragOffset == 0 && p.Reason == "" {
		p.Status = OK
		// GSO: the length in a UDP header is that of the whole datagram.
		p.transport(data, wire, GSO)
		ok := p.Status == OK
		p.Status = Fragment
		if ok {
			return
		}
		if p.Reason != CutShort && p.Reason != BadTCPOffset {
			p.Reason = TinyFragment
		}
	}
	p.Payload, p.PayloadWire = data, wire
}

// ports reads the two ports at the start of TCP, UDP and SCTP, if they are present.
func (p *Packet) ports(t []byte) {
	if len(t) >= 4 {
		p.SrcPort = binary.BigEndian.Uint16(t[0:2])
		p.DstPort = binary.BigEndian.Uint16(t[2:4])
	}
}

// tcp reads a TCP header (RFC 9293 3.1).
func (p *Packet) tcp(t []byte, wire int) {
	p.ports(t)
	if len(t) < 20 {
		if len(t) >= 8 {
			p.Seq = binary.BigEndian.Uint32(t[4:8])
		}
		p.bad(short(wire >= 20, ShortTCP))
		return
	}
	p.Seq = binary.BigEndian.Uint32(t[4:8])
	p.Ack = binary.BigEndian.Uint32(t[8:12])
	p.Flags = t[13]
	p.Window = binary.BigEndian.Uint16(t[14:16])
	head := int(t[12]>>4) * 4
	if head < 20 || head > wire {
		p.bad(BadTCPOffset)
		return
	}
	end := min(head, len(t))
	if end > 20 {
		p.tcpOptions(t[20:end])
	}
	p.Payload, p.PayloadWire = t[end:], wire-head
}

// timeOnly is how the options of most segments begin: two NOPs, and timestamps (RFC 7323,
// appendix A).
const timeOnly = 0x0101080a

// tcpOptions reads options; an invalid length ends the list. Some are valid in a SYN only.
func (p *Packet) tcpOptions(o []byte) {
	if len(o) == 12 && binary.BigEndian.Uint32(o) == timeOnly {
		p.HasTime, p.TimeValue = true, binary.BigEndian.Uint32(o[4:])
		return
	}
	for len(o) > 0 && o[0] != 0 {
		if o[0] == 1 {
			o = o[1:]
			continue
		}
		if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
			return
		}
		p.tcpOption(o[:o[1]])
		o = o[o[1]:]
	}
}

// tcpOption reads one option of two bytes or more.
func (p *Packet) tcpOption(o []byte) {
	switch {
	case o[0] == 8 && len(o) == 10:
		p.HasTime, p.TimeValue = true, binary.BigEndian.Uint32(o[2:])
	case o[0] == 19, o[0] == 29:
		p.Signed = true
	case p.Flags&SYN == 0:
	case o[0] == 2 && len(o) == 4:
		p.MSS = binary.BigEndian.Uint16(o[2:4])
	case o[0] == 3 && len(o) == 3:
		// RFC 7323 2.3: more than 14 is taken as 14.
		p.WScale, p.HasWScale = min(o[2], 14), true
	case o[0] == 34:
		p.FastOpen = true
	}
}

// udp reads a UDP header (RFC 768).
func (p *Packet) udp(t []byte, wire int, flags Flags) {
	p.ports(t)
	if len(t) < 8 {
		p.bad(short(wire >= 8, ShortUDP))
		return
	}
	length := int(binary.BigEndian.Uint16(t[4:6]))
	// RFC 2675 4: the length of a jumbogram is 0. Offloads may leave it open, or set that of one
	// segment.
	if flags&GSO != 0 || (length == 0 && wire > 0xffff) {
		length = wire
	}
	if length < 8 || length > wire {
		p.bad(BadUDPLength)
		return
	}
	p.Payload, p.PayloadWire = t[8:min(length, len(t))], length-8
}

// icmp reads an ICMP header (RFC 792, RFC 4443) of either family.
func (p *Packet) icmp(t []byte, wire int) {
	if len(t) < 8 {
		p.bad(short(wire >= 8, ShortICMP))
		return
	}
	p.ICMPType, p.ICMPCode = t[0], t[1]
	p.Payload, p.PayloadWire = t[8:], wire-8
	if p.IPv6 {
		switch p.ICMPType {
		case 128, 129, 160, 161: // echo, extended echo
			p.SrcPort = binary.BigEndian.Uint16(t[4:6])
		case 1, 2, 3, 4:
			p.Embedded = t[8:]
		}
		return
	}
	switch p.ICMPType {
	case 0, 8, 13, 14, 15, 16, 17, 18, 42, 43: // echo, timestamp, information, mask, extended echo
		p.SrcPort = binary.BigEndian.Uint16(t[4:6])
	case 3, 4, 5, 11, 12:
		p.Embedded = t[8:]
	}
}

// sctp reads the SCTP common header (RFC 9260 3.1).
func (p *Packet) sctp(t []byte, wire int) {
	p.ports(t)
	if len(t) < 12 {
		p.bad(short(wire >= 12, ShortSCTP))
		return
	}
	p.Payload, p.PayloadWire = t[12:], wire-12
}
