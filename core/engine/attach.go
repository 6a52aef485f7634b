package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/offload"
	"github.com/sluicenet/sluice/core/path"
)

// slot is one endpoint's entry in the engine.
type slot struct {
	id    uint32
	mu    sync.Mutex // held while the endpoint is attached, changed or detached
	users int        // calls that hold mu or wait for it; guarded by Engine.mu
	// cur is the current attachment; nil if there is none. It is written under both locks, and
	// read under either.
	cur *attached
}

// attached is one endpoint with its current attachment. It does not change.
type attached struct {
	ep       backend.Endpoint
	be       backend.Backend
	workload string
	of       *workload
	since    int64 // when it was first attached, ns since the epoch
	att      backend.Attachment
	recall   *offload.Recall
	workers  []*worker
}

// close detaches it.
func (a *attached) close() error {
	a.recall.Close()
	return a.att.Close()
}

// acquire locks an endpoint's slot; nil after Close, if the endpoint is already there, or if
// it is missing and must not be created.
func (e *Engine) acquire(id uint32, make bool) *slot {
	e.mu.Lock()
	s := e.slots[id]
	if s == nil {
		if !make || e.closed {
			e.mu.Unlock()
			return nil
		}
		s = &slot{id: id}
		e.slots[id] = s
	}
	s.users++
	e.mu.Unlock()
	s.mu.Lock()
	return s
}

// release unlocks a slot.
func (e *Engine) release(s *slot) {
	s.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.users--; s.users == 0 && s.cur == nil {
		delete(e.slots, s.id)
	}
}

// setAttached stores an attachment in its slot, nil for none, visible to all. The slot is
// locked.
func (e *Engine) setAttached(s *slot, a *attached) {
	e.mu.Lock()
	if s.cur != nil {
		s.cur.of.attached--
	}
	if a != nil {
		a.of.attached++
	}
	s.cur = a
	e.publish()
	e.mu.Unlock()
	e.wakeAround(a)
}

// Attach attaches an endpoint of a workload, or changes its attachment. At a change the
// endpoint's sessions are handed to the workers of its new queues before the first frame
// arrives there, or is judged there. On error the previous state is kept; an endpoint that
// could not keep it, because it was inline by the same backend, is reported by Lost. Attach
// delays no other endpoint.
func (e *Engine) Attach(ctx context.Context, be backend.Backend, ep backend.Endpoint, workload string) error {
	s := e.acquire(ep.ID, true)
	if s == nil {
		return ErrClosed
	}
	defer e.release(s)
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if closed {
		return ErrClosed
	}
	of := e.lockWorkload(keyOf(&ep, workload))
	defer of.unlock(e)
	if s.cur != nil && s.cur.ep.SameAttachment(&ep) {
		if done, err := e.readdress(s, ep); done || err != nil {
			return err
		}
	}
	if err := e.change(ctx, s, be, ep, of); err != nil {
		return fmt.Errorf("attach %s of %s (%s): %w", ep.Interface, workload, ep.Kind, err)
	}
	if p := e.shared.Policy.Load(); p != nil {
		e.recalls.request(e) // a policy may have arrived since the attachment was made
	}
	s.detachIfEnded(e)
	return nil
}

// change attaches the endpoint of a locked slot, replacing its attachment.
func (e *Engine) change(ctx context.Context, s *slot, be backend.Backend, ep backend.Endpoint, of *workload) error {
	t := transition{e: e, s: s, old: s.cur, of: of}
	var waiting []path.Moved
	inline := t.old != nil && t.old.ep.Kind == backend.Inline && ep.Kind == backend.Inline
	exchange, again := inline && t.old.be != be, inline && t.old.be == be
	if again {
		// A backend has one inline attachment per endpoint: the old one ends before the new one
		// begins.
		waiting = t.leaveInline()
	}
	var err error
	if t.next, err = e.open(ctx, be, ep, of); err != nil {
		if again {
			t.giveSessions(t.old, waiting)
			s.endSessions(e)
			e.reportLost(s.id)
		}
		return err
	}
	if t.old != nil {
		t.next.since = t.old.since
	}
	switch {
	case t.old == nil:
		return t.attachFirst()
	case exchange:
		return t.exchange()
	case again:
		if err = t.attachNext(waiting); err != nil {
			e.reportLost(s.id)
		}
		return err
	case ep.Kind == backend.Inline && t.old.ep.Kind == backend.Tap:
		return t.fromTap()
	case ep.Kind == backend.Tap && t.old.ep.Kind == backend.Inline:
		return t.toTap()
	}
	return t.attachNext(t.leaveInline())
}

// open creates an attachment, with the present generation as that of its queues, and its
// workers.
func (e *Engine) open(ctx context.Context, be backend.Backend, ep backend.Endpoint, of *workload) (*attached, error) {
	att, err := be.Attach(ctx, ep)
	if err != nil {
		return nil, err
	}
	a := &attached{ep: ep, be: be, workload: of.key.name, of: of, since: e.cfg.Now(), att: att, recall: offload.NewRecall(att)}
	if p := e.shared.Policy.Load(); p != nil {
		if err := a.recall.To(p.Generation); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	for _, q := range att.Queues() {
		a.workers = append(a.workers, e.worker(q, a))
	}
	return a, nil
}

// attachFirst attaches an endpoint that was not attached before.
func (t *transition) attachFirst() error {
	for _, w := range t.next.workers {
		w.do(func() { w.path.Gate().Forget(t.s.id) })
	}
	t.e.replace(t.s, t.of, t.next)
	if err := t.next.att.Activate(); err != nil {
		t.e.replace(t.s, t.of, nil)
		return errors.Join(err, t.next.close())
	}
	t.rejudge()
	return nil
}

// Detach detaches an endpoint; its sessions end with it.
func (e *Engine) Detach(id uint32) error {
	s := e.acquire(id, false)
	if s == nil {
		return nil
	}
	defer e.release(s)
	a := s.cur
	if a == nil {
		return nil
	}
	of := e.lockWorkload(a.of.key)
	defer of.unlock(e)
	err := a.close()
	s.endSessions(e)
	if err != nil {
		return fmt.Errorf("detach %s of %s: %w", a.ep.Interface, a.workload, err)
	}
	return nil
}

// endSessions ends the sessions of an endpoint that is no longer attached, but those that other
// endpoints of its workload have, too. The slot and its workload are locked.
func (s *slot) endSessions(e *Engine) {
	for _, w := range s.cur.judges() {
		w.do(func() { w.endSessions(s.id) })
	}
	for _, w := range s.cur.workers {
		w.do(func() { w.path.Gate().Forget(s.id) })
	}
	e.replace(s, s.cur.of, nil)
}

// detachLost detaches an endpoint that can no longer be used. The slot and its workload are locked.
func (s *slot) detachLost(e *Engine) {
	if err := s.cur.close(); err != nil {
		e.cfg.Logger.Debug("lost endpoint not closed cleanly", "workload", s.cur.workload, "interface", s.cur.ep.Interface, "error", err)
	}
	s.endSessions(e)
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	if !closed {
		e.reportLost(s.id)
	}
}

// detachIfEnded detaches an endpoint one of whose workers ended before it could do so. The
// slot and its workload are locked.
func (s *slot) detachIfEnded(e *Engine) {
	e.mu.Lock()
	ended := s.cur != nil && slices.ContainsFunc(s.cur.workers, func(w *worker) bool { return w.retired })
	e.mu.Unlock()
	if ended {
		s.detachLost(e)
	}
}
