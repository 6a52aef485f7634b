// Package threat holds the conditions that show an attack and need no protocol: what no
// stack sends, and rates. It reports; what becomes of a packet is decided elsewhere.
package threat

import "github.com/sluicenet/sluice/core/packet"

// Threat numbers; those of the best-known system of the field where the same thing is meant.
const (
	BadPacket      uint16 = 2001
	Teardrop       uint16 = 2002
	SYNData        uint16 = 2003
	SplitHandshake uint16 = 2004
	PingOfDeath    uint16 = 2006
	SmallMSS       uint16 = 2025
	Overlap        uint16 = 2028
)

// minMSS is the smallest segment size that is believed to be meant.
const minMSS = 256

// Header looks for what no stack sends in a packet's headers; 0 and "" for nothing. The
// packet's Status is OK.
func Header(p *packet.Packet) (id uint16, text string) {
	if p.SourceRoute {
		return BadPacket, "source route"
	}
	switch p.Proto {
	case packet.ProtoTCP:
		return tcpHeader(p)
	case packet.ProtoUDP:
		if p.Src == p.Dst && p.SrcPort == p.DstPort && !loopback(p) {
			return BadPacket, "land"
		}
	}
	return 0, ""
}

func tcpHeader(p *packet.Packet) (id uint16, text string) {
	const all = packet.FIN | packet.SYN | packet.RST | packet.PSH | packet.ACK | packet.URG
	switch flags := p.Flags & all; {
	case flags == 0:
		return BadPacket, "tcp without flags (null scan)"
	case flags&(packet.SYN|packet.FIN) == packet.SYN|packet.FIN:
		return BadPacket, "tcp SYN with FIN"
	case flags&(packet.SYN|packet.RST) == packet.SYN|packet.RST:
		return BadPacket, "tcp SYN with RST"
	case flags&(packet.FIN|packet.ACK|packet.RST) == packet.FIN:
		return BadPacket, "tcp FIN without ACK"
	case flags&packet.SYN == 0:
		return 0, ""
	}
	switch {
	case p.Src == p.Dst && p.SrcPort == p.DstPort && !loopback(p):
		return BadPacket, "land"
	case p.MSS != 0 && p.MSS < minMSS:
		return SmallMSS, "tcp segment size below 256"
	case p.Flags&packet.ACK == 0 && p.PayloadWire > 0 && !p.FastOpen:
		return SYNData, "tcp SYN with data"
	}
	return 0, ""
}

// loopback says whether the packet stays on its host: there, source and destination
// may well be the same.
func loopback(p *packet.Packet) bool {
	if p.IPv6 {
		return p.Src[15] == 1 && p.Src == packet.Addr{15: 1}
	}
	return p.Src[12] == 127
}
