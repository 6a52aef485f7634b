package engine

import (
	"bytes"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
)

// Bounds of what is held of pending sessions.
const (
	maxHeldFrames = 32       // of one session
	maxHeldBytes  = 32 << 20 // of one worker
)

// hold keeps a payload packet of a pending session back until its application is known,
// so that a denied one's first request never reaches the server.
func (w *worker) hold(l *look) packet.Action {
	id := w.identOf(l.s)
	if id == nil || w.sender == nil {
		return packet.Drop // a segment outside of the window: nobody waits for it
	}
	l.s.Dropped(l.dir, l.tcp)
	if l.tcp.Has(session.Retransmit) && len(id.held) > 0 {
		return packet.Drop // the first copy is here already
	}
	if w.rebuilding || len(id.held) == maxHeldFrames || w.held+len(l.f.Data) > maxHeldBytes {
		w.count.holdFull++
		return packet.Drop // TCP sends it again
	}
	if id.until == 0 {
		id.until = w.now + int64(l.v.pol.Hold())
		w.table.Schedule(l.s, min(id.until, w.stamp(l.f)+startAfter))
		l.s.Flags &^= flagIdle
	}
	f := *l.f
	f.Data = bytes.Clone(l.f.Data)
	id.held = append(id.held, f)
	id.heldAt = append(id.heldAt, id.far.asked)
	w.held += len(f.Data)
	w.count.heldFrames++
	if w.holder != nil {
		return packet.Hold
	}
	return packet.Drop
}

// settleHeld ends the wait of a session's held packets: they go on, or they are gone.
func (w *worker) settleHeld(s *session.Session, id *ident) {
	if len(id.held) == 0 {
		return
	}
	if report.Verdict(s.Verdict) == report.Deny {
		w.refuseHeld(s, id)
		w.dropHeld(id)
		return
	}
	w.release(s, id)
}

// release sends the held packets on, in order.
func (w *worker) release(s *session.Session, id *ident) {
	w.deliver(s, id.held)
	w.dropHeld(id)
}

// releaseSome sends the first n of the held packets on; the others go on waiting.
func (w *worker) releaseSome(s *session.Session, id *ident, n int) {
	if n == len(id.held) {
		w.release(s, id)
		return
	}
	w.deliver(s, id.held[:n])
	for i := range n {
		w.held -= len(id.held[i].Data)
	}
	rest := copy(id.held, id.held[n:])
	clear(id.held[rest:])
	id.held = id.held[:rest]
	id.heldAt = id.heldAt[:copy(id.heldAt, id.heldAt[n:])]
}

// deliver sends held packets.
func (w *worker) deliver(s *session.Session, held []packet.Frame) {
	for i := range held {
		f := &held[i]
		w.inner.Decode(f)
		if w.inner.Status == packet.OK && w.inner.Proto == packet.ProtoTCP {
			_, swapped := session.KeyOf(&w.inner, f.Endpoint)
			s.Delivered(s.DirOf(swapped), &w.inner)
		}
		if w.sender == nil {
			continue
		}
		if err := w.sender.Send(f); err != nil {
			w.count.sendFailed++
		}
	}
}

// dropHeld forgets the held packets.
func (w *worker) dropHeld(id *ident) {
	for i := range id.held {
		w.held -= len(id.held[i].Data)
		if w.holder != nil {
			w.holder.Discard(&id.held[i]) // nothing to those that were sent
		}
	}
	clear(id.held)
	id.held, id.heldAt, id.until = id.held[:0], id.heldAt[:0], 0
}

// holdExpired decides a session whose hold time ran out, as its group says.
func (w *worker) holdExpired(v *view, s *session.Session, id *ident) {
	w.count.holdExpired++
	s.Flags |= session.HoldExpired | flagChanged
	if v == nil || v.pol == nil || !v.pol.HoldDeny() {
		s.Flags |= flagPassed
		if v != nil {
			w.evaluate(v, s)
		}
		w.release(s, id)
		return
	}
	s.Verdict, s.Reason = uint8(report.Deny), uint8(report.ByHoldExpired)
	w.settleHeld(s, id)
}
