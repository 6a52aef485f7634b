package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/parsers"
)

// quicServers remembers the last named session with each QUIC server, by which connections are
// recognised that continue from another port or address (RFC 9000 9). Their packets show no
// handshake, and mostly another connection id, which only the two ends know, so that the server is
// all that identifies them. A datagram to a QUIC server's port reaches no other application.
type quicServers map[quicServer]quicSession

type quicServer struct {
	endpoint uint32
	addr     packet.Addr
	port     uint16
	ipv6     bool
}

type quicSession struct {
	handle uint32
	id     uint64
}

const (
	maxQUICServers = 1024
	// minShortHeader is the length of the shortest datagram that a QUIC peer believes (RFC 9000 10.3).
	minShortHeader = 21
)

// rememberQUIC remembers a session that was named QUIC. A full list is replaced by an empty one.
func (l *lifecycle) rememberQUIC(s *session.Session) {
	if s.Base != uint16(app.QUIC) || s.Key.Proto != packet.ProtoUDP {
		return
	}
	k := quicServer{endpoint: s.Key.Workload, ipv6: s.Key.IPv6}
	k.addr, k.port = s.Server()
	if _, ok := l.quic[k]; !ok && len(l.quic) >= maxQUICServers || l.quic == nil {
		l.quic = make(quicServers)
	}
	l.quic[k] = quicSession{l.table.Ref(s), s.ID}
}

// migrated names a new session that continues a QUIC connection. Policy judges it by its own ends.
func migrated(l *lifecycle, c *packetContext, s *session.Session) {
	p := c.p
	if len(l.quic) == 0 || p.PayloadWire < minShortHeader || len(p.Payload) == 0 || p.Payload[0]&0xc0 != 0x40 {
		return
	}
	at := quicServer{c.v.number(), p.Dst, p.DstPort, p.IPv6}
	q, ok := l.quic[at]
	if !ok { // the server may prefer another address of its own (RFC 9000 9.6)
		for _, at.addr = range c.v.besides(&p.Dst, p.IPv6) {
			if q, ok = l.quic[at]; ok {
				break
			}
		}
	}
	if !ok {
		return
	}
	before := l.table.At(q.handle)
	if before == nil || before.ID != q.id || dead(before) || before.Base != uint16(app.QUIC) || before.Flags&session.Answered == 0 {
		return
	}
	s.App, s.Base, s.Strength = before.App, before.Base, uint8(parsers.Likely)
	s.Marks |= session.Identified
}
