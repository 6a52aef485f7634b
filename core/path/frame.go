package path

import (
	"net"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/handover"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// Config configures a Path; Shared and Identify.Parsers are required.
type Config struct {
	Shared   *Shared
	Identify identify.Config
	Session  session.Config
	// Queue is the source of frames; nil for captures.
	Queue backend.Queue
	// Capture makes the path judge the contents of tunnels instead of the tunnels.
	Capture bool
	// KeepOpen keeps what was open when enforcement of an endpoint began, whatever policy
	// decides; by default it is refused like any other connection.
	KeepOpen bool
	// Now is the time of creation, ns since the epoch.
	Now int64
}

// Path judges the frames of one queue, and those of other queues that are the same workloads'.
// One goroutine at a time uses it, with its lock.
type Path struct {
	ses       Sessions
	gate      handover.Gate
	frags     fragments
	p         packet.Packet // the present frame
	quoted    packet.Packet // quoted by an ICMP error
	last      *View         // of the previous frame
	replaying bool          // the present frame passed already
	capture   bool
	tunnels   int // around the present packet
	link      links
	Entrance
}

// New returns a Path without sessions.
func New(cfg Config) *Path {
	p := &Path{capture: cfg.Capture}
	p.link = links{ses: &p.ses, leases: leases{}, capture: cfg.Capture}
	p.Entrance.of = p
	p.ses.init(&cfg, p)
	p.frags.init()
	return p
}

// Sessions returns the sessions, for callers that move or end them.
func (p *Path) Sessions() *Sessions { return &p.ses }

// Gate returns the state of the moving endpoints.
func (p *Path) Gate() *handover.Gate { return &p.gate }

// Frame processes one frame from decoding to its verdict.
func (p *Path) Frame(f *packet.Frame) {
	if a := p.gate.Ask(f, p.ses.now); a != handover.Judge {
		p.unjudged(f, a)
		return
	}
	ungated(p, f)
}

// ungated processes a frame that is to be judged now, at the workload's path.
func ungated(p *Path, f *packet.Frame) {
	n := &p.ses.out.count
	v := p.last
	if v == nil || v.ID != f.Endpoint {
		if v = p.ses.views.view(f.Endpoint); v == nil {
			n[counter.Frames]++
			n[counter.Bytes] += uint64(f.Wire)
			n[counter.UnknownEndpoint]++
			f.Verdict.Action = packet.Pass
			return
		}
		p.last = v
	}
	if v.away {
		p.away = append(p.away, f)
		return
	}
	n[counter.Frames]++
	n[counter.Bytes] += uint64(f.Wire)
	t := p.ses.out.tally(v)
	t.n[atFrames+int(f.Dir&3)]++
	t.n[atBytes+int(f.Dir&3)] += uint64(f.Wire)
	c := packetContext{v: v, f: f, p: &p.p}
	c.p.Decode(f)
	a := packet.Pass
	switch {
	case p.link.misplaced(&c):
		a = p.link.drop(&c, counter.ForeignFrames, counter.Foreign)
	case c.forgedMAC():
		a = p.link.refuseSource(&c, "source MAC address %s is not the workload's", net.HardwareAddr(c.p.SrcMAC[:]))
	default:
		a = decoded(p, &c)
	}
	f.Verdict.Action = a
	switch a {
	case packet.Pass:
		n[counter.Passed]++
	case packet.Drop, packet.Hold:
		n[counter.DroppedFrames]++
		if v.Inline {
			t.n[atDropped+int(c.cause)]++
		}
	default:
		n[counter.Undecided]++
	}
}

// decoded judges a frame by what its headers are.
func decoded(p *Path, c *packetContext) packet.Action {
	n := &p.ses.out.count
	switch c.p.Status {
	case packet.OK:
		a := p.packet(c)
		if c.f.PathMTU != 0 && a == packet.Pass && !p.replaying {
			p.ses.act.tooBig(c, p.ses.now, &p.ses.out)
		}
		return a
	case packet.NotIP:
		return p.link.notIP(c)
	case packet.Fragment:
		n[counter.Fragments]++
		return p.fragment(c)
	}
	n[counter.Malformed]++
	p.ses.out.threat(c, p.ses.now, threat.BadPacket, string(c.p.Reason))
	return c.stop(counter.MalformedFrame)
}

// unjudged returns the action for a frame of a moving endpoint.
func (p *Path) unjudged(f *packet.Frame, a handover.Answer) {
	n := &p.ses.out.count
	f.Verdict.Action = packet.Pass
	switch a {
	case handover.Skip:
		return
	case handover.Judged:
		n[counter.PassedAtSwitch]++
		return
	}
	n[counter.Frames]++
	n[counter.Bytes] += uint64(f.Wire)
	n[counter.UnknownEndpoint]++
	if a != handover.Late {
		return
	}
	// The new datapath would have denied it: it cannot have judged it.
	v := p.ses.views.view(f.Endpoint)
	if p.p.Decode(f); v != nil && p.p.Status == packet.OK && p.ses.decide.opensRefused(v, &p.p, f.Dir) {
		f.Verdict.Action = packet.Drop
	}
}

// packet judges a complete packet.
func (p *Path) packet(c *packetContext) packet.Action {
	if p.capture {
		if a, inside := p.tunnel(c); inside {
			return a
		}
	}
	if a, done := p.link.judge(c); done {
		return a
	}
	c.lookUp(p.ses.table)
	if !intact(p, c) {
		return damaged(p, c)
	}
	if id, text := threat.Header(c.p); id != 0 {
		p.ses.out.threat(c, p.ses.now, id, text)
	}
	if c.p.Embedded != nil {
		if a, done := p.icmpError(c); done {
			return a
		}
	}
	if !p.find(c) {
		return p.sessionless(c)
	}
	if c.p.Proto == packet.ProtoTCP {
		if !p.segment(c) {
			return p.sessionless(c)
		}
		if p.ses.afterReset(c, p.replaying) {
			return c.stop(counter.OutOfWindow)
		}
		return p.judge(c)
	}
	if c.s.Marks&session.Ended != 0 && c.p.Proto == packet.ProtoUDP && c.s.Flags&session.Denied == 0 {
		p.ses.resume(c.s)
	}
	p.ses.touch(c)
	if c.dir == 1 && c.s.Flags&session.Answered == 0 {
		c.s.Flags |= session.Answered
		c.s.Marks |= session.Changed
	}
	return p.judge(c)
}

// judge determines the verdict of a session's packet: policy where it is due, identification
// of the payload, and the action on the packet.
func (p *Path) judge(c *packetContext) packet.Action {
	s, ses := c.s, &p.ses
	if c.v.Loopback && s.Marks&session.Traced == 0 {
		ses.trace(c)
	}
	client, waits := s.ClientIsA, false
	if s.Pin != 0 && c.v.Inline && !p.replaying && ses.contradicts(c) {
		return c.stop(counter.Overlapping)
	}
	weigh(&ses.lifecycle, c)
	if ses.stale(s) || s.Verdict == flow.NoVerdict {
		ses.evaluate(c.v, s)
		c.follow(&client)
	}
	if s.Marks&session.Identified == 0 && c.p.PayloadWire > 0 {
		if waits = !p.replaying && c.waits(); waits {
			if a, ok := ses.admit(c); !ok {
				return a
			}
			s.Dropped(c.dir, c.tcp) // until it is known to pass
		}
		if c.readable() {
			p.identify(c)
			c.follow(&client)
		}
	}
	if !c.v.Inline || p.replaying {
		return packet.Pass
	}
	switch s.Verdict {
	case flow.Deny:
		a := ses.act.refuse(c, ses.now, &ses.out)
		ses.announce(s)
		return a
	case flow.Pending:
		if c.waits() && !ses.forward(c) {
			return ses.hold(c)
		}
	default:
		if c.v.offload && s.Marks&(session.Identified|session.Stays) == session.Identified && s.Pin == 0 {
			ses.offload(c)
		}
	}
	if waits && c.p.Proto == packet.ProtoTCP {
		s.Delivered(c.dir, c.p)
		ses.act.pin(s, c.dir, c.p)
	}
	return packet.Pass
}

// Replay judges copies of frames that passed since a cut. They were delivered, so none of
// them is denied any more.
func (p *Path) Replay(frames []packet.Frame, cut int64) {
	p.replaying, p.link.replaying = true, true
	for i := range frames {
		if stamp(&frames[i], p.ses.now) >= cut {
			ungated(p, &frames[i])
		}
	}
	p.replaying, p.link.replaying = false, false
}
