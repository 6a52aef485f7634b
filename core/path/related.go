package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/related"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
	"github.com/sluicenet/sluice/parsers"
)

// How long a connection is expected, ns.
const (
	dataWithin   = int64(60e9)  // after it was announced
	mediaWithin  = int64(180e9) // the same, where a person answers first
	answerWithin = int64(30e9)  // after the last question to a group
)

// expireExpected is how many expectations one batch examines for their end.
const expireExpected = 64

// lowestService is the first port that may be announced: those below are of other services
// (RFC 6335 6). Servers that a port mapper locates (RFC 1833) are given those from lowestMapped on.
const (
	lowestService = 1024
	lowestMapped  = 600
)

// relation is the session that another one belongs to.
type relation struct {
	parent uint32 // its handle
	id     uint64 // its number; with another one there the handle is not its any more
	query  policy.Query
	detail *flow.Detail
}

// found is an expectation that a packet meets.
type found struct {
	related.Expectation
	parent *session.Session
	claim  role.Claim
}

// findExpected returns the expectation that the packet which opens a session meets: its session is
// alive, and policy lets it pass.
func findExpected(l *lifecycle, c *packetContext) (f found, ok bool) {
	toward, ok := lookExpected(l, c, &f)
	if !ok {
		return f, false
	}
	if !f.Many {
		l.expected.Remove(&f.Key)
	}
	f.claim = role.Claim{FromSource: toward != f.AtIsClient, Firm: true, Evidence: flow.EvidenceHandshake}
	f.claim.Midstream = c.p.Proto == packet.ProtoTCP && !opensTCP(c.p)
	return f, true
}

// awaited reports whether a packet of a denied session begins one that is expected meanwhile.
func awaited(l *lifecycle, c *packetContext) bool {
	if l.expected.Len() == 0 || c.p.Proto == packet.ProtoTCP && !opensTCP(c.p) {
		return false
	}
	var f found
	_, ok := lookExpected(l, c, &f)
	return ok
}

// lookExpected finds the expectation that a packet meets; toward reports whether the packet is sent
// to the expecting end.
func lookExpected(l *lifecycle, c *packetContext, f *found) (toward, ok bool) {
	if l.expected.Len() == 0 {
		return false, false
	}
	p := c.p
	k := related.Key{Endpoint: c.v.number(), Proto: p.Proto, IPv6: p.IPv6, At: p.Dst, Port: p.DstPort, From: p.Src}
	either := false
	switch p.Proto {
	case packet.ProtoTCP:
		either = !opensTCP(p)
	case packet.ProtoUDP:
		either = true
	case packet.ProtoICMP, packet.ProtoICMPv6:
		if !echoReply(p) {
			return false, false
		}
		k.Port = p.SrcPort // the identifier
	default:
		return false, false
	}
	f.Expectation, ok = expects(l, c, &k, c.f.Dir == packet.Egress || onLink(l, c, &p.Src))
	toward = ok
	if !ok && either { // it may be the expecting end whose packet is seen first
		k.At, k.Port, k.From = p.Src, p.SrcPort, p.Dst
		f.Expectation, ok = expects(l, c, &k, false)
	}
	if !ok {
		return false, false
	}
	if f.parent = l.table.At(f.Session); f.parent == nil || !f.backs(f.parent) {
		l.expected.Remove(&f.Key)
		return false, false
	}
	return toward, true
}

// opensTCP reports whether a segment is the first of a connection.
func opensTCP(p *packet.Packet) bool { return p.Flags&(packet.SYN|packet.ACK) == packet.SYN }

// backs reports whether the session that announced an expectation still is what it was.
func (f *found) backs(parent *session.Session) bool {
	return parent.ID == f.ID && !dead(parent) && (f.By == app.Undecided || parent.App == uint16(f.By) || parent.Base == uint16(f.By))
}

// echoReply reports whether a packet answers an ICMP echo request.
func echoReply(p *packet.Packet) bool {
	return p.Proto == packet.ProtoICMP && p.ICMPType == 0 || p.Proto == packet.ProtoICMPv6 && p.ICMPType == 129
}

// echoRequest reports whether a packet is an ICMP echo request.
func echoRequest(p *packet.Packet) bool {
	return p.Proto == packet.ProtoICMP && p.ICMPType == 8 || p.Proto == packet.ProtoICMPv6 && p.ICMPType == 128
}

// onLink reports whether an address is one of the workload's link. Of captures it is unknown.
func onLink(l *lifecycle, c *packetContext, a *packet.Addr) bool {
	if c.v.Sources == nil {
		return l.cfg.Capture || !c.v.Inline
	}
	return c.v.Sources.OnLink(a)
}

