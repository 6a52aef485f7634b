package packet

import "encoding/binary"

// Sizes of answers: RFC 1812 4.3.2.3 for ICMP, RFC 4443 2.4(c) for ICMPv6.
const (
	maxICMPv4 = 576
	maxICMPv6 = 1280
	answerTTL = 64
	maxLink   = etherHeader + 4*maxTags

	// AnswerMax is a buffer size that is enough for every builder.
	AnswerMax = maxLink + maxICMPv6
)

// Reset describes a TCP reset.
type Reset struct {
	// Link is copied in front of the packet: an Ethernet header with its tags (LinkHeader), or
	// nothing for raw IP. With Back its two addresses are swapped.
	Link             []byte
	Back             bool
	IPv6             bool
	Src, Dst         Addr
	SrcPort, DstPort uint16
	Seq, Ack         uint32
	WithAck          bool // ACK is set and Ack is valid
}

// Unreachable describes an ICMP or ICMPv6 "administratively prohibited".
type Unreachable struct {
	// Link and Back are as in Reset.
	Link     []byte
	Back     bool
	IPv6     bool
	Src, Dst Addr
	// Quote is the offending packet from its IP header on (Packet.Network); as much of
	// it is quoted as fits.
	Quote []byte
}

// LinkHeader returns the Ethernet header and VLAN tags of the frame that p was decoded from,
// for an answer on the same link; nil for raw IP. ok is false where no answer can be built
// behind it: PPPoE, MPLS, LLC, and what is not IP.
func (p *Packet) LinkHeader(f *Frame) (header []byte, ok bool) {
	if p.Network == nil {
		return nil, false
	}
	if f.Link == RawIP {
		return nil, true
	}
	if p.L3 < etherHeader || p.L3 > maxLink || p.L3 > len(f.Data) {
		return nil, false
	}
	h := f.Data[:p.L3]
	for at := 12; at < len(h)-2; at += 4 {
		switch binary.BigEndian.Uint16(h[at:]) {
		case etherVLAN, etherQinQ, etherQinQ91, etherQinQ92:
		default:
			return nil, false
		}
	}
	kind := binary.BigEndian.Uint16(h[len(h)-2:])
	return h, kind == etherIPv4 || kind == etherIPv6
}

// MayAnswer reports whether RFC 1122 3.2.2 and RFC 4443 2.4(e) permit answering a packet with
// an ICMP error: it is no ICMP error, no later fragment, and neither its source nor its
// destination is multicast, broadcast or unspecified.
func (p *Packet) MayAnswer() bool {
	if p.Network == nil || p.FragOffset != 0 || p.Embedded != nil {
		return false
	}
	if p.DstMAC[0]&1 != 0 || several(&p.Src, p.IPv6) || several(&p.Dst, p.IPv6) {
		return false
	}
	if p.Src == (Addr{}) {
		return false
	}
	if p.IPv6 && p.Proto == ProtoICMPv6 && p.ICMPType == 137 { // redirect
		return false
	}
	return p.IPv6 || binary.BigEndian.Uint32(p.Src[12:]) != 0
}

// several reports whether an address is multicast or broadcast.
func several(a *Addr, ipv6 bool) bool {
	if ipv6 {
		return a[0] == 0xff
	}
	return a[12] >= 224
}

// ResetBack returns the reset that answers p towards its sender (RFC 9293 3.10.7.1). p is a
// completely decoded TCP packet; the caller sets Link.
func (p *Packet) ResetBack() Reset {
	r := Reset{Back: true, IPv6: p.IPv6, Src: p.Dst, Dst: p.Src, SrcPort: p.DstPort, DstPort: p.SrcPort}
	if p.Flags&ACK != 0 {
		r.Seq = p.Ack
		return r
	}
	r.WithAck = true
	r.Ack = p.Seq + uint32(p.PayloadWire)
	if p.Flags&SYN != 0 {
		r.Ack++
	}
	if p.Flags&FIN != 0 {
		r.Ack++
	}
	return r
}

