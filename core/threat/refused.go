package threat

import "github.com/sluicenet/sluice/core/packet"

// Refused returns why no host may believe a packet that came over a link, whatever policy allows;
// "" where none applies. Linux discards most of them by default, but not in all configurations.
//
//   - Source routes (RFC 7126 4.3, RFC 5095): they lead past the destination that was judged.
//   - Source and destination are the same address ("land").
//   - A loopback address (RFC 1122 3.2.1.3, RFC 4291 2.5.3).
//   - A source that is a group's address or broadcast (RFC 1122 3.2.1.3, RFC 4291 2.7).
//   - Redirects (RFC 4890 4.3.2): they divert others' traffic.
func Refused(p *packet.Packet) (text string) {
	switch {
	case p.SourceRoute:
		return "source route"
	case p.Src == p.Dst:
		return "land"
	case p.IPv6:
		return refused6(p)
	case p.Src[12] == 127 || p.Dst[12] == 127:
		return "loopback address on a link"
	case p.Src[12] >= 224:
		return "source is a group or broadcast address"
	case p.Proto == packet.ProtoICMP && p.ICMPType == 5:
		return "icmp redirect"
	}
	return ""
}

func refused6(p *packet.Packet) string {
	one := packet.Addr{15: 1}
	switch {
	case p.Src == one || p.Dst == one:
		return "loopback address on a link"
	case p.Src[0] == 0xff:
		return "source is a group or broadcast address"
	case p.Proto == packet.ProtoICMPv6 && p.ICMPType == 137:
		return "icmp redirect"
	}
	return ""
}