// relate makes a new session one that belongs to another.
func relate(l *lifecycle, s *session.Session, f *found) {
	s.Marks |= session.Related
	l.decide.relations.record(s, relation{parent: f.Session, id: f.ID, query: l.decide.query(f.parent), detail: describe(&l.decide, f.parent)})
	if f.AtIsClient && !f.claim.FromSource && f.parent.Flags&session.Answered == 0 { // from another address or port
		f.parent.Flags |= session.Answered
		f.parent.Marks |= session.Changed
	}
	l.out.count[counter.RelatedSessions]++
	a, base := f.App, f.App
	if a == app.Undecided && f.By == app.Undecided { // an answer is of the question's application
		a, base = app.ID(f.parent.App), app.ID(f.parent.Base)
	}
	if a == app.Undecided || a == app.Unknown || s.Marks&session.Identified != 0 {
		return
	}
	s.App, s.Base, s.Strength = uint16(a), uint16(base), uint8(parsers.Likely)
	s.Marks |= session.Identified
}

// asks expects unicast answers to the question that a new session to a multicast or broadcast
// address is: from hosts on the link to the port that asks. They could all hear the question, so
// that its sender reaches none by it that it did not reach before.
func asks(l *lifecycle, c *packetContext, s *session.Session) {
	switch {
	case c.p.Proto != packet.ProtoUDP && !echoRequest(c.p), c.p.SrcPort == 0, unspecified(c.p), c.v.Loopback:
		return
	case c.f.Dir == packet.Ingress && !onLink(l, c, &c.p.Src):
		return
	}
	s.Marks |= session.Asks
	expectAnswers(l, s, l.now)
}

// expectAnswers expects answers to a question that was asked last at a time.
func expectAnswers(l *lifecycle, s *session.Session, asked int64) {
	addr, port := s.Client()
	e := related.Expectation{
		Key:     related.Key{Endpoint: s.Key.Workload, Proto: s.Key.Proto, IPv6: s.Key.IPv6, At: addr, Port: port},
		Session: l.table.Ref(s), ID: s.ID, By: app.Undecided, App: app.Undecided, AtIsClient: true, Many: true, Until: asked + answerWithin,
	}
	if s.Dir != packet.Egress {
		e.Peer = addr
	}
	l.expectOne(&e)
}

// expectOne stores an expectation.
func (l *lifecycle) expectOne(e *related.Expectation) {
	if !l.expected.Add(e) {
		l.out.count[counter.ExpectedFull]++
	}
}

// announced expects a connection that the parser of a session announced. It is to one of the
// session's two ends, from the other one; what is announced otherwise, for the other end to open,
// is an attack (RFC 2577 3).
func announced(l *lifecycle, s *session.Session, x *identify.Expected) {
	by := app.ID(s.App)
	v := l.views.view(s.Endpoint)
	if v == nil || v.Loopback || dead(s) || by == app.Undecided || by == app.Unknown {
		return
	}
	at, _ := s.Server()
	from, _ := s.Client()
	if x.At == parsers.ToClient {
		at, from = from, at
	}
	lowest := uint16(lowestService)
	if by == app.SunRPC || by == app.NFS {
		lowest = lowestMapped
	}
	end, wide := at, x.At == parsers.ToServer
	if x.Addr.IsValid() {
		at, wide = packet.AddrFrom(x.Addr), false
	}
	foreign := !v.together(&end, &at) || at.Netip().Is4() == s.Key.IPv6
	if foreign || x.Port < lowest {
		l.out.count[counter.ExpectedRefused]++
		text := by.Name() + " announces a port of another service"
		if foreign {
			text = by.Name() + " announces an address that is not its end's"
		}
		l.out.threatOf(s, l.now, threat.Bounce, text, x.Packet)
		return
	}
	e := related.Expectation{
		Key:     related.Key{Endpoint: s.Key.Workload, Proto: x.Proto, IPv6: s.Key.IPv6, At: at, Port: x.Port, From: from},
		Session: l.table.Ref(s), ID: s.ID, By: by, App: x.App, AtIsClient: x.Proto == packet.ProtoUDP && x.At == parsers.ToClient, Wide: wide, Until: l.now + dataWithin,
	}
	if x.Long {
		e.Until = l.now + mediaWithin
	}
	e.Peer, _ = s.Server()
	if s.Dir != packet.Egress {
		e.Peer, _ = s.Client()
	}
	l.expectOne(&e)
}
