package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// find looks up the packet's session, or opens one; it returns false where there is none.
func (p *Path) find(c *packetContext) bool {
	k, swapped := &c.key, c.swapped
	var before session.Session // which a new one replaces
	if c.s != nil && c.s.Flags&session.Denied != 0 && (p.ses.replaces(c.v, c.s) || awaited(&p.ses.lifecycle, c)) {
		before = *c.s
		p.ses.delete(c.s)
		c.s = nil
	}
	if c.s != nil && supersedes(c.s, c.p) {
		c.s.Marks &^= session.HeldOpen // so it is not reported
		p.ses.delete(c.s)
		c.s = nil
	}
	if c.s == nil {
		if opensNothing(c.p) {
			return false
		}
		if c.s = p.open(c, k, swapped); c.s == nil {
			return false
		}
		// A conversation without a handshake is the same one as before: its first packet under the
		// new policy may be its server's, and must not make that the client.
		if before.ID != 0 && c.p.Proto != packet.ProtoTCP && before.Marks&session.Either == 0 && c.s.ClientIsA != before.ClientIsA {
			p.ses.turn(c.s)
			c.s.Evidence = before.Evidence
		}
	}
	c.dir = c.s.DirOf(swapped)
	if c.s.Endpoint != c.v.ID {
		p.ses.foreign(c)
	}
	return true
}

// open creates the session of a packet without one; nil when the table is full.
func (p *Path) open(c *packetContext, k *session.Key, swapped bool) *session.Session {
	ses := &p.ses
	now := stamp(c.f, ses.now)
	s := ses.table.Insert(k, now)
	if s == nil {
		return nil
	}
	role := ses.roleContext(c.v)
	claim := role.Opening(c.p, c.f.Dir)
	if c.toGroup() { // a group answers from other addresses
		claim.FromSource, claim.Midstream, claim.Firm, claim.Evidence = true, false, true, flow.EvidenceHandshake
	}
	e, expected := findExpected(&ses.lifecycle, c)
	if expected {
		claim = e.claim
	}
	s.ClientIsA = claim.FromSource != swapped
	s.ID, s.Endpoint = ses.views.shared.IDs.Add(1), c.v.ID
	s.App, s.Base = uint16(app.Undecided), uint16(app.Undecided)
	s.Evidence = claim.Evidence
	s.Dir = clientDir(c.f.Dir, claim.FromSource)
	first := startAfter
	if c.v.Inline && !p.replaying {
		s.Flags |= session.Whole
	}
	if claim.Midstream {
		s.Flags |= session.Midstream
		s.Marks |= session.Plausible
	}
	if !claim.Firm && c.f.Dir != packet.NoDirection {
		s.Marks |= session.Either
		first = firmAfter
	}
	if c.p.Proto != packet.ProtoTCP && c.p.Proto != packet.ProtoUDP {
		s.App, s.Base = uint16(app.Unknown), uint16(app.Unknown)
		s.Marks |= session.Identified
	}
	switch {
	case expected:
		relate(&ses.lifecycle, s, &e)
	case c.toGroup():
		asks(&ses.lifecycle, c, s)
	case c.p.Proto == packet.ProtoUDP:
		migrated(&ses.lifecycle, c, s)
	}
	ses.out.count[counter.Opened]++
	t := ses.out.tally(c.v)
	t.n[atOpened]++
	t.n[atSessions]++
	ses.table.Schedule(s, now+first)
	return s
}

// opensNothing reports whether a packet without a session opens none: a reset, a FIN without
// data, a segment that neither begins nor continues a connection. Such packets remain from
// connections that are closed or never existed.
func opensNothing(p *packet.Packet) bool {
	if p.Proto != packet.ProtoTCP {
		return false
	}
	switch f := p.Flags & (packet.FIN | packet.SYN | packet.RST | packet.ACK); {
	case f&packet.RST != 0, f&(packet.SYN|packet.ACK) == 0:
		return true
	case f&packet.SYN != 0:
		return false
	default:
		return f&packet.FIN != 0 && p.PayloadWire == 0
	}
}

