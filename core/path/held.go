package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/hold"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Pauses without a packet after which held packets are released, ns.
const (
	// quietAfter is longer than the pauses within a fragmented request, so that its pieces stay
	// together.
	quietAfter = int64(200e6)
	// quietNameless is for sessions that are allowed without a name, which is how nearly all end
	// that cannot be named by their first bytes: each of their connections pays this delay.
	quietNameless = int64(10e6)
)

// hold holds a payload packet of a pending session until its application is known, so that
// the first request of a denied one never reaches the server.
func (l *lifecycle) hold(c *packetContext) packet.Action {
	s := c.s
	f := l.ident.Flow(s.Aux)
	if f == nil || l.act.sender == nil {
		return c.stop(counter.OutOfWindow) // it will not be answered
	}
	s.Dropped(c.dir, c.tcp)
	if c.tcp.Has(session.Retransmit) && l.act.held.Len(s.Aux) > 0 {
		l.out.count[counter.HeldAgain]++
		return c.stop(counter.Retransmit) // the first copy is held already
	}
	if c.last != nil && l.act.holder != nil || !l.act.held.Fits(s.Aux, len(c.parts)+1, len(c.f.Data)) {
		l.out.count[counter.HoldFull]++
		return c.stop(counter.NoRoomToHold) // TCP retransmits it
	}
	t := hold.Times{Hold: int64(c.v.pol.Hold())}
	if !c.v.pol.HoldDeny() {
		t.Pause = l.decide.pause(c.v, s)
	}
	until := l.act.held.Wait(s.Aux, l.now, t)
	l.table.Schedule(s, min(until, stamp(c.f, l.now)+startAfter))
	s.Marks &^= session.Idle
	for _, part := range c.parts {
		l.act.held.Put(s.Aux, part, f.Asked())
	}
	last := c.last
	if last == nil {
		last = c.f
	}
	l.act.held.Put(s.Aux, last, f.Asked())
	l.out.count[counter.HeldFrames] += uint64(len(c.parts) + 1)
	c.cause = counter.Held
	if l.act.holder != nil {
		return packet.Hold
	}
	return packet.Drop
}

// holdDue decides on a session whose held packets have waited long enough.
func (l *lifecycle) holdDue(v *View, s *session.Session) {
	f := l.ident.Flow(s.Aux)
	switch l.act.held.Due(s.Aux, l.now) {
	case hold.NotYet:
		return
	case hold.Quiet:
		if l.ident.Unanswered(f) {
			l.act.held.Extend(s.Aux, l.now, l.decide.pause(v, s))
			return
		}
		// Its policy is still pending, and decides when identification ends.
		s.Marks |= session.Released
		l.out.count[counter.HoldQuiet]++
		l.act.release(s, l.act.held.Len(s.Aux), &l.out)
		return
	}
	l.out.count[counter.HoldExpired]++
	s.Marks |= session.HoldExpired | session.Changed
	if v == nil || v.pol == nil || !v.pol.HoldDeny() {
		s.Marks |= session.Passed
		if v != nil {
			l.evaluate(v, s)
		}
		l.act.release(s, l.act.held.Len(s.Aux), &l.out)
		return
	}
	l.set(v, s, decision{Verdict: flow.Deny, Reason: flow.ByHoldExpired, Rule: s.Rule})
	l.act.settleHeld(v, s, l.now, &l.out)
	l.announce(s)
}
