package engine

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// record writes what is new of a session: a Start before anything else, and an End
// last. Counters go with the first record that is written.
func (w *worker) record(s *session.Session, kind flow.Kind, d *flow.Detail) {
	if v := w.snap.endpoints[s.Key.Endpoint]; v != nil && v.mesh != nil {
		if w.carries(v, s) {
			w.evaluate(v, s)
		}
		if w.followsRefusal(v, s) {
			if kind == flow.End {
				s.Flags |= flagEnded
			}
			return
		}
	}
	if s.Flags&session.Reported == 0 {
		s.Flags |= session.Reported
		w.put(s, flow.Start, d)
		if kind != flow.End {
			return
		}
		d = nil
	}
	if kind == flow.End {
		s.Flags |= flagEnded
	}
	w.put(s, kind, d)
}

func (w *worker) put(s *session.Session, kind flow.Kind, d *flow.Detail) {
	client, cport := w.client(s)
	server, sport := w.server(s)
	packets, bytes := s.Unreported()
	s.MarkReported()
	s.Flags &^= flagChanged
	f := flow.Record{
		Key:      flow.Key{Client: client, Server: server, ClientPort: cport, ServerPort: sport, Proto: s.Key.Proto, IPv6: s.Key.IPv6},
		Counters: flow.Counters{Packets: packets, Bytes: bytes},
		Session:  s.ID, Endpoint: s.Key.Endpoint, Rule: s.Rule, Policy: s.Generation,
		First: s.Created, Last: s.Last, App: s.App, Base: s.Base, Dir: s.Dir, Kind: kind,
		Verdict: flow.Verdict(s.Verdict), Reason: flow.Reason(s.Reason), Strength: s.Strength,
		Evidence: flow.Evidence(s.Evidence), Phase: s.State,
		Answered: s.Flags&session.Answered != 0, Midstream: s.Flags&session.Midstream != 0, Detail: d,
	}
	if f.Proto == packet.ProtoICMP || f.Proto == packet.ProtoICMPv6 {
		f.ClientPort, f.ServerPort = 0, 0
	}
	if v := w.snap.endpoints[s.Key.Endpoint]; v != nil {
		f.Enforced, f.Loopback = v.inline, v.loopback
		if w.awaits(v, s) {
			f.App, f.Base = uint16(app.Undecided), uint16(app.Undecided)
			s.Flags |= flagChanged // its name is still due
		}
	}
	w.out.Put(&f)
}

// expire is called when a session's timer comes; it says until when the session stays.
func (w *worker) expire(s *session.Session) (keepUntil int64) {
	now := w.now
	id := w.identOf(s)
	v := w.snap.endpoints[s.Key.Endpoint]
	if s.Flags&flagOffloaded != 0 {
		if at := w.recount(s); at > now {
			w.reportNews(s, id)
			return at
		}
	}
	if id != nil {
		if at := w.expireIdent(v, s, id); at > now {
			w.reportNews(s, id)
			return at
		}
		id = w.identOf(s)
	}
	if end := s.Last + w.table.Timeout(s); end <= now {
		w.finish(s)
		return 0
	}
	w.reportNews(s, id)
	if s.State.Over() && s.Flags&flagEnded == 0 {
		if at := w.await(s); at > now {
			return at
		}
		w.closeIdent(v, s)
		w.record(s, flow.End, nil)
	}
	if now-s.Last < updateEvery && s.Flags&flagEnded == 0 {
		return now + updateEvery
	}
	s.Flags |= flagIdle
	return s.Last + w.table.Timeout(s)
}

// expireIdent looks after a session that is still being identified: its hold time and the
// limit of identification. It says when to look again, 0 if there is nothing to wait for.
func (w *worker) expireIdent(v *view, s *session.Session, id *ident) int64 {
	now := w.now
	if id.until != 0 && now >= id.until {
		w.holdExpired(v, s, id)
	}
	if limit := s.Created + detect.MaxTime; now >= limit {
		w.end(id)
		if !w.asked(id) && v != nil {
			w.settle(v, s, id)
		}
	}
	if id.until > now {
		return min(id.until, now+startAfter)
	}
	return 0
}

// reportNews writes a record if there is something new of the session.
func (w *worker) reportNews(s *session.Session, id *ident) {
	var d *flow.Detail
	if id != nil {
		d = id.Attrs.Detail()
	}
	packets, _ := s.Unreported()
	if d != nil || s.Flags&flagChanged != 0 || packets[0]+packets[1] > 0 {
		w.record(s, flow.Update, d)
	}
}

// closeIdent ends the identification of a session that is over. One that carried nothing has
// no application.
func (w *worker) closeIdent(v *view, s *session.Session) {
	id := w.identOf(s)
	if id == nil {
		if app.ID(s.App) == app.Undecided {
			s.App, s.Base = uint16(app.None), uint16(app.None)
			s.Flags |= flagIdentified | flagChanged
			if v != nil {
				w.evaluate(v, s)
			}
		}
		return
	}
	if id.far.number != 0 {
		if w.giveUp(s, id); s.Aux == 0 {
			return
		}
	}
	id.End()
	if v != nil {
		w.settle(v, s, id)
	}
	if s.Aux != 0 {
		w.endIdent(s, id)
	}
}

// finish writes a session's last record. The caller deletes it, or lets Expire do so.
func (w *worker) finish(s *session.Session) {
	defer w.origins.Remove(s.ID)
	if s.Flags&flagOffloaded != 0 {
		w.settleCount(s)
	}
	v := w.snap.endpoints[s.Key.Endpoint]
	w.closeIdent(v, s)
	w.count[counter.Ended]++
	w.over(v)
	if s.Flags&flagEnded == 0 {
		w.record(s, flow.End, nil)
		return
	}
	if packets, _ := s.Unreported(); packets[0]+packets[1] > 0 {
		w.put(s, flow.Update, nil)
	}
}

// evicted is told of sessions that make room for others.
func (w *worker) evicted(s *session.Session) {
	if s.Flags&flagOffloaded != 0 && w.kernel != nil {
		k := w.flowKey(s)
		w.kernel.Return(&k)
	}
	w.finish(s)
}

// endEverything ends every session.
func (w *worker) endEverything() {
	w.lastCall(w.table.Each)
	w.table.Each(func(s *session.Session) bool {
		w.finish(s)
		w.table.Delete(s)
		return true
	})
	w.out.Flush()
}

// endAll ends every session of an endpoint.
func (w *worker) endAll(endpoint uint32) {
	w.lastCall(func(fn func(*session.Session) bool) { w.table.EachOf(endpoint, fn) })
	w.table.EachOf(endpoint, func(s *session.Session) bool {
		w.finish(s)
		w.table.Delete(s)
		return true
	})
	w.publishTallies()
	delete(w.tallies, endpoint)
	w.out.Flush()
}
