package engine

import (
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// moved is a session on its way from one worker to another, with the heap objects of its
// identification.
type moved struct {
	s  session.Session
	id *ident
	to sidecar.Destination // of a session on lo
}

// handOver puts next in the place of old, which may be nil. Sessions are with the new
// workers before frames can be. The caller holds mu.
func (e *Engine) handOver(old, next *attached) error {
	id := next.ep.ID
	if old == nil {
		e.eps[id] = next
		e.publish()
		if err := next.att.Activate(); err != nil {
			delete(e.eps, id)
			e.publish()
			next.att.Close()
			return err
		}
		return nil
	}
	switch {
	case next.ep.Kind == backend.Inline && old.ep.Kind == backend.Tap:
		return e.fromTap(old, next)
	case next.ep.Kind == backend.Tap && old.ep.Kind == backend.Inline:
		return e.toTap(old, next)
	}
	return e.enter(old, next, e.leave(old))
}

// openBeside opens an inline way while the old one goes on. Its workers let the endpoint's frames pass, as
// pass tells them, until they are given its sessions. On error everything is as it was.
func openBeside(old, next *attached, pass func(*worker)) error {
	id := next.ep.ID
	next.listeners = old.listeners
	for _, w := range next.workers {
		w.do(func() { pass(w) })
	}
	err := next.att.Activate()
	if err == nil {
		return nil
	}
	for _, w := range next.workers {
		w.do(func() {
			delete(w.ignore, id)
			delete(w.joining, id)
		})
	}
	next.att.Close()
	return err
}

// leave takes an endpoint off the inline path: first its frames go past, then what is in
// the queue is judged, then its sessions are taken.
func (e *Engine) leave(old *attached) []moved {
	if err := old.att.Close(); err != nil {
		e.cfg.Logger.Warn("inline endpoint not closed cleanly", "workload", old.workload, "interface", old.ep.Interface, "error", err)
	}
	return old.take()
}

// enter puts next in the place of an endpoint that was left.
func (e *Engine) enter(old, next *attached, sessions []moved) error {
	next.listeners = old.listeners
	e.eps[next.ep.ID] = next
	e.publish()
	e.give(next, sessions)
	if err := next.att.Activate(); err != nil {
		e.forget(next)
		next.att.Close()
		return err
	}
	return nil
}

// forget ends the sessions of an endpoint that is attached no more.
func (e *Engine) forget(a *attached) {
	for _, w := range a.workers {
		w.do(func() { w.endAll(a.ep.ID) })
	}
	delete(e.eps, a.ep.ID)
	e.publish()
}

// take removes the sessions of an endpoint from its workers, which ignore
// it from then on. The frames that are in the queues come first.
func (a *attached) take() []moved {
	var out []moved
	for _, w := range a.workers {
		w.emptied(func() { out = append(out, w.export(a.ep.ID)...) })
	}
	return out
}

// give hands sessions to the workers of an endpoint.
func (e *Engine) give(a *attached, sessions []moved) {
	shares := a.shares(sessions)
	for i, w := range a.workers {
		w.do(func() { w.adopt(a.ep.ID, shares[i]) })
	}
}

// shares parts sessions among the workers of an endpoint: each to the one that will have its frames.
func (a *attached) shares(sessions []moved) [][]moved {
	out := make([][]moved, len(a.workers))
	spread, _ := a.att.(backend.Spreader)
	if spread == nil || len(out) == 1 {
		out[0] = sessions
		return out
	}
	for i := range sessions {
		at := spread.Place(peerOf(&sessions[i].s))
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

// export gives up the sessions of an endpoint.
func (w *worker) export(endpoint uint32) []moved {
	w.ignore[endpoint] = true
	if w.remote != nil {
		w.roundTrip(lastAnswers)
	}
	var out []moved
	w.table.EachOf(endpoint, func(s *session.Session) bool {
		if s.Flags&flagOffloaded != 0 {
			w.settleCount(s)
			s.Flags |= session.Away
		}
		s.Flags &^= session.Stays
		if id := w.identOf(s); id != nil && len(id.held) > 0 {
			w.release(s, id)
		}
		return true
	})
	w.table.Export(endpoint, func(s *session.Session) {
		m := moved{s: *s, to: w.origins.Remove(s.ID)}
		if s.Aux != 0 {
			w.pack(w.identOf(s))
			m.id, m.s.Aux = w.idents.give(s.Aux), 0
		}
		out = append(out, m)
		w.over(w.snap.endpoints[endpoint])
	})
	return out
}

// adopt takes sessions in.
func (w *worker) adopt(endpoint uint32, sessions []moved) {
	delete(w.ignore, endpoint)
	delete(w.late, endpoint)
	w.snap = w.e.snap.Load()
	for i := range sessions {
		s := w.table.Import(sessions[i].s)
		if s == nil {
			w.count[counter.TableFull]++
			continue
		}
		w.begun(w.snap.endpoints[endpoint])
		w.origins.Insert(s.ID, sessions[i].to)
		s.Flags &^= flagIdle
		w.table.Schedule(s, w.now)
		if id := sessions[i].id; id != nil {
			id.owner, id.session = w, s
			s.Aux = w.idents.adopt(id)
			w.unpack(id, s.Aux)
		}
	}
	w.sweep.begin()
}