// ResetOnward returns the reset that is sent to p's receiver instead of p. The caller sets
// Link.
func (p *Packet) ResetOnward() Reset {
	return Reset{IPv6: p.IPv6, Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort,
		Seq: p.Seq, Ack: p.Ack, WithAck: p.Flags&ACK != 0}
}

// BuildRST writes a reset into buf and returns its bytes; nil if buf is too
// small (AnswerMax is always enough).
func BuildRST(buf []byte, r Reset) []byte {
	b, t := start(buf, r.Link, r.Back, r.IPv6, 20)
	if b == nil {
		return nil
	}
	binary.BigEndian.PutUint16(t[0:], r.SrcPort)
	binary.BigEndian.PutUint16(t[2:], r.DstPort)
	binary.BigEndian.PutUint32(t[4:], r.Seq)
	t[12], t[13] = 5<<4, RST
	if r.WithAck {
		binary.BigEndian.PutUint32(t[8:], r.Ack)
		t[13] |= ACK
	}
	binary.BigEndian.PutUint16(t[16:], Checksum(t, PseudoSum(&r.Src, &r.Dst, ProtoTCP, len(t))))
	ipHeader(b[len(r.Link):], &r.Src, &r.Dst, r.IPv6, ProtoTCP)
	return b
}

// BuildUnreachable writes an ICMP destination unreachable, "communication administratively
// prohibited" (RFC 1812 5.2.7.1: type 3 code 13; RFC 4443 3.1: type 1 code 1), into buf and
// returns its bytes; nil if buf is too small (AnswerMax is always enough). MayAnswer reports
// whether it may be sent.
func BuildUnreachable(buf []byte, u Unreachable) []byte {
	room, proto := maxICMPv4-ipv4Header-8, uint8(ProtoICMP)
	if u.IPv6 {
		room, proto = maxICMPv6-ipv6Header-8, ProtoICMPv6
	}
	quote := u.Quote[:min(len(u.Quote), room)]
	b, t := start(buf, u.Link, u.Back, u.IPv6, 8+len(quote))
	if b == nil {
		return nil
	}
	copy(t[8:], quote)
	var pseudo uint32
	if u.IPv6 {
		t[0], t[1] = 1, 1
		pseudo = PseudoSum(&u.Src, &u.Dst, proto, len(t))
	} else {
		t[0], t[1] = 3, 13
	}
	binary.BigEndian.PutUint16(t[2:], Checksum(t, pseudo))
	ipHeader(b[len(u.Link):], &u.Src, &u.Dst, u.IPv6, proto)
	return b
}

// start lays out an answer in buf: the link header followed by zeros. It returns the whole
// answer and its last n bytes, the transport segment.
func start(buf, link []byte, back, ipv6 bool, n int) (whole, transport []byte) {
	head := len(link) + ipv4Header
	if ipv6 {
		head = len(link) + ipv6Header
	}
	if cap(buf) < head+n {
		return nil, nil
	}
	b := buf[:head+n]
	copy(b, link)
	clear(b[len(link):])
	if back && len(link) >= 12 {
		copy(b[0:6], link[6:12])
		copy(b[6:12], link[0:6])
	}
	return b, b[head:]
}

// ipHeader fills in the IP header of the packet b.
func ipHeader(b []byte, src, dst *Addr, ipv6 bool, proto uint8) {
	if ipv6 {
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Header))
		b[6], b[7] = proto, answerTTL
		copy(b[8:24], src[:])
		copy(b[24:40], dst[:])
		return
	}
	b[0] = 4<<4 | ipv4Header/4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // do not fragment: atomic, so the ID may be 0 (RFC 6864)
	b[8], b[9] = answerTTL, proto
	copy(b[12:16], src[12:])
	copy(b[16:20], dst[12:])
	binary.BigEndian.PutUint16(b[10:], Checksum(b[:ipv4Header], 0))
}
