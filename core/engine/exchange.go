package engine

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// An endpoint that is enforced one way and is to be enforced another way has both for a moment: each of its
// packets comes past the one and then the other. The old way judges, the new one lets pass, until
// both stand still for as long as it takes to hand the sessions over; then it is the other way round,
// and the old way goes. So nothing passes unjudged and nothing is lost.

const (
	// exchangePatience is how long sessions with held packets, and incomplete datagrams, are waited
	// for before they move without: TCP sends again.
	exchangePatience = 400 * time.Millisecond
	exchangeAgain    = 2 * time.Millisecond
	// underWay is what a packet that the new way let pass may take to the old way's queue.
	underWay = int64(time.Millisecond)
	// lateFor is how long the old way looks at what comes to it out of the new one all the same.
	lateFor = int64(200 * time.Millisecond)
	// unfilled is a batch after which a queue was empty: every backend's batches can be larger.
	unfilled = 64
	// skimmed bounds the batches that are taken out of the new queue while nothing moves.
	skimmed = 64
)

// exchange puts next in the place of old, both inline and by different backends. On error old goes
// on as if nothing had been. The caller holds mu.
func (e *Engine) exchange(old, next *attached) error {
	id := next.ep.ID
	pass := func(w *worker) { w.ignore[id] = true }
	if err := openBeside(old, next, pass); err != nil {
		return err
	}
	limit := time.Now().Add(exchangePatience)
	for moved := false; !moved; {
		patient := time.Now().Before(limit)
		if patient && holding(old) {
			time.Sleep(exchangeAgain)
			continue
		}
		standing(next.workers, (*worker).do, func() {
			standing(old.workers, (*worker).emptied, func() { moved = e.swap(old, next, patient) })
		})
	}
	if err := old.att.Close(); err != nil {
		e.cfg.Logger.Warn("inline endpoint not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	return nil
}

// holding says whether packets of an endpoint are held.
func holding(a *attached) (held bool) {
	for _, w := range a.workers {
		w.do(func() { held = held || w.holdsBack(a.ep.ID) })
	}
	return held
}

// standing runs fn while every one of the workers is made to wait for it.
func standing(list []*worker, stop func(*worker, func()), fn func()) {
	if len(list) == 0 {
		fn()
		return
	}
	stop(list[0], func() { standing(list[1:], stop, fn) })
}

// swap hands the sessions over while the workers of both ways stand still. A patient one does so only
// where the old way holds nothing back; it says whether it did.
func (e *Engine) swap(old, next *attached, patient bool) bool {
	id := next.ep.ID
	for _, w := range old.workers {
		if patient && w.holdsBack(id) {
			return false
		}
	}
	// What the new way let pass may still come to the old one, and what the old way let pass is in the
	// new queue, in the directions in which they meet the packets first.
	late, judged := packet.Ingress, packet.Egress
	if inside(next.ep.Hook.Side) < inside(old.ep.Hook.Side) {
		late, judged = judged, late
	}
	var sessions []moved
	for _, w := range old.workers {
		w.dropBack(id)
		sessions = append(sessions, w.export(id)...)
	}
	e.eps[id] = next
	e.publish()
	for _, w := range old.workers {
		w.expectLate(id, late)
	}
	shares := next.shares(sessions)
	for i, w := range next.workers {
		w.now = e.cfg.Now()
		w.adopt(id, shares[i])
	}
	for _, w := range next.workers {
		w.skim(id, judged)
	}
	return true
}

// inside is the place of a hook on the way out of a workload.
func inside(s backend.Side) int {
	switch s {
	case backend.StackSide, backend.LoopbackSide:
		return 0
	case backend.OwnSide:
		return 1
	}
	return 2
}

// holdsBack says whether packets of an endpoint are held, as a whole or in pieces.
func (w *worker) holdsBack(id uint32) bool {
	held := w.frags.Waiting(id)
	w.table.EachOf(id, func(s *session.Session) bool {
		if i := w.identOf(s); i != nil && len(i.held) > 0 {
			held = true
		}
		return !held
	})
	return held
}

// dropBack drops what is held of an endpoint's sessions: to let it go unjudged would be a leak.
func (w *worker) dropBack(id uint32) {
	w.table.EachOf(id, func(s *session.Session) bool {
		if i := w.identOf(s); i != nil && len(i.held) > 0 {
			w.count[counter.HeldAtSwitch] += uint64(len(i.held))
			w.dropHeld(i)
		}
		return true
	})
}

// skim takes what waits in the queue at a hand-over. What of the endpoint goes in one direction
// was judged the old way already and passes; everything else is judged as ever.
func (w *worker) skim(id uint32, judged packet.Direction) {
	for range skimmed {
		w.q.Wake()
		w.batch.Reset()
		err := w.q.Recv(w.batch)
		w.now = w.e.cfg.Now()
		w.refresh()
		frames := w.batch.All()
		for i := range frames {
			f := &frames[i]
			if f.Endpoint == id && f.Dir == judged {
				f.Verdict.Action = packet.Pass
				w.count[counter.PassedAtSwitch]++
				continue
			}
			w.frame(f)
		}
		if w.remote != nil {
			w.remote.Flush()
		}
		if serr := w.q.Settle(w.batch); err != nil || serr != nil || len(frames) < unfilled {
			return // an error comes again, to those who deal with it
		}
	}
}

// latecomers are packets that passed the new way unseen before the hand-over, and come to the old way
// after it.
type latecomers struct {
	dir   packet.Direction
	until int64 // ns since the epoch
}

// expectLate has the worker look at what comes of an endpoint that it handed over.
func (w *worker) expectLate(id uint32, dir packet.Direction) {
	if w.late == nil {
		w.late = map[uint32]latecomers{}
	}
	w.late[id] = latecomers{dir, w.e.cfg.Now() + lateFor}
}

// tooLate says whether a frame of an endpoint that was handed over begins a connection that policy
// refuses. The new way would have refused it: it cannot have seen it.
func (w *worker) tooLate(f *packet.Frame) bool {
	l, ok := w.late[f.Endpoint]
	if !ok {
		return false
	}
	if w.now > l.until {
		delete(w.late, f.Endpoint)
		return false
	}
	v, p := w.snap.endpoints[f.Endpoint], &w.p
	if f.Dir != l.dir || v == nil || v.pol == nil || !v.inline {
		return false
	}
	p.Decode(f)
	if p.Status != packet.OK || p.Proto != packet.ProtoTCP || p.Flags&(packet.SYN|packet.ACK) != packet.SYN {
		return false
	}
	q := policy.Query{Dir: f.Dir, Peer: p.Dst, Local: p.Src, IPv6: p.IPv6, Proto: p.Proto, Port: p.DstPort, App: app.Undecided, Base: app.Undecided}
	if f.Dir == packet.Ingress {
		q.Peer, q.Local = p.Src, p.Dst
	}
	return v.pol.Decide(&q).Verdict == flow.Deny
}
