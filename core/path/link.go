package path

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/threat"
)

// EtherTypes (IANA) that are judged beside IP.
const (
	etherARP   = 0x0806
	etherEAPOL = 0x888e // IEEE 802.1X
	etherLLDP  = 0x88cc // IEEE 802.1AB
	etherSlow  = 0x8809 // IEEE 802.3 57A: LACP
	maxLLC     = 1500   // up to here the field is a length (IEEE 802.3)
	llcSTP     = 0x4242 // both LLC addresses of IEEE 802.1D
	arpLength  = 28
	arpPadded  = 46 // the payload of the shortest Ethernet frame
)

// judge judges a packet by the link; done is false where policy decides about it.
func (l *links) judge(c *packetContext) (a packet.Action, done bool) {
	if a, done := l.maintenance(c); done {
		return a, true
	}
	if l.capture || c.f.Dir == packet.NoDirection || c.v.Loopback {
		return packet.Undecided, false
	}
	if text := threat.Refused(c.p); text != "" {
		l.ses.out.threat(c, l.ses.now, threat.BadPacket, text)
		return l.drop(c, counter.UnroutableFrames, counter.Unroutable), true
	}
	if !l.sent(c) {
		return l.refuseSender(c), true
	}
	return packet.Undecided, false
}

// notIP judges a frame that is not IP. ARP passes where it claims nothing that is not the
// sender's, and so do the protocols of the link itself: LLDP, LACP, 802.1X and STP, to the group
// addresses that no bridge forwards (IEEE 802.1Q 8.6.3). Everything else could carry anything.
func (l *links) notIP(c *packetContext) packet.Action {
	n := &l.ses.out.count
	n[counter.NotIP]++
	body := c.f.Data[min(c.p.L3, len(c.f.Data)):]
	switch {
	case c.p.EtherType == etherARP:
		return l.arp(c, body)
	case linkProtocol(c.p, body):
		n[counter.LinkFrames]++
		return packet.Pass
	}
	if l.ses.out.admits(threatKey{threat.BadPacket, c.v.ID, c.p.Src}, l.ses.now) {
		l.ses.out.report(c, l.ses.now, threat.BadPacket, fmt.Sprintf("frame that is not IP: type 0x%04x to %s", c.p.EtherType, net.HardwareAddr(c.p.DstMAC[:])))
	}
	return l.drop(c, counter.NotIPRefused, counter.NotIPFrame)
}

// linkProtocol reports whether a frame is one of a protocol between the two ends of a link.
func linkProtocol(p *packet.Packet, body []byte) bool {
	if [5]byte(p.DstMAC[:5]) != [5]byte{0x01, 0x80, 0xc2, 0, 0} || p.DstMAC[5] > 0x0f {
		return false
	}
	switch p.EtherType {
	case etherEAPOL, etherLLDP, etherSlow:
		return true
	}
	return p.EtherType <= maxLLC && len(body) >= 3 && binary.BigEndian.Uint16(body) == llcSTP && body[2] == 3
}

// arp judges an ARP frame (RFC 826): its sender's addresses must be the sender's. A probe (RFC
// 5227) has no sender's IP address and claims nothing.
func (l *links) arp(c *packetContext, b []byte) packet.Action {
	if !wellFormedARP(b, c.f.Dir) {
		l.ses.out.threat(c, l.ses.now, threat.BadPacket, "malformed arp")
		return l.drop(c, counter.Malformed, counter.MalformedFrame)
	}
	mac := own.MAC(b[8:14])
	c.p.Src, c.p.Dst = mapped4(b[14:18]), mapped4(b[24:28])
	probe := c.p.Src == mapped4([]byte{0, 0, 0, 0})
	if !l.neighbour(c, &c.p.Src, &mac, probe) {
		return l.refuseSource(c, "arp: %s is at %s", c.p.Src.Netip(), net.HardwareAddr(mac[:]))
	}
	l.ses.out.count[counter.ARP]++
	return packet.Pass
}

// neighbour reports whether a frame may state that an address is at a MAC address; a probe states
// nothing about the address.
func (l *links) neighbour(c *packetContext, a *packet.Addr, mac *own.MAC, probe bool) bool {
	switch {
	case !c.verifies() || c.v.Sources.Forwards():
		return true
	case c.f.Dir == packet.Egress:
		return c.v.Sources.HasMAC(mac, own.Sent) && (probe || c.v.Sources.HasAddr(a, own.Sent))
	}
	return probe || l.claims(c, a, mac)
}

// wellFormedARP reports whether b is an ARP request or reply for IPv4 over Ethernet, and nothing
// more: what the workload sends has zeros behind it at most.
func wellFormedARP(b []byte, dir packet.Direction) bool {
	if len(b) < arpLength || len(b) > arpPadded || binary.BigEndian.Uint64(b)>>16 != 0x0001_0800_0604 {
		return false
	}
	if op := binary.BigEndian.Uint16(b[6:]); op != 1 && op != 2 {
		return false
	}
	return dir != packet.Egress || zeros(b[arpLength:])
}

func zeros(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// mapped4 returns the Addr of an IPv4 address.
func mapped4(b []byte) packet.Addr {
	return packet.Addr{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
}

// maintenance judges the packets that keep a link and its addresses going, which are not subject
// to policy and open no session: neighbour discovery, listener reports, address configuration.
// done is false for everything else, also for what only looks like them.
func (l *links) maintenance(c *packetContext) (a packet.Action, done bool) {
	switch c.p.Proto {
	case packet.ProtoICMPv6:
		if c.p.ICMPType >= 133 && c.p.ICMPType <= 136 {
			return l.discovery(c)
		}
		done = listener6(c.p)
	case protoIGMP:
		done = listener4(c.p)
	case packet.ProtoUDP:
		if configures(c.p) && l.leases.admits(c, l.ses.now) {
			l.ses.out.count[counter.AddressAcquired]++
			return packet.Pass, true
		}
		return packet.Undecided, false
	}
	if !done {
		return packet.Undecided, false
	}
	if c.f.Dir == packet.Egress && c.verifies() && !unspecified(c.p) && !l.sent(c) {
		return l.refuseSender(c), true
	}
	l.ses.out.count[counter.Neighbours]++
	return packet.Pass, true
}

// unspecified reports whether a packet has no source address.
func unspecified(p *packet.Packet) bool {
	return p.Src == packet.Addr{} || !p.IPv6 && p.Src == packet.Addr{10: 0xff, 11: 0xff}
}
