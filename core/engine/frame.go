package engine

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// look is one packet on its way through the engine, with what was found of it.
type look struct {
	v   *view
	f   *packet.Frame
	p   *packet.Packet
	s   *session.Session
	dir int // 0 from client to server, 1 back
	tcp session.TCPResult
}

// frame takes one frame from decoding to its verdict.
func (w *worker) frame(f *packet.Frame) {
	v := w.view(f.Endpoint)
	if v == nil && len(w.joining) > 0 && w.collect(f) || (f.Stamp >= w.until || f.Stamp < w.since) && w.outside(f) {
		f.Verdict.Action = packet.Pass
		return
	}
	w.count[counter.Frames]++
	w.count[counter.Bytes] += uint64(f.Wire)
	if v == nil {
		w.count[counter.UnknownEndpoint]++
		f.Verdict.Action = packet.Pass
		if len(w.late) > 0 && w.tooLate(f) {
			f.Verdict.Action = packet.Drop
		}
		return
	}
	t := w.tally(v)
	t.n[atFrames+int(f.Dir&3)]++
	t.n[atBytes+int(f.Dir&3)] += uint64(f.Wire)
	p := &w.p
	p.Decode(f)
	a := packet.Pass
	switch p.Status {
	case packet.OK:
		a = w.packet(v, f, p)
	case packet.NotIP:
		w.count[counter.NotIP]++
	case packet.Fragment:
		w.count[counter.Fragments]++
		a = w.fragment(v, f, p)
	default:
		w.count[counter.Malformed]++
		w.threat(v, p, 0, threat.BadPacket, string(p.Reason))
		a = w.stop(byForm)
	}
	f.Verdict.Action = a
	switch a {
	case packet.Pass:
		w.count[counter.Passed]++
		if w.cause == byFullTable {
			w.passedUnjudged(v, t)
		}
	case packet.Drop, packet.Hold:
		w.count[counter.DroppedFrames]++
		if v.inline {
			t.n[atDropped+int(w.cause)]++
		}
		w.cause = noCause
	default:
		w.count[counter.Undecided]++
	}
}

// packet judges a whole packet.
func (w *worker) packet(v *view, f *packet.Frame, p *packet.Packet) packet.Action {
	if w.tunnels {
		if a, inside := w.tunnel(v, f, p); inside {
			return a
		}
	}
	if neighbourly(p) {
		w.count[counter.Neighbours]++
		return packet.Pass
	}
	if p.Embedded != nil {
		if a, known := w.icmpError(v, f, p); known {
			return a
		}
	}
	if id, text := threat.Header(p); id != 0 {
		w.threat(v, p, 0, id, text)
	}
	l := look{v: v, f: f, p: p}
	if !w.find(&l) {
		w.count[counter.TableFull]++
		w.cause = byFullTable
		return v.pass
	}
	if p.Proto == packet.ProtoTCP {
		return w.segment(&l)
	}
	w.touch(&l)
	if l.dir == 1 && l.s.Flags&session.Answered == 0 {
		l.s.Flags |= session.Answered | flagChanged
	}
	return w.judge(&l)
}

// find looks the packet's session up, or opens it; false when the table is full.
func (w *worker) find(l *look) bool {
	k, swapped := session.KeyOf(l.p, l.f.Endpoint)
	l.s = w.table.Lookup(&k)
	if l.s == nil {
		if l.s = w.open(l.v, l.f, l.p, &k, swapped); l.s == nil {
			return false
		}
	}
	l.dir = l.s.DirOf(swapped)
	return true
}

// segment tracks a TCP segment and judges it.
func (w *worker) segment(l *look) packet.Action {
	if l.s.Flags&flagOffloaded != 0 {
		w.glimpse(l)
	}
	l.tcp = l.s.Track(l.p, l.dir, w.stamp(l.f))
	if l.tcp.Has(session.Reopen) {
		w.finish(l.s)
		w.table.Delete(l.s)
		if !w.find(l) {
			w.count[counter.TableFull]++
			w.cause = byFullTable
			return l.v.pass
		}
		l.tcp = l.s.Track(l.p, l.dir, w.stamp(l.f))
	}
	w.touch(l)
	if l.tcp.Events != 0 {
		w.events(l)
	}
	return w.judge(l)
}

// events follows up on what a segment changed.
func (w *worker) events(l *look) {
	r := l.tcp
	if r.Has(session.Opened) {
		l.s.Flags |= session.Answered | flagChanged
	}
	if r.Has(session.Simultaneous) {
		w.threat(l.v, l.p, l.s.ID, threat.SplitHandshake, "tcp SYN answered with SYN")
	}
	if r.Events&(session.ClosedNow|session.ResetNow|session.RefusedNow) != 0 {
		l.s.Flags |= flagChanged
		w.table.Schedule(l.s, w.stamp(l.f)+endAfter)
		l.s.Flags &^= flagIdle
	}
	if r.Has(session.Gap) {
		w.lost(l)
	}
}

// touch counts a packet and keeps its session's timer ahead.
func (w *worker) touch(l *look) {
	now := w.stamp(l.f)
	if n := len(l.p.Network) + l.p.PayloadWire - len(l.p.Payload); l.s.Flags&flagOffloaded == 0 {
		l.s.Count(l.dir, n, now)
	} else {
		w.seen(l.s, n, now)
	}
	if l.s.Flags&flagIdle != 0 {
		l.s.Flags &^= flagIdle
		w.table.Schedule(l.s, now+updateEvery)
	}
}

// stamp is a frame's time, or now where the backend gave none.
func (w *worker) stamp(f *packet.Frame) int64 {
	if f.Stamp != 0 {
		return f.Stamp
	}
	return w.now
}

// readable says whether the packet's payload belongs to the stream: within the window, and
// no keep-alive's byte of rubbish.
func (l *look) readable() bool {
	return l.p.Proto != packet.ProtoTCP || l.tcp.Valid && !l.tcp.Has(session.KeepAlive)
}

// judge finds the verdict of a packet of a session: policy where it is due,
// identification of what it carries, and what follows for the packet.
func (w *worker) judge(l *look) packet.Action {
	s := l.s
	if l.v.loopback && s.Flags&flagTraced == 0 {
		w.trace(l)
	}
	if s.Generation != w.snap.version || s.Verdict == uint8(flow.NoVerdict) {
		w.evaluate(l.v, s)
	}
	if s.Flags&flagIdentified == 0 && l.p.PayloadWire > 0 && l.readable() {
		w.identify(l)
	}
	if !l.v.inline || w.replaying {
		return packet.Pass
	}
	switch flow.Verdict(s.Verdict) {
	case flow.Deny:
		return w.deny(l)
	case flow.Pending:
		// What was picked up in mid-stream has had its first request long ago.
		if l.p.PayloadWire > 0 && s.Flags&(session.Midstream|flagReleased) == 0 {
			return w.hold(l)
		}
	default:
		if w.kernel != nil && s.Flags&(flagIdentified|session.Stays) == flagIdentified {
			w.offload(l)
		}
	}
	return packet.Pass
}
