// Package threat holds the attack conditions that need no protocol parser: packets that no
// network stack sends, and rates. It only detects; the engine decides about the packet.
package threat

import "github.com/sluicenet/sluice/core/packet"

// Threat numbers; NeuVector's where the meaning is the same.
const (
	// SessionLimit: a workload has its share of the session table, and its own sessions make room.
	SessionLimit   uint16 = 1003
	BadPacket      uint16 = 2001
	Teardrop       uint16 = 2002
	SYNData        uint16 = 2003
	SplitHandshake uint16 = 2004
	PingOfDeath    uint16 = 2006
	SmallMSS       uint16 = 2025
	Overlap        uint16 = 2028
	// Spoofed: a packet, or a claim of ARP or neighbour discovery, with an address that is not the
	// sender's.
	Spoofed uint16 = 3001
	// BadChecksum: a packet that its receiver discards because of a wrong checksum.
	BadChecksum uint16 = 3002
	// Bounce: a session announces a connection to an address that is not its end's, or to a port of
	// another service, for the other end to open.
	Bounce uint16 = 3003
)

// minMSS is the smallest segment size accepted as legitimate.
const minMSS = 256

// Header checks a packet's headers for what no network stack sends; 0 and "" for none. The
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

// loopback reports whether the packet stays on its host: there, source and destination may be
// equal.
func loopback(p *packet.Packet) bool {
	if p.IPv6 {
		return p.Src[15] == 1 && p.Src == packet.Addr{15: 1}
	}
	return p.Src[12] == 127
}
