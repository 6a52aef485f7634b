package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/threat"
)

// fragments holds the incomplete datagrams.
type fragments struct {
	r     *frag.Reassembler
	whole packet.Packet // the reassembled datagram being judged
	busy  bool          // whole is in use
}

func (fr *fragments) init() { fr.r = frag.New(frag.Config{KeepFrames: true}) }

// fragment collects fragments: the reassembled datagram is judged, and its fragments follow
// its verdict.
func (p *Path) fragment(c *packetContext) packet.Action {
	now := stamp(c.f, p.ses.now)
	if !p.capture && !p.link.sent(c) {
		return p.link.refuseSender(c)
	}
	var r frag.Result
	if c.v.Inline && p.ses.act.exits.sends(c.f.Endpoint) {
		r = p.frags.r.Add(c.p, c.f, c.v.workload, now)
	} else {
		r = p.frags.r.Watch(c.p, c.f, c.v.workload, now)
	}
	switch r.Outcome {
	case frag.Held:
		return c.stop(counter.Held) // its copy is sent with the datagram
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

// rebuilt judges a datagram whose last fragment is the present packet, and applies the
// verdict to its fragments.
func (p *Path) rebuilt(last *packetContext, r *frag.Result) packet.Action {
	r.Datagram.SrcMAC = last.p.SrcMAC
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

// fragmentThreat returns the threat that a bad datagram's fragments show; 0 for none.
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

// tunnelDepth is the maximum number of nested tunnels that are opened.
const tunnelDepth = 4

// tunnel judges the inner packet of a tunnel, if the packet belongs to one.
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
