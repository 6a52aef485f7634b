package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/hold"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// rejectsPerSecond bounds the ICMP errors that one path sends, and the resets that answer
// further packets of a refused connection.
const rejectsPerSecond = 1000

// actuator carries decisions out: it holds packets, sends or drops them, and answers denied
// ones.
type actuator struct {
	held  hold.Room
	pins  hold.Pins // payload that passed for policy to decide on
	exits exits
	// present is the session whose packet is being judged: if it is denied, that packet is the
	// one to refuse.
	present *session.Session
	p       packet.Packet // a held packet
	buf     [2048]byte    // the frame being built
	second  int64         // of the last bounded answer
	errors  int           // ICMP errors in that second
	resets  int           // resets of repeated packets in that second
	guess   uint32        // of the next probe's sequence number
}

// refuse drops a packet of a denied session, and answers its ends once (a SYN each time it
// comes); a sender that continues is reset again. A reset is not answered: it may be the other
// end's refusal, and passes to the end that has an open connection.
func (a *actuator) refuse(c *packetContext, now int64, r *Recorder) packet.Action {
	s := c.s
	if c.p.Proto == packet.ProtoTCP && c.p.Flags&packet.RST != 0 {
		if s.Flags&session.Answered != 0 && c.p.PayloadWire == 0 && c.tcp.Events&(session.ResetNow|session.Challenge) != 0 {
			return packet.Pass
		}
		a.lateReset(c, r)
		s.Dropped(c.dir, c.tcp)
		return c.stop(counter.Denied)
	}
	s.Dropped(c.dir, c.tcp)
	c.cause = counter.Denied
	first := s.Flags&session.Denied == 0 || s.Marks&session.ResetDue != 0
	if first {
		s.Marks &^= session.ResetDue
		s.Flags |= session.Denied
		s.Marks |= session.Changed
	}
	a.answer(c, first, now, r)
	return packet.Drop
}

// release sends those of a session's held packets that were part of the remote requests up
// to number asked, in order; the others remain held.
func (a *actuator) release(s *session.Session, asked uint32, r *Recorder) {
	a.forward(s, a.held.Take(s.Aux, asked), r)
}

// forward sends packets that were held.
func (a *actuator) forward(s *session.Session, frames []packet.Frame, r *Recorder) {
	for i := range frames {
		p := &a.p
		if p.Decode(&frames[i]); p.Status == packet.OK && p.Proto == packet.ProtoTCP {
			_, swapped := session.KeyOf(p, frames[i].Endpoint)
			dir := s.DirOf(swapped)
			s.Delivered(dir, p)
			a.pin(s, dir, p)
		}
		a.exits.deliver(&frames[i], r)
	}
	a.drop(frames)
}

// settleHeld ends the wait of a session's held packets by its verdict: they are sent, or
// refused and both ends are reset. v may be nil.
func (a *actuator) settleHeld(v *View, s *session.Session, now int64, r *Recorder) {
	frames := a.held.TakeAll(s.Aux)
	if s.Verdict != flow.Deny {
		a.forward(s, frames, r)
		return
	}
	if v != nil && s.Flags&session.Denied == 0 && (len(frames) > 0 || a.present != s) {
		a.refuseLate(v, s, frames, now, r)
	}
	if v != nil {
		r.tally(v).n[atDropped+int(counter.Denied)] += uint64(len(frames))
	}
	a.drop(frames)
}

// answer sends the ends of a denied packet's session their group's response: resets, an ICMP
// error, or nothing.
func (a *actuator) answer(c *packetContext, first bool, now int64, r *Recorder) {
	if !a.exits.sends(c.f.Endpoint) || c.last != nil || c.v.pol == nil || c.v.pol.OnDeny() == policy.Silent {
		c.s.Flags |= session.Unreset
		return
	}
	switch {
	case c.p.Proto == packet.ProtoTCP:
		switch {
		case first || c.p.Flags&packet.SYN != 0:
			a.resetBoth(c, r)
		case (c.p.PayloadWire == 0 || c.tcp.Has(session.Retransmit)) && c.p.MayAnswer() && a.again(now):
			a.reset(c, c.p.ResetBack(), r) // its end did not get the first reset, or did not accept it
		}
	case c.p.Proto == packet.ProtoUDP && c.v.pol.OnDeny() == policy.Reject:
		a.reject(c, now, r)
	}
}

// resetBoth answers a denied segment: it resets the sender and, except for the first SYN, the
// receiver.
func (a *actuator) resetBoth(c *packetContext, r *Recorder) {
	p := c.p
	if !p.MayAnswer() {
		return
	}
	a.reset(c, p.ResetBack(), r)
	if p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return
	}
	onward := p.ResetOnward()
	if seq, _, ok := c.s.ResetSeq(c.dir); ok && p.Flags&packet.SYN == 0 {
		onward.Seq = seq // RFC 5961 3.2: accepted only at exactly what the receiver expects
	}
	a.reset(c, onward, r)
}

// reset sends one reset in the direction of the packet that caused it, or back.
func (a *actuator) reset(c *packetContext, rst packet.Reset, r *Recorder) {
	link, ok := c.p.LinkHeader(c.f)
	if !ok {
		return
	}
	rst.Link = link
	dir := c.f.Dir
	if rst.Back {
		dir = dir.Reverse()
	}
	a.inject(c.f, packet.BuildRST(a.buf[:], rst), dir, r)
	r.count[counter.Resets]++
}

// tick begins a new second of bounded answers.
func (a *actuator) tick(now int64) {
	if sec := now / 1e9; sec != a.second {
		a.second, a.errors, a.resets = sec, 0, 0
	}
}

// again reports whether a further packet of a refused connection may be answered.
func (a *actuator) again(now int64) bool {
	a.tick(now)
	a.resets++
	return a.resets <= rejectsPerSecond
}

// reject answers a denied datagram with an ICMP error.
func (a *actuator) reject(c *packetContext, now int64, r *Recorder) {
	if !c.p.MayAnswer() {
		return
	}
	if !a.mayError(now) {
		return
	}
	link, ok := c.p.LinkHeader(c.f)
	if !ok {
		return
	}
	u := packet.Unreachable{Link: link, Back: true, IPv6: c.p.IPv6, Src: c.p.Dst, Dst: c.p.Src, Quote: c.p.Network}
	a.inject(c.f, packet.BuildUnreachable(a.buf[:], u), c.f.Dir.Reverse(), r)
	r.count[counter.Unreachables]++
}

// inject sends a frame built by the engine on the endpoint of the frame that caused it.
func (a *actuator) inject(cause *packet.Frame, data []byte, dir packet.Direction, r *Recorder) {
	if data == nil {
		return
	}
	f := packet.Frame{
		Data: data, Wire: uint32(len(data)), Endpoint: cause.Endpoint, Dir: dir, Link: cause.Link,
		Flags: packet.Injected | cause.Flags&packet.VLANStripped, VLAN: cause.VLAN, VLANProto: cause.VLANProto,
	}
	a.exits.deliver(&f, r)
}

// send sends frames unchanged.
func (a *actuator) send(frames []*packet.Frame, r *Recorder) {
	for _, f := range frames {
		a.exits.deliver(f, r)
	}
}

// drop drops held packets; frames already sent are gone.
func (a *actuator) drop(frames []packet.Frame) {
	for i := range frames {
		a.exits.discard(&frames[i])
	}
}
