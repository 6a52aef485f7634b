package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/hold"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
	"github.com/sluicenet/sluice/parsers"
)

// quietAfter is the pause without a packet after which held packets are released where policy
// allows what they show, ns. It keeps the pieces of one request together; nearly all sessions
// that cannot be named by their first bytes pay it once.
const quietAfter = int64(10e6)

// waits reports whether a payload packet of an inline session must wait for its application. The
// first request of a session picked up in mid-stream has passed long ago; its datagrams wait where
// each of them shows the application.
func (c *packetContext) waits() bool {
	return c.v.Inline && c.s.Verdict == flow.Pending && !pickedUp(c.s) && c.p.PayloadWire > 0
}

// admit reports whether identification may read a packet that must wait for it: what it reads
// is what is delivered. Otherwise it returns the action on the packet.
func (l *lifecycle) admit(c *packetContext) (packet.Action, bool) {
	s := c.s
	if !c.readable() {
		if c.tcp.Valid {
			return packet.Pass, false // a keep-alive repeats a byte that was delivered
		}
		return c.stop(counter.OutOfWindow), false
	}
	piece := pieceOf(c)
	if s.Aux != 0 && piece.Stream {
		switch l.act.held.Compare(s.Aux, piece, c.p.Payload) {
		case hold.Known:
			s.Dropped(c.dir, c.tcp)
			l.out.count[counter.HeldAgain]++
			return c.stop(counter.Retransmit), false
		case hold.Conflict:
			s.Dropped(c.dir, c.tcp)
			l.out.threat(c, l.now, threat.Overlap, "tcp data came again with other bytes")
			return c.stop(counter.Overlapping), false
		}
	}
	if !l.fits(c) {
		s.Dropped(c.dir, c.tcp)
		l.out.count[counter.HoldFull]++
		return c.stop(counter.NoRoomToHold), false // TCP retransmits it
	}
	return packet.Undecided, true
}

// fits reports whether there is room to hold a packet.
func (l *lifecycle) fits(c *packetContext) bool {
	if c.last != nil && l.act.exits.holder() != nil {
		return false // its fragments cannot be kept in the queue
	}
	sum := hold.Sum{Frames: len(c.parts) + 1, Bytes: len(c.f.Data)}
	return l.act.held.Fits(c.s.Aux, ownerOf(c.v, c.s), sum)
}

// ownerOf returns who a session's held packets are charged to.
func ownerOf(v *View, s *session.Session) hold.Owner {
	o := hold.Owner{Workload: v.Workload}
	if s.Dir == packet.Egress {
		o.Peer, _ = s.Server()
	} else {
		o.Peer, _ = s.Client()
	}
	return o
}

// pieceOf returns the place of a packet's payload in its session. Asked is to be set.
func pieceOf(c *packetContext) hold.Piece {
	if c.p.Proto != packet.ProtoTCP {
		return hold.Piece{}
	}
	m := hold.Piece{Stream: true, Dir: uint8(c.dir), Seq: c.p.Seq}
	if c.p.Flags&packet.SYN != 0 {
		m.Seq++
	}
	m.End = m.Seq + uint32(c.p.PayloadWire)
	if c.last == nil {
		m.At = c.p.L3 + len(c.p.Network) - len(c.p.Payload)
	}
	return m
}

// forward reports whether a packet of a pending session passes: its bytes need delivery for
// the session to continue, or all answers are there and policy allows what they show.
func (l *lifecycle) forward(c *packetContext) bool {
	s := c.s
	f := l.ident.Flow(s.Aux)
	if f == nil || !l.read(c, f) {
		return false
	}
	if f.Outcome() == identify.Preamble {
		return true
	}
	return s.Marks&session.Released != 0 && !l.ident.Unanswered(f) && l.decide.allowsSoFar(c.v, s, f)
}

// read reports whether identification has read all of a packet's payload.
func (l *lifecycle) read(c *packetContext, f *identify.Flow) bool {
	m := pieceOf(c)
	if !m.Stream {
		return true
	}
	next, ok := f.Next(parsers.Dir(m.Dir))
	return ok && int32(m.End-next) <= 0
}

