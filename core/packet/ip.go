package packet

import "encoding/binary"

// IPv6 extension headers (IANA) that the decoder skips.
const (
	extHopByHop = 0
	extRouting  = 43
	extFragment = 44
	extAuth     = 51
	extOptions  = 60
	extMobility = 135
	extHIP      = 139
	extShim6    = 140

	ipv4Header    = 20
	ipv6Header    = 40
	maxExtensions = 12
)

// mapped is bytes 8 to 11 of an IPv4-mapped address, as the upper half of 8 bytes.
const mapped = 0x0000ffff << 32

// ipv4 reads an IPv4 header (RFC 791); wire is the length from b on that was on the wire.
func (p *Packet) ipv4(b []byte, wire int, flags Flags) {
	if len(b) < ipv4Header {
		p.bad(short(wire >= ipv4Header, ShortIP))
		return
	}
	if b[0]>>4 != 4 {
		p.bad(BadIPVersion)
		return
	}
	head := int(b[0]&15) * 4
	total := int(binary.BigEndian.Uint16(b[2:4]))
	if total == 0 && (flags&GSO != 0 || wire > 0xffff) {
		total = wire // segmentation offload and BIG TCP leave it open
	}
	binary.BigEndian.PutUint64(p.Src[8:], mapped|uint64(binary.BigEndian.Uint32(b[12:16])))
	binary.BigEndian.PutUint64(p.Dst[8:], mapped|uint64(binary.BigEndian.Uint32(b[16:20])))
	p.TTL, p.Proto = b[8], b[9]
	if total < ipv4Header || total > wire {
		p.bad(BadTotalLength)
		return
	}
	if head < ipv4Header || head > total {
		p.bad(BadIHL)
		return
	}
	p.Network = b[:min(total, len(b))]
	p.IPHeader = head
	if head > ipv4Header {
		if head > len(p.Network) {
			p.bad(CutShort)
			return
		}
		p.SourceRoute = sourceRoute(b[ipv4Header:head])
		p.routed = p.SourceRoute
	}
	if p.Proto == extAuth && !p.auth(total) {
		return
	}
	if piece := binary.BigEndian.Uint16(b[6:8]); piece&0x3fff != 0 {
		p.Status = Fragment
		p.FragID = uint32(binary.BigEndian.Uint16(b[4:6]))
		p.FragOffset = (piece & 0x1fff) << 3
		p.MoreFrags = piece&0x2000 != 0
		p.fragment(total - p.IPHeader)
		return
	}
	p.transport(p.Network[p.IPHeader:], total-p.IPHeader, flags)
}

// auth skips an authentication header (RFC 4302) of a complete IPv4 packet; that of a
// fragment is not skipped.
func (p *Packet) auth(total int) bool {
	if binary.BigEndian.Uint16(p.Network[6:8])&0x3fff != 0 {
		return true
	}
	at := p.IPHeader
	if len(p.Network) < at+12 {
		p.bad(short(total >= at+12, BadExtension))
		return false
	}
	end := at + (int(p.Network[at+1])+2)*4
	if end > len(p.Network) {
		p.bad(short(total >= end, BadExtension))
		return false
	}
	p.Proto, p.IPHeader = p.Network[at], end
	return true
}

// sourceRoute reports whether IPv4 options hold LSRR (131) or SSRR (137). An invalid option
// ends the search.
func sourceRoute(o []byte) bool {
	for len(o) > 0 && o[0] != 0 {
		switch {
		case o[0] == 131, o[0] == 137:
			return true
		case o[0] == 1:
			o = o[1:]
			continue
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return false
		}
		o = o[o[1]:]
	}
	return false
}

