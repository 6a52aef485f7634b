package engine

import (
	"bytes"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// Bounds of what is held of pending sessions.
const (
	maxHeldFrames = 64       // of one session; the largest datagram comes in 46
	maxHeldBytes  = 32 << 20 // of one worker
)

// How long after a held packet none must have come for it to be let go, ns.
const (
	// quietAfter is longer than the pauses within a request that is cut in pieces, so that these
	// stay together.
	quietAfter = int64(200e6)
	// quietNameless is for sessions that are allowed without a name, which nearly all that cannot be
	// named by their first bytes end with: the wait is a price that each of their connections pays.
	quietNameless = int64(10e6)
)

// hold keeps a payload packet of a pending session back until its application is known,
// so that a denied one's first request never reaches the server.
func (w *worker) hold(l *look) packet.Action {
	id := w.identOf(l.s)
	if id == nil || w.sender == nil {
		return w.stop(byWindow) // nobody waits for it
	}
	l.s.Dropped(l.dir, l.tcp)
	if l.tcp.Has(session.Retransmit) && len(id.held) > 0 {
		w.count[counter.HeldAgain]++
		return w.stop(byRepetition) // the first copy is here already
	}
	if w.rebuilding && w.holder != nil || len(id.held)+len(w.fragments)+1 > maxHeldFrames || w.held+len(l.f.Data) > maxHeldBytes {
		w.count[counter.HoldFull]++
		return w.stop(byFullHold) // TCP sends it again
	}
	w.wait(l, id)
	if !w.rebuilding {
		w.keep(id, l.f)
	} else {
		for _, f := range w.fragments {
			w.keep(id, f)
		}
		w.keep(id, w.lastFragment)
	}
	w.cause = kept
	if w.holder != nil {
		return packet.Hold
	}
	return packet.Drop
}

// keep copies a frame for the time that it is held.
func (w *worker) keep(id *ident, from *packet.Frame) {
	f := *from
	f.Data = bytes.Clone(from.Data)
	id.held = append(id.held, f)
	id.heldAt = append(id.heldAt, id.far.asked)
	w.held += len(f.Data)
	w.count[counter.HeldFrames]++
}

// wait sets how long the session's packets are held: for the group's hold time, or, where they may pass
// then, until nobody goes on. Who waits for an answer sends nothing that could tell more.
func (w *worker) wait(l *look, id *ident) {
	if len(id.held) == 0 {
		id.limit = w.now + int64(l.v.pol.Hold())
	}
	id.until = id.limit
	if !l.v.pol.HoldDeny() {
		id.until = min(id.limit, w.now+w.quietOf(l.v, l.s))
	}
	w.table.Schedule(l.s, min(id.until, w.stamp(l.f)+startAfter))
	l.s.Flags &^= flagIdle
	w.wakeAt(id.until)
}

// quietOf is the pause that lets a session's held packets go.
func (w *worker) quietOf(v *view, s *session.Session) int64 {
	if v == nil || v.pol == nil {
		return quietAfter
	}
	q := w.query(s)
	q.App, q.Base = app.Unknown, app.Unknown
	if v.pol.Decide(&q).Verdict == flow.Allow {
		return quietNameless
	}
	return quietAfter
}

// wakeAt lets the worker look at its timers at a time; the newest call counts for all.
func (w *worker) wakeAt(at int64) {
	d := time.Duration(at - w.now + session.Tick)
	if w.alarm == nil {
		w.alarm = time.AfterFunc(d, w.q.Wake)
		return
	}
	w.alarm.Reset(d)
}

// quiet lets nothing wake the worker any more.
func (w *worker) quiet() {
	if w.alarm != nil {
		w.alarm.Stop()
	}
}

// settleHeld ends the wait of a session's held packets: they go on, or they are gone.
func (w *worker) settleHeld(s *session.Session, id *ident) {
	if len(id.held) == 0 {
		return
	}
	if flow.Verdict(s.Verdict) == flow.Deny {
		w.refuseHeld(s, id)
		w.cause = noCause // it is the held frames', not that of the frame at hand
		if v := w.snap.endpoints[s.Key.Endpoint]; v != nil {
			w.tally(v).n[atDropped+int(byPolicy)] += uint64(len(id.held))
		}
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
			w.count[counter.SendFailed]++
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
	if id.until < id.limit {
		if w.unanswered(id) {
			id.until = min(id.limit, w.now+w.quietOf(v, s))
			w.wakeAt(id.until)
			return
		}
		// Its policy is pending still, and decides when identification ends.
		s.Flags |= flagReleased
		w.count[counter.HoldQuiet]++
		w.release(s, id)
		return
	}
	w.count[counter.HoldExpired]++
	s.Flags |= session.HoldExpired | flagChanged
	if v == nil || v.pol == nil || !v.pol.HoldDeny() {
		s.Flags |= flagPassed
		if v != nil {
			w.evaluate(v, s)
		}
		w.release(s, id)
		return
	}
	s.Verdict, s.Reason = uint8(flow.Deny), uint8(flow.ByHoldExpired)
	if v != nil {
		w.judged(v, flow.Deny)
	}
	w.settleHeld(s, id)
}