// sessionless decides on a packet without a session. One that opens none passes where policy
// lets either of its ends be the client, and is never reported; for any other the table is
// full, and the fail mode applies.
func (p *Path) sessionless(c *packetContext) packet.Action {
	if !opensNothing(c.p) {
		p.ses.out.count[counter.TableFull]++
		c.cause = counter.NoRoomInTable
		if c.v.Inline && c.v.Fail == packet.Pass {
			p.ses.out.tally(c.v).n[atUnjudged]++
		}
		return c.v.Fail
	}
	p.ses.out.count[counter.Sessionless]++
	if !c.v.Inline || p.replaying || p.ses.decide.passesEither(c.v, c.p, c.f.Dir) {
		return packet.Pass
	}
	return c.stop(counter.NoSession)
}

// segment tracks a TCP segment; it returns false where the segment has no session any more.
func (p *Path) segment(c *packetContext) bool {
	ses := &p.ses
	now := stamp(c.f, ses.now)
	if c.s.Marks&session.Offloaded != 0 && ses.kernel.Segment(c.s, c.p, ses.now) {
		ses.table.Schedule(c.s, now+endAfter)
		c.s.Marks &^= session.Idle
	}
	if c.s.Created < ses.awake || !c.v.Inline {
		// Frames may have passed while the worker was stopped, and taps show them in any order.
		c.s.Flags &^= session.Whole
	}
	c.tcp = c.s.Track(c.p, c.dir, now)
	if c.tcp.Has(session.Reopen) {
		ses.delete(c.s)
		c.s = nil
		if !p.find(c) {
			return false
		}
		c.tcp = c.s.Track(c.p, c.dir, now)
	}
	ses.touch(c)
	if c.s.Pin != 0 && c.tcp.Valid && c.p.Flags&packet.ACK != 0 {
		ses.act.unpinAcked(c)
	}
	if c.tcp.Events != 0 {
		p.events(c)
	}
	if !c.tcp.Valid && c.s.Aux != 0 && c.s.Unproven() {
		ses.forget(c.s)
	}
	if s := c.s; s.Flags&(session.Midstream|session.Answered) == session.Midstream && c.tcp.Valid && !s.State.Over() && answered(s) {
		s.Flags |= session.Answered
		s.Marks |= session.Changed
	}
	return true
}

// events handles what a segment changed.
func (p *Path) events(c *packetContext) {
	r, ses := c.tcp, &p.ses
	if r.Has(session.Opened) {
		c.s.Flags |= session.Answered
		c.s.Marks |= session.Changed
	}
	if r.Has(session.Simultaneous) {
		c.s.Marks |= session.Changed
	}
	if r.Has(session.Split) {
		ses.out.threat(c, ses.now, threat.SplitHandshake, "tcp SYN answered with SYN")
	}
	if r.Events&(session.ClosedNow|session.ResetNow|session.RefusedNow) != 0 {
		c.s.Marks = c.s.Marks&^session.Idle | session.Changed
		ses.table.Schedule(c.s, stamp(c.f, ses.now)+endAfter)
	}
	if r.Has(session.Gap) {
		ses.acked(c)
	}
	if r.Events&discarded != 0 {
		ses.out.count[counter.Discarded]++
	}
	if r.Has(session.UnsureReset) && c.v.Inline && !p.replaying {
		ses.act.confirmReset(c, &ses.out)
	}
}

// touch counts a packet and rearms its session's timer.
func (l *lifecycle) touch(c *packetContext) {
	now := stamp(c.f, l.now)
	if n := len(c.p.Network) + c.p.PayloadWire - len(c.p.Payload); c.s.Marks&session.Offloaded == 0 {
		c.s.Count(c.dir, n, now)
	} else {
		l.kernel.Seen(c.s, n, now)
	}
	if c.s.Marks&session.Idle != 0 {
		c.s.Marks &^= session.Idle
		l.table.Schedule(c.s, now+updateEvery)
		if c.s.Marks&session.Asks != 0 && c.dir == 0 {
			expectAnswers(l, c.s, l.now)
		}
	}
}
