package engine

import (
	"cmp"
	"slices"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
)

// An endpoint that is enforced by one backend and is to be enforced by another has both for a moment: each of its
// packets passes the one and then the other. The old datapath judges, the new one lets pass, until
// both stand still for as long as it takes to hand the sessions over; then it is the other way round,
// and the old one goes. So nothing passes unjudged and nothing is lost.

const (
	// exchangePatience is how long sessions with held packets, and incomplete datagrams, are waited
	// for before they move without: TCP sends again.
	exchangePatience = 400 * time.Millisecond
	exchangeAgain    = 2 * time.Millisecond
	// underWay is what a packet that the new datapath let pass may take to the old one's queue.
	underWay = int64(time.Millisecond)
	// lateFor is how long the old datapath checks what comes to it out of the new one all the same.
	lateFor = int64(200 * time.Millisecond)
	// unfilled is a batch after which a queue was empty: every backend's batches can be larger.
	unfilled = 64
	// skimmed bounds the batches that are taken out of the new queue while nothing moves.
	skimmed = 64
)

// exchange puts next in the place of what is there, both inline and by different backends. On error the old
// one goes on as if nothing had been.
func (t *transition) exchange() error {
	old, next := t.old, t.next
	if err := t.openBeside(false); err != nil {
		return err
	}
	limit := time.Now().Add(exchangePatience)
	for moved := false; !moved; {
		patient := time.Now().Before(limit)
		if patient && holding(old) {
			time.Sleep(exchangeAgain)
			continue
		}
		unlock := lockWorkers(slices.Concat(old.workers, next.workers))
		standing(next.workers, (*worker).do, func() {
			standing(old.workers, (*worker).emptied, func() { moved = t.swap(patient) })
		})
		unlock()
	}
	if err := old.close(); err != nil {
		t.e.cfg.Logger.Warn("inline endpoint not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	return nil
}

// holding reports whether packets of an endpoint are held.
func holding(a *attached) (held bool) {
	for _, w := range a.workers {
		w.do(func() { held = held || w.path.Holding(a.ep.ID) })
	}
	return held
}

// lockWorkers has no two hand-overs wait for each other's workers.
func lockWorkers(list []*worker) (unlock func()) {
	slices.SortFunc(list, func(a, b *worker) int { return cmp.Compare(a.number, b.number) })
	list = slices.Compact(list)
	for _, w := range list {
		w.stand.Lock()
	}
	return func() {
		for _, w := range list {
			w.stand.Unlock()
		}
	}
}

// standing runs fn while every one of the workers is made to wait for it.
func standing(list []*worker, stop func(*worker, func()), fn func()) {
	if len(list) == 0 {
		fn()
		return
	}
	stop(list[0], func() { standing(list[1:], stop, fn) })
}

// swap hands the sessions over while the workers of both datapaths stand still. A patient one does so only
// where the old one holds nothing back; it reports whether it did.
func (t *transition) swap(patient bool) bool {
	e, s, old, next := t.e, t.s, t.old, t.next
	for _, w := range old.workers {
		if patient && w.path.Holding(s.id) {
			return false
		}
	}
	// What the new datapath let pass may still come to the old one, and what the old one let pass is in the
	// new queue, in the directions in which they meet the packets first.
	late, judged := packet.Ingress, packet.Egress
	if inside(next.ep.Hook.Side) < inside(old.ep.Hook.Side) {
		late, judged = judged, late
	}
	var sessions []path.Moved
	for _, w := range old.workers {
		w.path.Sessions().DropHeld(s.id)
		sessions = append(sessions, w.path.Export(s.id)...)
	}
	e.place(s, next)
	for _, w := range old.workers {
		w.path.Gate().Expect(s.id, late, e.cfg.Now()+lateFor)
	}
	shares := next.shares(sessions)
	for i, w := range next.workers {
		w.path.Begin(e.cfg.Now())
		w.path.Adopt(s.id, shares[i])
	}
	for _, w := range next.workers {
		w.skim(s.id, judged)
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

// skim takes what waits in the queue at a hand-over. What of the endpoint goes in one direction
// was judged by the old datapath already and passes; everything else is judged as ever.
func (w *worker) skim(id uint32, judged packet.Direction) {
	w.path.Gate().Skim(id, judged)
	for range skimmed {
		w.q.Wake()
		if n, err := w.receive(); err != nil || n < unfilled {
			break // an error comes again, to those who deal with it
		}
	}
	w.path.Gate().EndSkim(id)
}
