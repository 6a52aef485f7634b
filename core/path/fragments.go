package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/threat"
)

// fragments are the datagrams that are not whole yet.
type fragments struct {
	r     *frag.Reassembler
	whole packet.Packet // the rebuilt datagram at hand
	busy  bool          // whole is in use
}

func (fr *fragments) init(keep bool) { fr.r = frag.New(frag.Config{KeepFrames: keep}) }

// fragment collects fragments: the datagram is judged whole, and its fragments go the way
// it goes.
func (p *Path) fragment(c *packetContext) packet.Action {
	now := stamp(c.f, p.ses.now)
	var r frag.Result
	if c.v.Inline && p.ses.act.sender != nil {
		r = p.frags.r.Add(c.p, c.f, now)
	} else {
		r = p.frags.r.Watch(c.p, c.f, now)
	}
	switch r.Outcome {
	case frag.Held:
		return c.stop(counter.Held) // its copy goes on with the datagram
	case frag.Complete:
		return p.rebuilt(c, &r)
	case frag.Decided:
		c.cause = counter.BadFragment
		return r.Verdict.Action
	case frag.Bad:
		p.ses.out.count[counter.BadFragments]++
		if id, text := fragmentThreat(r.Reason); id != 0 {
			p.ses.out.threat(c, p.ses.now, id, text)
		}
		p.frags.r.SetVerdict(packet.Verdict{Action: packet.Drop})
	}
	return c.stop(counter.BadFragment)
}

// rebuilt judges a datagram, whose last fragment is the packet at hand, and lets its fragments follow.
func (p *Path) rebuilt(last *packetContext, r *frag.Result) packet.Action {
	c := packetContext{v: last.v, f: &r.Datagram, p: &p.frags.whole, parts: r.Frames, last: last.f}
	c.p.Decode(c.f)
	a := packet.Pass
	switch {
	case c.p.Status == packet.OK && !p.frags.busy:
		p.frags.r.SetOwner(frag.Owner{Proto: c.p.Proto, SrcPort: c.p.SrcPort, DstPort: c.p.DstPort})
		p.frags.busy = true
		a = p.packet(&c)
		p.frags.busy = false
	case c.p.Status == packet.Malformed:
		p.ses.out.count[counter.Malformed]++
		p.ses.out.threat(&c, p.ses.now, threat.BadPacket, string(c.p.Reason))
		a = c.stop(counter.MalformedFrame)
	}
	last.cause = c.cause
	p.frags.r.SetVerdict(packet.Verdict{Action: a})
	if a == packet.Pass {
		p.ses.act.send(r.Frames, &p.ses.out)
	}
	return a
}

// fragmentThreat is what a bad datagram's fragments show of their sender; 0 for nothing.
func fragmentThreat(reason frag.Reason) (id uint16, text string) {
	switch reason {
	case frag.CutShort, frag.TooMany, frag.NoRoom:
		return 0, ""
	case frag.Oversize:
		return threat.PingOfDeath, "fragments make more than 65535 bytes"
	case frag.Overlap:
		return threat.Teardrop, "overlapping fragments"
	}
	return threat.BadPacket, "fragments: " + string(reason)
}

// tunnelDepth is how many tunnels one inside the other are opened.
const tunnelDepth = 4

// tunnel judges what a packet carries, if it is one of a tunnel.
func (p *Path) tunnel(c *packetContext) (a packet.Action, inside bool) {
	inner, link, ok := c.p.Inner()
	if !ok || p.tunnels == tunnelDepth {
		return packet.Undecided, false
	}
	g := packet.Frame{
		Data: inner, Stamp: c.f.Stamp, Endpoint: c.f.Endpoint, Dir: c.f.Dir, Link: link, Flags: c.f.Flags,
		Wire: uint32(len(inner) + c.p.PayloadWire - len(c.p.Payload)),
	}
	in := packetContext{v: c.v, f: &g, p: new(packet.Packet)}
	in.p.Decode(&g)
	if in.p.Status != packet.OK && in.p.Status != packet.Fragment {
		return packet.Undecided, false
	}
	p.tunnels++
	if in.p.Status == packet.Fragment {
		a = p.fragment(&in)
	} else {
		a = p.packet(&in)
	}
	p.tunnels--
	c.cause = in.cause
	return a, true
}
