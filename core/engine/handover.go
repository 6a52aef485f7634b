package engine

import (
	"errors"
	"time"

	"github.com/sluicenet/sluice/core/path"
)

// Between a tap and an inline datapath there is one moment, the cut: frames before it are
// handled by the old datapath, frames after it by the new one. Both see the frames for a
// while, and each ignores those of the other side of the cut, so that no connection is missed
// and none is counted twice. Each worker's core/handover.Gate decides which are which.

const (
	// cutAhead is how long before the cut a tap's worker is informed of it.
	cutAhead = time.Millisecond
	// tapPatience bounds the wait for what a tap saw before the cut: a worker that does not get
	// to run has much to read.
	tapPatience = 3 * time.Second
	// tapAgain is how often the tap is polled meanwhile.
	tapAgain = time.Millisecond
)

// transition is one change of an endpoint's attachment. Its slot and its workload are locked.
type transition struct {
	e    *Engine
	s    *slot
	of   *workload
	old  *attached // nil: the first attachment
	next *attached
}

// openBeside opens an inline datapath while the old one continues. Its workers pass the
// endpoint's frames until they have its sessions; with keep they keep copies. On error
// nothing changes.
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

// fromTap replaces a tap by an inline attachment.
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
		w.enqueue(command{fn: func() { w.locked(func() { sessions = append(sessions, t.export(w)...) }) },
			endpoint: s.id, patience: cut + int64(tapPatience), done: make(chan struct{})})
	}
	e.replace(s, t.of, next)
	t.rejudge()
	shares := next.shares(sessions)
	for i, w := range next.workers {
		w.stopped(func() { t.replay(w, shares[i], cut) })
	}
	if err := old.close(); err != nil {
		e.cfg.Logger.Warn("tap not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	return nil
}

// toTap replaces an inline attachment by a tap. The tap's ring buffers frames until the
// sessions are there. On error the endpoint stays inline.
func (t *transition) toTap() error {
	if t.of.home != nil {
		return t.toTapShared()
	}
	e, s, next := t.e, t.s, t.next
	var err error
	whileStopped(next.workers, (*worker).stopped, func() {
		if err = next.att.Activate(); err != nil {
			return
		}
		cut := e.cfg.Now()
		sessions := t.leaveInline()
		e.replace(s, t.of, next)
		shares := next.shares(sessions)
		for i, w := range next.workers {
			w.locked(func() {
				w.path.Begin(e.cfg.Now())
				w.path.Adopt(s.id, shares[i])
				w.path.Gate().Since(s.id, cut)
			})
		}
	})
	if err != nil {
		return errors.Join(err, next.close())
	}
	return nil
}

// leaveInline removes an endpoint from the inline datapath: first its frames bypass it, then
// the queued ones are judged, then its sessions are exported.
func (t *transition) leaveInline() []path.Moved {
	old := t.old
	if err := old.close(); err != nil {
		t.e.cfg.Logger.Warn("inline endpoint not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	var out []path.Moved
	for _, w := range old.workers {
		w.emptied(func() { w.locked(func() { out = append(out, t.export(w)...) }) })
	}
	return out
}

// attachNext activates next for an endpoint that has left its old datapath.
func (t *transition) attachNext(sessions []path.Moved) error {
	t.e.replace(t.s, t.of, t.next)
	t.giveSessions(t.next, sessions)
	t.rejudge()
	if err := t.next.att.Activate(); err != nil {
		t.s.endSessions(t.e)
		return errors.Join(err, t.next.close())
	}
	return nil
}

// giveSessions distributes sessions to the endpoint's workers.
func (t *transition) giveSessions(a *attached, sessions []path.Moved) {
	shares := a.shares(sessions)
	for i, w := range a.workers {
		w.do(func() { w.path.Adopt(a.ep.ID, shares[i]) })
	}
}
