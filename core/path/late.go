package path

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// refuseLate refuses a session without a packet that arrives now: frames are those that were
// held, which the caller drops; without any, its ends are answered all the same.
func (a *actuator) refuseLate(v *View, s *session.Session, frames []packet.Frame, now int64, r *Recorder) {
	c := packetContext{v: v, f: a.held.Sample(s.Aux), p: &a.p, s: s}
	if len(frames) > 0 {
		c.f = &frames[0]
	}
	if c.f == nil {
		return // its next packet is refused
	}
	c.p.Decode(c.f)
	if len(frames) == 0 && (c.p.Status != packet.OK || c.p.Proto != packet.ProtoTCP) {
		return
	}
	s.Flags |= session.Denied
	s.Marks |= session.Changed
	if c.p.Status != packet.OK {
		return // a fragment of a datagram
	}
	_, swapped := session.KeyOf(c.p, c.f.Endpoint)
	c.dir = s.DirOf(swapped)
	if c.p.Proto != packet.ProtoTCP {
		a.answer(&c, true, now, r)
		return
	}
	a.resetEnds(&c, r)
}

// resetEnds resets both ends of an open connection, by what each of them expects now and not
// by the numbers of an old packet.
func (a *actuator) resetEnds(c *packetContext, r *Recorder) {
	if !a.exits.sends(c.f.Endpoint) || c.v.pol == nil || c.v.pol.OnDeny() == policy.Silent {
		c.s.Flags |= session.Unreset
		return
	}
	if c.s.State.Over() || c.s.State == flow.NoPhase || !c.p.MayAnswer() {
		return
	}
	onward, back := c.p.ResetOnward(), c.p.ResetBack()
	if seq, ack, ok := c.s.ResetSeq(c.dir); ok {
		onward.Seq, onward.Ack = seq, ack
	}
	if seq, _, ok := c.s.ResetSeq(c.dir ^ 1); ok && !back.WithAck {
		back.Seq = seq
	}
	a.reset(c, back, r)
	a.reset(c, onward, r)
}
