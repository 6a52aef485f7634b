package engine

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// rejectsPerSecond bounds the ICMP errors that one worker sends.
const rejectsPerSecond = 1000

// deny refuses a packet of a denied session: it is dropped, and the ends are told once
// (a SYN each time it comes).
func (w *worker) deny(l *look) packet.Action {
	l.s.Dropped(l.dir, l.tcp)
	first := l.s.Flags&session.Denied == 0
	w.cause = byPolicy
	l.s.Flags |= session.Denied
	if w.sender == nil || w.rebuilding || l.v.pol == nil || l.v.pol.OnDeny() == policy.Silent {
		return packet.Drop
	}
	if l.p.Proto == packet.ProtoTCP {
		if syn := l.p.Flags&packet.SYN != 0; first || syn {
			w.resetBoth(l)
		}
		return packet.Drop
	}
	if l.v.pol.OnDeny() == policy.Reject && l.p.Proto == packet.ProtoUDP {
		w.reject(l)
	}
	return packet.Drop
}

// resetBoth answers a denied segment: its sender, and unless it is the first SYN, its
// receiver too.
func (w *worker) resetBoth(l *look) {
	p := l.p
	if p.Flags&packet.RST != 0 || !p.MayAnswer() {
		return
	}
	w.reset(l, p.ResetBack())
	if p.Flags&(packet.SYN|packet.ACK) == packet.SYN {
		return
	}
	onward := p.ResetOnward()
	if seq, _, ok := l.s.ResetSeq(l.dir); ok && p.Flags&packet.SYN == 0 {
		onward.Seq = seq // RFC 5961 3.2: believed only at exactly what the receiver expects
	}
	w.reset(l, onward)
}

// reset sends one reset along the way of the packet that caused it, or back.
func (w *worker) reset(l *look, r packet.Reset) {
	link, ok := l.p.LinkHeader(l.f)
	if !ok {
		return
	}
	r.Link = link
	dir := l.f.Dir
	if r.Back {
		dir = dir.Reverse()
	}
	w.send(l.f, packet.BuildRST(w.buf[:], r), dir)
	w.count[counter.Resets]++
}

// reject answers a denied datagram with an ICMP error.
func (w *worker) reject(l *look) {
	if !l.p.MayAnswer() {
		return
	}
	if sec := w.now / 1e9; sec != w.rejectSecond {
		w.rejectSecond, w.rejects = sec, 0
	}
	if w.rejects++; w.rejects > rejectsPerSecond {
		return
	}
	link, ok := l.p.LinkHeader(l.f)
	if !ok {
		return
	}
	u := packet.Unreachable{Link: link, Back: true, IPv6: l.p.IPv6, Src: l.p.Dst, Dst: l.p.Src, Quote: l.p.Network}
	w.send(l.f, packet.BuildUnreachable(w.buf[:], u), l.f.Dir.Reverse())
	w.count[counter.Unreachables]++
}

// send sends a frame of the engine's own on the endpoint of the frame that caused it.
func (w *worker) send(cause *packet.Frame, data []byte, dir packet.Direction) {
	if data == nil {
		return
	}
	f := packet.Frame{
		Data: data, Wire: uint32(len(data)), Endpoint: cause.Endpoint, Dir: dir, Link: cause.Link,
		Flags: packet.Injected | cause.Flags&packet.VLANStripped, VLAN: cause.VLAN, VLANProto: cause.VLANProto,
	}
	if err := w.sender.Send(&f); err != nil {
		w.count[counter.SendFailed]++
	}
}

// refuseHeld resets both ends of a session that is denied while its packets are held.
func (w *worker) refuseHeld(s *session.Session, id *ident) {
	v := w.view(s.Key.Endpoint)
	if v == nil {
		return
	}
	for i := range id.held {
		f := &id.held[i]
		w.inner.Decode(f)
		if w.inner.Status != packet.OK {
			continue
		}
		_, swapped := session.KeyOf(&w.inner, f.Endpoint)
		l := look{v: v, f: f, p: &w.inner, s: s, dir: s.DirOf(swapped)}
		w.deny(&l)
		return
	}
}
