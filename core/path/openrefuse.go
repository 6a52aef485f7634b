package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// A connection that is refused while it is silent has no packet whose ends could be answered,
// and the sequence numbers of a reset are not known. So its workload gets a segment which
// every TCP implementation answers with its present numbers (RFC 9293 3.10.7.4); that answer
// is refused like any packet, with resets to both ends. It is repeated, as it may be lost.
const (
	probeEvery = int64(1e9)
	probeFor   = int64(4e9)
)

// refuseOpen refuses a session that policy denies and that is open, without waiting for its
// next packet.
func (l *lifecycle) refuseOpen(v *View, s *session.Session) {
	switch {
	case !v.Inline || v.Loopback || s.Verdict != flow.Deny || s.Flags&session.Denied != 0:
		return
	case s.Key.Proto == packet.ProtoTCP && s.State != flow.PhaseEstablished && s.State != flow.PhaseMidStream && s.State != flow.PhaseClosing:
		return // not open: its next packet is refused
	}
	s.Flags |= session.Denied
	s.Marks = s.Marks&^session.Idle | session.Changed
	s.Last = l.now // it is kept from now on like any other refused one
	l.out.count[counter.OpenRefused]++
	if s.Key.Proto == packet.ProtoTCP && l.act.exits.sends(v.ID) && v.pol != nil && v.pol.OnDeny() != policy.Silent {
		s.Marks |= session.ResetDue
		l.act.probe(v, s, &l.out)
	}
	l.table.Schedule(s, l.now+probeEvery)
}

// probeAgain repeats the probe of a refused session whose ends are still to be reset; it
// returns when to be called again, 0 if there is nothing to wait for.
func (l *lifecycle) probeAgain(v *View, s *session.Session) int64 {
	if s.Marks&session.ResetDue == 0 || v == nil || !v.Inline || l.now-s.Last >= probeFor {
		return 0
	}
	l.act.probe(v, s, &l.out)
	return l.now + probeEvery
}

// probe sends a session's workload a segment that it answers with its sequence numbers.
func (a *actuator) probe(v *View, s *session.Session, r *Recorder) {
	dir := 0 // from the peer to the workload
	if s.Dir == packet.Egress {
		dir = 1
	}
	p := packet.Probe{IPv6: s.Key.IPv6}
	if dir == 0 {
		p.Src, p.SrcPort = s.Client()
		p.Dst, p.DstPort = s.Server()
	} else {
		p.Src, p.SrcPort = s.Server()
		p.Dst, p.DstPort = s.Client()
	}
	a.guess += 1<<31 + 1<<20 // of two guesses in a row at most one is inside of a window
	p.Seq, p.Ack = s.ProbeSeq(dir, a.guess)
	link := packet.EthernetHeader(v.MAC, probeFrom, s.Key.IPv6)
	p.Link = link[:]
	data := packet.BuildProbe(a.buf[:], &p)
	if data == nil {
		return
	}
	f := packet.Frame{Data: data, Wire: uint32(len(data)), Endpoint: v.ID, Dir: packet.Ingress, Link: packet.Ethernet, Flags: packet.Injected}
	if a.exits.deliver(&f, r) {
		r.count[counter.Probes]++
	}
}

// probeFrom is the link address that probes come from: the peer's is not known, and no
// receiver answers to it.
var probeFrom = [6]byte{0x02, 0, 0, 0, 0, 1}

// lateReset passes the end of a refused connection on whose other end knows nothing of it:
// as a reset built here, so that nothing of the packet passes.
func (a *actuator) lateReset(c *packetContext, r *Recorder) {
	if !a.exits.sends(c.f.Endpoint) || c.last != nil || c.s.Marks&session.ResetDue == 0 || !c.p.MayAnswer() {
		return
	}
	c.s.Marks &^= session.ResetDue
	a.reset(c, c.p.ResetOnward(), r)
}
