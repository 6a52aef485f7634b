package path

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
)

// Ports of DHCP (RFC 2131) and DHCPv6 (RFC 8415).
const (
	dhcpServer, dhcpClient   = 67, 68
	dhcp6Client, dhcp6Server = 546, 547
)

// Rate of address configuration by endpoint: messages at once, and then one in leaseEvery ns.
const (
	leaseBurst = 16
	leaseEvery = int64(250e6)
	leaseWait  = int64(60e9) // how long an answer may take, ns
	maxLeases  = 1 << 14
)

// lease is what is known of one endpoint as a client.
type lease struct {
	asked  [4]uint32      // the latest transactions
	until  int64          // until when they may be answered
	server [2]packet.Addr // who answered, of each family
	tokens int64          // messages that may pass now, times leaseEvery
	filled int64          // when tokens was updated
	next   uint8          // place in asked
}

// leases are the endpoints that configure their addresses. They are not sessions: hundreds of
// messages pin nothing.
type leases map[uint32]*lease

// message is a message of either protocol.
type message struct {
	xid     uint32
	asks    bool // the client's
	client  own.MAC
	hasMAC  bool
	ok      bool
	toGroup bool
}

// configures reports whether a datagram has the ports of address configuration.
func configures(p *packet.Packet) bool {
	if p.IPv6 {
		return p.DstPort == dhcp6Server && p.SrcPort == dhcp6Client || p.DstPort == dhcp6Client && p.SrcPort == dhcp6Server
	}
	return p.DstPort == dhcpServer && p.SrcPort == dhcpClient || p.DstPort == dhcpClient && p.SrcPort == dhcpServer
}

// admits reports whether a datagram is one between the workload as a client and its server: its
// content is that of the protocol, a question goes to everybody or to the server that answered
// before, and an answer belongs to a question. Everything else is judged like any datagram.
func (l leases) admits(c *packetContext, now int64) bool {
	p := c.p
	if c.f.Dir == packet.NoDirection || c.v.Loopback || len(p.Payload) != p.PayloadWire {
		return false
	}
	m := parseDHCP(p)
	if !m.ok || m.asks != (c.f.Dir == packet.Egress) {
		return false
	}
	e := l[c.v.ID]
	if e == nil {
		if len(l) >= maxLeases {
			clear(l)
		}
		e = &lease{tokens: leaseBurst * leaseEvery, filled: now}
		l[c.v.ID] = e
	}
	if m.asks {
		return e.asks(c, &m, now)
	}
	return e.answered(c, &m, now)
}

// asks handles a question of the workload.
func (e *lease) asks(c *packetContext, m *message, now int64) bool {
	family := familyOf(c.p)
	if c.verifies() && (m.hasMAC && !c.v.Sources.HasMAC(&m.client, own.Sent) || !unspecified(c.p) && !c.v.Sources.HasAddr(&c.p.Src, own.Sent)) {
		return false
	}
	if !m.toGroup && e.server[family] != c.p.Dst || !e.takeToken(now) {
		return false
	}
	for _, x := range e.asked {
		if x == m.xid {
			e.until = now + leaseWait
			return true
		}
	}
	e.asked[e.next&3] = m.xid
	e.next++
	e.until = now + leaseWait
	return true
}

// answered handles an answer to the workload. A client in a workload with queues asks by a packet
// socket, beside them, so that its question was not seen.
func (e *lease) answered(c *packetContext, m *message, now int64) bool {
	known := c.f.Link == packet.RawIP
	for _, x := range e.asked {
		known = known || x == m.xid && now < e.until
	}
	if !known || !e.takeToken(now) {
		return false
	}
	e.server[familyOf(c.p)] = c.p.Src
	return true
}

// takeToken reports whether another message may pass.
func (e *lease) takeToken(now int64) bool {
	if now > e.filled {
		e.tokens = min(leaseBurst*leaseEvery, e.tokens+now-e.filled)
		e.filled = now
	}
	if e.tokens < leaseEvery {
		return false
	}
	e.tokens -= leaseEvery
	return true
}

func familyOf(p *packet.Packet) int {
	if p.IPv6 {
		return 1
	}
	return 0
}

// parseDHCP reads a message of DHCP or DHCPv6.
func parseDHCP(p *packet.Packet) message {
	if p.IPv6 {
		return parseDHCP6(p)
	}
	b := p.Payload
	const options, cookie = 240, 0x63825363
	if len(b) < options || binary.BigEndian.Uint32(b[236:]) != cookie || b[2] > 16 {
		return message{}
	}
	m := message{xid: binary.BigEndian.Uint32(b[4:]), asks: b[0] == 1, toGroup: p.Dst == limitedBroadcast}
	if b[1] == 1 && b[2] == 6 {
		m.client, m.hasMAC = own.MAC(b[28:34]), true
	}
	kind := dhcpType(b[options:])
	switch {
	case m.asks && p.DstPort == dhcpServer:
		m.ok = kind == 1 || kind == 3 || kind == 4 || kind == 7 || kind == 8 // discover, request, decline, release, inform
	case b[0] == 2 && p.DstPort == dhcpClient:
		m.ok = kind == 2 || kind == 5 || kind == 6 // offer, ack, nak
	}
	return m
}

// dhcpType returns the message type among options (RFC 2132 9.6); 0 where they are malformed.
func dhcpType(b []byte) (kind byte) {
	for len(b) > 0 && b[0] != 255 {
		if b[0] == 0 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return 0
		}
		if b[0] == 53 && b[1] == 1 {
			kind = b[2]
		}
		b = b[2+int(b[1]):]
	}
	if len(b) == 0 {
		return 0 // RFC 2131 4.1: the end option is last
	}
	return kind
}

// parseDHCP6 reads a message of DHCPv6 between client and server (RFC 8415 8).
func parseDHCP6(p *packet.Packet) message {
	b := p.Payload
	if len(b) < 4 {
		return message{}
	}
	allServers := packet.Addr{0: 0xff, 1: 0x02, 13: 1, 15: 2} // ff02::1:2
	m := message{xid: binary.BigEndian.Uint32(b) & 0xffffff, toGroup: p.Dst == allServers}
	identified := false
	for o := b[4:]; len(o) > 0; {
		if len(o) < 4 {
			return message{}
		}
		n := 4 + int(binary.BigEndian.Uint16(o[2:]))
		if len(o) < n {
			return message{}
		}
		identified = identified || binary.BigEndian.Uint16(o) == 1 && n >= 6
		o = o[n:]
	}
	switch kind := b[0]; kind {
	case 1, 3, 4, 5, 6, 8, 9, 11: // solicit, request, confirm, renew, rebind, release, decline, information-request
		m.asks = true
		m.ok = p.DstPort == dhcp6Server && (identified || kind == 11)
	case 2, 7: // advertise, reply
		m.ok = p.DstPort == dhcp6Client
	}
	return m
}