// ipv6 reads an IPv6 header (RFC 8200) and its extension headers.
func (p *Packet) ipv6(b []byte, wire int, flags Flags) {
	if len(b) < ipv6Header {
		p.bad(short(wire >= ipv6Header, ShortIP))
		return
	}
	if b[0]>>4 != 6 {
		p.bad(BadIPVersion)
		return
	}
	p.IPv6 = true
	p.Src = Addr(b[8:24])
	p.Dst = Addr(b[24:40])
	p.Proto, p.TTL = b[6], b[7]
	total := ipv6Header + int(binary.BigEndian.Uint16(b[4:6]))
	if total == ipv6Header && wire > ipv6Header {
		total = openLength(b, wire, flags)
	}
	if total > wire {
		p.bad(BadPayloadLength)
		return
	}
	p.Network = b[:min(total, len(b))]
	p.IPHeader = ipv6Header
	if isExtension(p.Proto) && !p.extensions(total) {
		return
	}
	if p.Status == Fragment {
		p.fragment(total - p.IPHeader)
		return
	}
	p.transport(p.Network[p.IPHeader:], total-p.IPHeader, flags)
}

// openLength returns the length of an IPv6 packet whose payload length is 0: that of the
// jumbo payload option (RFC 2675) in a leading hop-by-hop header, or the frame's where an
// offload left it open.
func openLength(b []byte, wire int, flags Flags) int {
	if b[6] == extHopByHop && len(b) >= ipv6Header+8 {
		end := min(ipv6Header+(int(b[ipv6Header+1])+1)*8, len(b))
		for o := b[ipv6Header+2 : end]; len(o) >= 2; {
			if o[0] == 0 { // Pad1
				o = o[1:]
				continue
			}
			if o[0] == 0xc2 && o[1] == 4 && len(o) >= 6 {
				// Compared before the sum, so that 32-bit machines cannot wrap.
				n := binary.BigEndian.Uint32(o[2:6])
				return ipv6Header + int(min(n, 1<<30))
			}
			if int(o[1])+2 > len(o) {
				break
			}
			o = o[int(o[1])+2:]
		}
	}
	if flags&GSO != 0 || wire > 0xffff+ipv6Header {
		return wire
	}
	return ipv6Header
}

// isExtension reports whether a next-header value is an extension header that the decoder
// skips.
func isExtension(next uint8) bool {
	switch next {
	case extHopByHop, extRouting, extFragment, extAuth, extOptions, extMobility, extHIP, extShim6:
		return true
	}
	return false
}

// extensions skips extension headers, advancing IPHeader and Proto. At a fragment header that
// is not atomic (RFC 6946) Status becomes Fragment; the remaining headers of a first fragment
// are read as far as they are present. It reports whether the packet is still valid.
func (p *Packet) extensions(total int) bool {
	n := p.Network
	for range maxExtensions {
		at := p.IPHeader
		if p.Status == Fragment && p.FragOffset != 0 || !isExtension(p.Proto) {
			return true
		}
		if len(n) < at+8 {
			return p.extensionEnds(short(total >= at+8, BadExtension))
		}
		size := (int(n[at+1]) + 1) * 8
		switch p.Proto {
		case extAuth:
			size = (int(n[at+1]) + 2) * 4
		case extRouting:
			p.SourceRoute = p.SourceRoute || n[at+2] == 0
			p.routed = p.routed || n[at+3] != 0 // segments left
		case extFragment:
			size = 8
			if p.FragHeader != 0 { // a second one: nested, or a disguise
				return p.extensionEnds(BadExtension)
			}
			p.FragHeader = at
			piece := binary.BigEndian.Uint16(n[at+2:])
			if piece&0xfff9 != 0 {
				p.Status = Fragment
				p.FragID = binary.BigEndian.Uint32(n[at+4:])
				p.FragOffset = piece & 0xfff8
				p.MoreFrags = piece&1 != 0
			}
		}
		if at+size > len(n) {
			return p.extensionEnds(short(total >= at+size, BadExtension))
		}
		p.Proto = n[at]
		p.IPHeader = at + size
	}
	if !isExtension(p.Proto) {
		return true
	}
	return p.extensionEnds(TooManyExtensions)
}

// extensionEnds handles an extension header that cannot be read: for a fragment only the
// reason is stored, as the reassembled datagram is decoded again.
func (p *Packet) extensionEnds(r Reason) bool {
	if p.Status != Fragment {
		p.bad(r)
		return false
	}
	if r == BadExtension {
		// RFC 7112: the first fragment must hold the whole header chain.
		r = TinyFragment
	}
	p.Reason = r
	return true
}
