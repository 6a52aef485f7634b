package engine

import (
	"errors"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/session"
)

// Between a tap and an inline datapath there is one moment, the cut: what came before it counts where the
// endpoint was, what came after it where it goes. Both see the frames for a while, and each
// leaves those of the other side of the cut alone, so that no connection is missed and none is counted twice.
// Each worker's core/handover.Gate knows which are which.

const (
	// cutAhead is how long before the cut a tap's worker learns of it.
	cutAhead = time.Millisecond
	// tapPatience bounds the wait for what a tap saw before the cut: a worker that does not get to run
	// has much to read.
	tapPatience = 3 * time.Second
	// tapAgain is how often a tap is asked meanwhile.
	tapAgain = time.Millisecond
)

// transition is one change of how an endpoint is attached. Its slot is locked.
type transition struct {
	e    *Engine
	s    *slot
	old  *attached // nil: it is attached for the first time
	next *attached
}

// openBeside opens an inline datapath while the old one goes on. Its workers let the endpoint's frames pass
// until they are given its sessions; with keep they keep copies. On error everything is as it was.
func (t *transition) openBeside(keep bool) error {
	id, next := t.s.id, t.next
	for _, w := range next.workers {
		w.do(func() { w.path.Gate().Shadow(id, keep) })
	}
	err := next.att.Activate()
	if err == nil {
		return nil
	}
	for _, w := range next.workers {
		w.do(func() { w.path.Gate().Move(id) })
	}
	return errors.Join(err, next.close())
}

// fromTap puts an inline endpoint in the place of a tap.
func (t *transition) fromTap() error {
	e, s, old, next := t.e, t.s, t.old, t.next
	if err := t.openBeside(true); err != nil {
		return err
	}
	cut := e.cfg.Now() + int64(cutAhead)
	for _, w := range old.workers {
		w.do(func() { w.path.Gate().Cut(s.id, cut) })
	}
	var sessions []path.Moved
	for _, w := range old.workers {
		w.enqueue(command{fn: func() { sessions = append(sessions, w.path.Export(s.id)...) },
			endpoint: s.id, patience: cut + int64(tapPatience), done: make(chan struct{})})
	}
	e.place(s, next)
	shares := next.shares(sessions)
	for i, w := range next.workers {
		w.do(func() { w.path.Replay(w.path.Adopt(s.id, shares[i]), cut) })
	}
	if err := old.close(); err != nil {
		e.cfg.Logger.Warn("tap not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	return nil
}

// toTap puts a tap in the place of an inline endpoint. The tap's ring keeps what it sees until the
// sessions are there. On error the endpoint stays inline.
func (t *transition) toTap() error {
	e, s, next := t.e, t.s, t.next
	var err error
	standing(next.workers, (*worker).do, func() {
		if err = next.att.Activate(); err != nil {
			return
		}
		cut := e.cfg.Now()
		sessions := t.leave()
		e.place(s, next)
		shares := next.shares(sessions)
		for i, w := range next.workers {
			w.path.Begin(e.cfg.Now())
			w.path.Adopt(s.id, shares[i])
			w.path.Gate().Since(s.id, cut)
		}
	})
	if err != nil {
		return errors.Join(err, next.close())
	}
	return nil
}

// leave takes an endpoint off the inline path: first its frames go past, then what is in
// the queue is judged, then its sessions are taken.
func (t *transition) leave() []path.Moved {
	old := t.old
	if err := old.close(); err != nil {
		t.e.cfg.Logger.Warn("inline endpoint not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	var out []path.Moved
	for _, w := range old.workers {
		w.emptied(func() { out = append(out, w.path.Export(old.ep.ID)...) })
	}
	return out
}

// enter puts next in the place of an endpoint that was left.
func (t *transition) enter(sessions []path.Moved) error {
	t.e.place(t.s, t.next)
	t.next.give(sessions)
	if err := t.next.att.Activate(); err != nil {
		t.s.forget(t.e)
		return errors.Join(err, t.next.close())
	}
	return nil
}

// give hands sessions to the endpoint's workers.
func (a *attached) give(sessions []path.Moved) {
	shares := a.shares(sessions)
	for i, w := range a.workers {
		w.do(func() { w.path.Adopt(a.ep.ID, shares[i]) })
	}
}

// shares parts sessions among the workers of an endpoint: each to the one that will have its frames.
func (a *attached) shares(sessions []path.Moved) [][]path.Moved {
	out := make([][]path.Moved, len(a.workers))
	spread, _ := a.att.(backend.Spreader)
	if len(out) == 0 {
		return nil
	}
	if spread == nil || len(out) == 1 {
		out[0] = sessions
		return out
	}
	for i := range sessions {
		at := spread.Place(peerOf(&sessions[i].Session))
		out[at] = append(out[at], sessions[i])
	}
	return out
}

// peerOf is the end of a session that is not the endpoint's workload.
func peerOf(s *session.Session) packet.Addr {
	if s.Dir == packet.Egress {
		peer, _ := s.Server()
		return peer
	}
	peer, _ := s.Client()
	return peer
}
