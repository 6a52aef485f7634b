package packet

import "encoding/binary"

// EtherTypes (IEEE 802 numbers, IANA) that the decoder knows.
const (
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	etherVLAN   = 0x8100
	etherQinQ   = 0x88a8
	etherQinQ91 = 0x9100 // tag protocols in use before 802.1ad
	etherQinQ92 = 0x9200
	etherPPPoE  = 0x8864
	etherMPLS   = 0x8847
	etherMPLSUp = 0x8848
	etherBridge = 0x6558 // transparent Ethernet bridging

	etherHeader = 14
	maxTags     = 8
	maxLabels   = 16
)

// Decode decodes a frame into p, replacing what it held. Slices of p are borrowed from
// f.Data. It reads fixed offsets, allocates nothing, and ends with one of the four outcomes
// whatever the bytes are. Checksums are not verified (VerifyTransport does that), as offloads
// leave them incomplete.
func (p *Packet) Decode(f *Frame) {
	*p = Packet{}
	b := f.Data
	wire := max(int(f.Wire), len(b))
	if f.Link == RawIP {
		p.SrcMAC = f.SrcMAC
		p.rawIP(b, wire, f.Flags)
		return
	}
	if len(b) < etherHeader {
		p.bad(short(wire >= etherHeader, ShortFrame))
		return
	}
	p.DstMAC = [6]byte(b[0:6])
	p.SrcMAC = [6]byte(b[6:12])
	if f.Flags&VLANStripped != 0 {
		p.VLAN = f.VLAN & 0xfff
	}
	switch kind := binary.BigEndian.Uint16(b[12:14]); kind {
	case etherIPv4:
		p.L3 = etherHeader
		p.ipv4(b[etherHeader:], wire-etherHeader, f.Flags)
	case etherIPv6:
		p.L3 = etherHeader
		p.ipv6(b[etherHeader:], wire-etherHeader, f.Flags)
	default:
		p.etherType(f, wire, kind)
	}
}

// DecodeQuoted decodes the packet quoted by an ICMP error (Embedded), often no more than the
// IP header and eight bytes. It reports whether addresses and, where the protocol has them,
// ports were found.
func (p *Packet) DecodeQuoted(b []byte) bool {
	// The quoted lengths are those of the original packet, so any is accepted.
	f := Frame{Data: b, Wire: 1 << 17, Flags: Truncated, Link: RawIP}
	p.Decode(&f)
	switch p.Status {
	case OK, Fragment:
		return true
	case Malformed:
		return p.Reason == CutShort && (p.SrcPort != 0 || p.DstPort != 0)
	}
	return false
}

// bad ends the decoding with a reason.
func (p *Packet) bad(r Reason) {
	p.Status, p.Reason = Malformed, r
}

// short returns the reason for missing bytes: the capture's fault where they were on the
// wire, else the sender's.
func short(onWire bool, r Reason) Reason {
	if onWire {
		return CutShort
	}
	return r
}

// rawIP dispatches on the version in the first nibble.
func (p *Packet) rawIP(b []byte, wire int, flags Flags) {
	if len(b) == 0 {
		p.bad(short(wire > 0, ShortIP))
		return
	}
	switch b[0] >> 4 {
	case 4:
		p.ipv4(b, wire, flags)
	case 6:
		p.ipv6(b, wire, flags)
	default:
		p.bad(BadIPVersion)
	}
}

// etherType decodes from the first EtherType, if that is neither IPv4 nor IPv6, to the IP
// header: VLAN tags, LLC/SNAP, PPPoE and MPLS, in any valid order.
func (p *Packet) etherType(f *Frame, wire int, kind uint16) {
	b, at := f.Data, etherHeader
	for tags := 0; ; {
		switch kind {
		case etherIPv4:
			p.L3 = at
			p.ipv4(b[at:], wire-at, f.Flags)
			return
		case etherIPv6:
			p.L3 = at
			p.ipv6(b[at:], wire-at, f.Flags)
			return
		case etherVLAN, etherQinQ, etherQinQ91, etherQinQ92:
			if tags++; tags > maxTags {
				p.bad(TooManyTags)
				return
			}
			if len(b) < at+4 {
				p.bad(short(wire >= at+4, ShortFrame))
				return
			}
			p.VLAN = binary.BigEndian.Uint16(b[at:]) & 0xfff
			kind = binary.BigEndian.Uint16(b[at+2:])
			at += 4
		case etherPPPoE, etherMPLS, etherMPLSUp:
			p.encapsulated(f, wire, at, kind)
			return
		default:
			// IEEE 802.3: up to 1500 it is a length, and LLC follows.
			if kind > 1500 || len(b) < at+8 || !isSNAP(b[at:]) || binary.BigEndian.Uint16(b[at+6:]) <= 1500 {
				p.Status, p.EtherType, p.L3 = NotIP, kind, at
				return
			}
			kind = binary.BigEndian.Uint16(b[at+6:])
			at += 8
		}
	}
}

// isSNAP reports whether b begins with LLC and SNAP (RFC 1042) of EtherTypes.
func isSNAP(b []byte) bool {
	return len(b) >= 8 && b[0] == 0xaa && b[1] == 0xaa && b[2] == 3 && b[3] == 0 && b[4] == 0 && b[5] == 0
}

// encapsulated strips a PPPoE header (RFC 2516) and MPLS labels.
func (p *Packet) encapsulated(f *Frame, wire, at int, kind uint16) {
	b := f.Data
	if kind == etherPPPoE {
		if len(b) < at+8 {
			p.bad(short(wire >= at+8, ShortFrame))
			return
		}
		proto, n := pppProto(b[at+6:])
		if b[at+1] != 0 || n == 0 { // anything but code 0, session data
			p.Status = NotIP
			return
		}
		at += 6 + n
		switch proto {
		case pppIPv4, pppIPv6:
			p.L3 = at
			p.rawIP(b[at:], wire-at, f.Flags)
			return
		case pppMPLS:
		default:
			p.Status = NotIP
			return
		}
	}
	n, r := mplsLen(b[at:], wire-at)
	if r != "" {
		p.bad(r)
		return
	}
	at += n
	if len(b) <= at || (b[at]>>4 != 4 && b[at]>>4 != 6) {
		p.Status = NotIP // a pseudo-wire, for instance
		return
	}
	p.L3 = at
	p.rawIP(b[at:], wire-at, f.Flags)
}

// PPP protocol numbers (IANA).
const (
	pppIPv4 = 0x0021
	pppIPv6 = 0x0057
	pppMPLS = 0x0281
)

// pppProto reads a PPP protocol field, which may be compressed to one byte (RFC 1661 6.5); n
// is 0 where there is none.
func pppProto(b []byte) (proto uint16, n int) {
	switch {
	case len(b) > 0 && b[0]&1 == 1:
		return uint16(b[0]), 1
	case len(b) > 1:
		return binary.BigEndian.Uint16(b), 2
	}
	return 0, 0
}

// mplsLen returns the length of a label stack (RFC 3032), to its bottom.
func mplsLen(b []byte, wire int) (int, Reason) {
	for i := range maxLabels {
		end := 4 * (i + 1)
		if len(b) < end {
			return 0, short(wire >= end, ShortFrame)
		}
		if b[end-2]&1 == 1 {
			return end, ""
		}
	}
	return 0, TooManyLabels
}
