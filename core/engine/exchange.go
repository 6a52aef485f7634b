package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
)

// When an endpoint moves from one inline backend to another, both are attached for a moment:
// each of its packets passes both. The old datapath judges and the new one passes, until both
// stop for as long as the hand-over of the sessions takes; then the roles are swapped, and
// the old datapath is detached. So nothing passes unjudged and nothing is lost.

const (
	// exchangePatience is how long the hand-over waits for sessions with held packets and for
	// incomplete datagrams; after it they move without: TCP retransmits.
	exchangePatience = 400 * time.Millisecond
	exchangeAgain    = 2 * time.Millisecond
	// underWay is the maximum time from the new datapath to the old one's queue for a packet
	// that the new one passed.
	underWay = int64(time.Millisecond)
	// lateFor is how long the old datapath still checks packets from the new one.
	lateFor = int64(200 * time.Millisecond)
	// unfilled is the size of a batch after which a queue was empty: every backend's batches can
	// be larger.
	unfilled = 64
	// skimmed bounds the batches taken from the new queue during the hand-over.
	skimmed = 64
)

// exchange replaces the attachment by next, both inline and by different backends. On error
// the old one continues unchanged.
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
		whileStopped(next.workers, (*worker).stopped, func() {
			whileStopped(old.workers, (*worker).emptied, func() { moved = t.swap(patient) })
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
	for _, w := range a.judges() {
		w.do(func() { held = held || w.path.Holding(a.ep.ID) })
	}
	return held
}

// lockWorkers locks the workers.
func lockWorkers(list []*worker) (unlock func()) {
	return lockInOrder(list, func(w *worker) sync.Locker { return &w.stand })
}

// lockInOrder takes one lock of each worker in the order of their numbers, so that two hand-overs
// cannot deadlock.
func lockInOrder(list []*worker, of func(*worker) sync.Locker) (unlock func()) {
	list = slices.Clone(list)
	slices.SortFunc(list, byNumber)
	list = slices.Compact(list)
	for _, w := range list {
		of(w).Lock()
	}
	return func() {
		for _, w := range list {
			of(w).Unlock()
		}
	}
}

// whileStopped runs fn while all workers are stopped for it.
func whileStopped(list []*worker, stop func(*worker, func()), fn func()) {
	if len(list) == 0 {
		fn()
		return
	}
	stop(list[0], func() { whileStopped(list[1:], stop, fn) })
}

// swap hands the sessions over while the workers of both datapaths are stopped. With patient
// it does so only if the old one holds no packets; it reports whether it did.
func (t *transition) swap(patient bool) bool {
	e, s, old, next := t.e, t.s, t.old, t.next
	if patient && t.holds() {
		return false
	}
	// Packets that the new datapath passed may still reach the old one, and packets that the old
	// one passed are in the new queue, in the directions in which it sees the packets first.
	late, judged := packet.Ingress, packet.Egress
	if inside(next.ep.Hook.Side) < inside(old.ep.Hook.Side) {
		late, judged = judged, late
	}
	var sessions []path.Moved
	for _, w := range old.workers {
		t.dropHeld(w)
		w.locked(func() { sessions = append(sessions, t.export(w)...) })
	}
	t.swapHome()
	for _, w := range old.workers {
		w.locked(func() { w.path.Gate().Expect(s.id, late, e.cfg.Now()+lateFor) })
	}
	shares := next.shares(sessions)
	for i, w := range next.workers {
		w.locked(func() {
			w.path.Begin(e.cfg.Now())
			w.path.Adopt(s.id, shares[i])
		})
	}
	for _, w := range next.workers {
		w.skim(s.id, judged)
	}
	return true
}

// inside is the position of a hook on a packet's path out of a workload.
func inside(s backend.Side) int {
	switch s {
	case backend.StackSide, backend.LoopbackSide:
		return 0
	case backend.OwnSide:
		return 1
	}
	return 2
}

// skim takes the packets waiting in the queue at a hand-over. The endpoint's packets in one
// direction were judged by the old datapath already and pass; all others are judged as usual.
func (w *worker) skim(id uint32, judged packet.Direction) {
	w.locked(func() { w.path.Gate().Skim(id, judged) })
	for range skimmed {
		w.q.Wake()
		if n, err := w.receive(); err != nil || n < unfilled {
			break // an error is returned again, to the caller that handles it
		}
	}
	w.locked(func() { w.path.Gate().EndSkim(id) })
}