// hold holds a payload packet of a pending session until its application is known, so that
// the first request of a denied one never reaches the server.
func (l *lifecycle) hold(c *packetContext) packet.Action {
	s := c.s
	f := l.ident.Flow(s.Aux)
	if f == nil || !l.act.exits.sends(c.f.Endpoint) {
		return c.stop(counter.OutOfWindow) // it will not be answered
	}
	s.Dropped(c.dir, c.tcp)
	if !l.fits(c) {
		l.out.count[counter.HoldFull]++
		return c.stop(counter.NoRoomToHold)
	}
	t := hold.Times{Hold: int64(c.v.pol.Hold())}
	if l.decide.allowsSoFar(c.v, s, f) {
		t.Pause = quietAfter
	}
	until := l.act.held.Wait(s.Aux, l.now, t)
	l.table.Schedule(s, min(until, stamp(c.f, l.now)+startAfter))
	s.Marks &^= session.Idle
	piece := pieceOf(c)
	if piece.Asked = f.Asked(); !l.read(c, f) {
		piece.Asked = hold.Unread
	}
	for _, part := range c.parts {
		l.act.held.Put(s.Aux, part, piece)
	}
	last := c.last
	if last == nil {
		last = c.f
	}
	l.act.held.Put(s.Aux, last, piece)
	l.out.count[counter.HeldFrames] += uint64(len(c.parts) + 1)
	c.cause = counter.Held
	if l.act.exits.holder() != nil {
		return packet.Hold
	}
	return packet.Drop
}

// heldRead marks the held packets behind a gap that the present packet has closed.
func (l *lifecycle) heldRead(c *packetContext, f *identify.Flow) {
	if c.p.Proto != packet.ProtoTCP || c.s.Aux == 0 || l.act.held.Len(c.s.Aux) == 0 {
		return
	}
	if next, ok := f.Next(parsers.Dir(c.dir)); ok {
		l.act.held.Read(c.s.Aux, uint8(c.dir), next, f.Asked())
	}
}

// holdDue decides on a session whose held packets have waited long enough.
func (l *lifecycle) holdDue(v *View, s *session.Session) {
	switch l.act.held.Due(s.Aux, l.now) {
	case hold.NotYet:
	case hold.Quiet:
		l.holdQuiet(v, s)
	case hold.Expired:
		l.holdExpired(v, s)
	}
}

// holdQuiet releases what policy allows as far as it shows. The session stays pending, and
// its further packets are held while answers about them are due.
func (l *lifecycle) holdQuiet(v *View, s *session.Session) {
	f := l.ident.Flow(s.Aux)
	if v == nil || l.ident.Unanswered(f) || !l.decide.allowsSoFar(v, s, f) {
		l.act.held.Extend(s.Aux, l.now, quietAfter)
		return
	}
	if s.Marks&session.Released == 0 {
		s.Marks |= session.Released
		l.out.count[counter.HoldQuiet]++
	}
	l.act.release(s, f.Asked(), &l.out)
	if l.act.held.Len(s.Aux) > 0 {
		l.act.held.Extend(s.Aux, l.now, int64(v.pol.Hold())) // what is behind a gap
	}
}

// holdExpired applies the group's setting to a session that could not be identified within
// its hold time.
func (l *lifecycle) holdExpired(v *View, s *session.Session) {
	l.out.count[counter.HoldExpired]++
	if v == nil || v.pol == nil {
		l.act.drop(l.act.held.TakeAll(s.Aux)) // its endpoint is gone
		return
	}
	l.expireUndecided(v, s)
	l.act.settleHeld(v, s, l.now, &l.out)
	l.announce(s)
}

// expireUndecided applies the group's setting to a session that policy could not decide
// within the limits of holding or identification.
func (l *lifecycle) expireUndecided(v *View, s *session.Session) {
	s.Marks |= session.HoldExpired | session.Changed
	if v.pol.HoldPass() {
		s.Marks |= session.Passed
		l.set(v, s, decision{Verdict: flow.Violate, Reason: flow.ByHoldExpired, Rule: s.Rule})
		return
	}
	l.set(v, s, decision{Verdict: flow.Deny, Reason: flow.ByHoldExpired, Rule: s.Rule})
}
