package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// discarded are the events of segments that a receiver discards although their numbers fit.
const discarded = session.OldTime | session.BadSigning | session.FutureACK

// provenAfter is how long the payload of a session that was picked up in mid-stream is not read
// while one end alone sends, ns: an end without such a connection resets it at once. Where
// the other direction is never seen, it is read then.
const provenAfter = int64(1e9)

// forget drops what was not read yet of a session whose numbers were not those of its connection.
func (l *lifecycle) forget(s *session.Session) {
	if f := l.ident.Flow(s.Aux); f != nil && f.Later() {
		l.act.drop(l.act.held.TakeAll(s.Aux))
		l.ident.Drop(f)
		s.Aux = 0
	}
}

// lookUp sets the session of a packet, nil if there is none, and its key.
func (c *packetContext) lookUp(t *session.Table) {
	c.key, c.swapped = session.KeyOf(c.p, c.v.workload)
	c.s = t.Lookup(&c.key)
	if c.v.Shares != nil {
		c.s = c.v.resolve(t, &c.key, c.s, c.f.Dir, c.swapped)
	}
	if c.s == nil || c.s.Flags&session.Denied != 0 || c.s.Marks&session.Either != 0 {
		if s, swapped := c.v.answered(t, c.p, c.f.Dir); s != nil {
			c.s, c.swapped, c.elsewhere = s, swapped, true
		}
	}
}

// intact reports whether a packet's checksums need no verification or are right. They matter
// where a packet begins a session, is read to identify it, or changes its state; not for most
// packets of a decided session. Those of a capture may have been altered since.
func intact(p *Path, c *packetContext) bool {
	if s := c.s; s != nil {
		if s.Flags&session.Denied != 0 {
			return true
		}
		settled := s.Marks&session.Identified != 0 && s.Pin == 0 && s.Flags&session.Away == 0
		if c.p.Proto == packet.ProtoTCP {
			settled = settled && s.State != flow.PhaseOpening && c.p.Flags&(packet.SYN|packet.FIN|packet.RST) == 0
		}
		if settled {
			return true
		}
	}
	return p.capture || c.p.Intact(c.f)
}

// damaged handles a packet that its receiver discards because of a checksum: it has no effect.
func damaged(p *Path, c *packetContext) packet.Action {
	p.ses.out.count[counter.BadChecksums]++
	p.ses.out.threat(c, p.ses.now, threat.BadChecksum, "bad checksum")
	if !c.v.Inline || p.replaying {
		return packet.Pass
	}
	return c.stop(counter.BadSum)
}

// pin remembers the payload of a packet of a session that policy decides by its bytes, until its
// receiver has acknowledged it.
func (a *actuator) pin(s *session.Session, dir int, p *packet.Packet) {
	seq := p.Seq
	if p.Flags&packet.SYN != 0 {
		seq++
	}
	s.Pin = a.pins.Add(s.Pin, uint8(dir), seq, p.Payload)
}

// unpinAcked forgets what a packet acknowledges.
func (a *actuator) unpinAcked(c *packetContext) {
	if a.pins.Acked(c.s.Pin, uint8(c.dir^1), c.p.Ack) {
		a.unpin(c.s)
	}
}

func (a *actuator) unpin(s *session.Session) {
	a.pins.Release(s.Pin)
	s.Pin = 0
}

// contradicts reports whether a segment repeats, with other bytes, what passed before and is not
// acknowledged yet: its receiver might take these bytes instead of those that policy saw.
func (l *lifecycle) contradicts(c *packetContext) bool {
	seq := c.p.Seq
	if c.p.Flags&packet.SYN != 0 {
		seq++
	}
	if !l.act.pins.Differs(c.s.Pin, uint8(c.dir), seq, c.p.Payload) {
		return false
	}
	c.s.Dropped(c.dir, c.tcp)
	l.out.threat(c, l.now, threat.Overlap, "tcp data came again with other bytes")
	return true
}

// confirmReset repeats a reset that its receiver may not accept, or not get, with the numbers
// that the receiver may expect, so that the connection ends at both ends.
func (a *actuator) confirmReset(c *packetContext, r *Recorder) {
	if !a.exits.sends(c.f.Endpoint) || c.last != nil || c.s.Flags&session.Denied != 0 {
		return
	}
	acked, delivered := c.s.Expects(c.dir)
	rst := c.p.ResetOnward()
	rst.Seq = acked
	if a.reset(c, rst, r); delivered != acked {
		rst.Seq = delivered
		a.reset(c, rst, r)
	}
}

// afterReset reports whether a segment is dropped because its sender has reset the connection:
// nothing is delivered of a connection that is believed to be over. Its sender is reset by its
// own number, and so is the other end if it still sends, as hosts without the connection do (RFC
// 9293 3.10.7.1).
func (l *lifecycle) afterReset(c *packetContext, replaying bool) bool {
	if c.s.State != flow.PhaseReset || c.tcp.Has(session.ResetNow) || c.s.Flags&session.Denied != 0 || !c.v.Inline || replaying {
		return false
	}
	by, ok := c.s.Resetter()
	if !ok || c.p.Flags&(packet.SYN|packet.RST|packet.ACK) != packet.ACK {
		return false
	}
	if l.act.exits.sends(c.f.Endpoint) && c.last == nil && c.p.MayAnswer() && l.act.again(l.now) {
		l.act.reset(c, c.p.ResetBack(), &l.out)
	}
	return by == c.dir
}
