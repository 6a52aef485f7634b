package path

import (
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// expire is called when a session's timer is due; it returns until when the session is kept.
func (l *lifecycle) expire(s *session.Session) (keepUntil int64) {
	now := l.now
	v := l.views.view(s.Endpoint)
	if s.Marks&session.Offloaded != 0 {
		if at := l.kernel.Recount(s, now); at > now {
			l.reportNews(s)
			return at
		}
	}
	if s.Aux != 0 {
		if at := l.expireIdent(v, s); at > now {
			l.reportNews(s)
			return at
		}
	}
	if end := s.Last + l.table.Timeout(s); end <= now && !stays(s) {
		l.finish(s)
		return 0
	}
	if l.becomesQuiet(s) {
		s.Marks |= session.Quiet | session.Changed
	}
	l.pair(s)
	if s.Marks&session.Asks != 0 && now-s.Last < answerWithin && !dead(s) {
		expectAnswers(l, s, s.Last)
	}
	l.reportNews(s)
	if at := l.probeAgain(v, s); at > now {
		return at
	}
	if (s.State.Over() || l.table.Unanswered(s, now) && !stays(s)) && s.Marks&session.Ended == 0 {
		if f := l.ident.Flow(s.Aux); f != nil {
			at := l.ident.Finish(f, now)
			if l.answers(); at > now {
				return now + endAfter
			}
		}
		l.closeIdent(v, s)
		l.record(s, flow.End, nil)
	}
	if now-s.Last < updateEvery && s.Marks&session.Ended == 0 {
		return now + updateEvery
	}
	s.Marks |= session.Idle
	return max(l.idleUntil(s), now+updateEvery)
}

// silent reports whether a session is an open connection that carried nothing.
func silent(s *session.Session) bool {
	return s.State == flow.PhaseEstablished && s.Flags&session.Denied == 0 && !s.HasData()
}

// becomesQuiet reports whether a session has become Quiet.
func (l *lifecycle) becomesQuiet(s *session.Session) bool {
	return silent(s) && s.Marks&session.Quiet == 0 && l.now-s.Created >= detect.MaxTime
}

// idleUntil returns when a silent session is to be checked again.
func (l *lifecycle) idleUntil(s *session.Session) int64 {
	t := l.table.Timeouts()
	if s.Key.Proto == packet.ProtoUDP && s.Flags&(session.Answered|session.Denied) == 0 && s.Marks&session.Ended == 0 {
		return s.Last + t.Unanswered
	}
	if silent(s) && s.Marks&session.Quiet == 0 {
		return s.Created + detect.MaxTime
	}
	if stays(s) {
		return l.now + t.UDP
	}
	return s.Last + l.table.Timeout(s)
}

// expireIdent checks the hold time and the identification limit of a session being
// identified. It returns when to check again, 0 if there is nothing to wait for.
func (l *lifecycle) expireIdent(v *View, s *session.Session) int64 {
	now := l.now
	l.holdDue(v, s)
	if f := l.ident.Flow(s.Aux); f != nil && f.Expired(now-f.Since) {
		l.ident.EndAtLimit(f)
		if l.answers(); v != nil && s.Aux != 0 {
			l.applyIdent(v, s, f)
			l.announce(s)
		}
	}
	if until := l.act.held.Until(s.Aux); until > now && !s.State.Over() {
		return min(until, now+startAfter)
	}
	return 0
}

// finish writes a session's last record. The caller deletes it, or lets Expire do so.
func (l *lifecycle) finish(s *session.Session) {
	l.kernel.Settle(s, l.now)
	v := l.views.view(s.Endpoint)
	l.closeIdent(v, s)
	l.out.count[counter.Ended]++
	if v != nil {
		l.out.tally(v).n[atSessions]--
	}
	if s.Marks&session.Ended == 0 {
		l.record(s, flow.End, nil)
	} else if packets, _ := s.Unreported(); packets[0]+packets[1] > 0 && s.Marks&session.Reported != 0 {
		l.out.write(v, s, l.decide.ends(s), flow.Update, nil, false)
	}
	l.decide.side.Remove(s.ID)
	if s.Marks&session.Related != 0 {
		delete(l.decide.relations, s.Key)
	}
	l.act.unpin(s)
}

// endSessions ends every session that each visits.
func (ss *Sessions) endSessions(each func(fn func(*session.Session) bool)) {
	ss.lastAnswers(each)
	each(func(s *session.Session) bool {
		ss.finish(s)
		ss.table.Delete(s)
		return true
	})
	ss.out.box.Flush()
}

// Close ends every session and all remote identification. No other call follows.
func (ss *Sessions) Close() {
	ss.endSessions(ss.table.Each)
	ss.ident.Stop()
	ss.Publish()
	ss.views.shared.Tallies.addPath(&ss.views)
}

// refresh loads the newest policy and endpoints, and reports whether either changed.
func (ss *Sessions) refresh() (changed bool) {
	changed, judge := ss.views.refresh()
	if judge {
		ss.due = true
	}
	return changed
}

// Report returns the path's recorder.
func (ss *Sessions) Report() *Recorder { return &ss.out }

// Publish makes the counts visible to other goroutines.
func (ss *Sessions) Publish() {
	n, k := &ss.out.count, &ss.kernel.Counts
	n[counter.Sessions] = uint64(ss.table.Len())
	n[counter.Evicted] = ss.table.Stats().Evicted
	n[counter.ReassemblyFull] = ss.ident.Refused()
	n[counter.Offloaded], n[counter.OffloadedPackets], n[counter.OffloadedBytes] = k.Offloaded, k.Packets, k.Bytes
	ss.out.publish()
}

// End ends every session of an endpoint, but those that other endpoints of its workload have, too.
func (ss *Sessions) End(endpoint uint32) {
	ss.refresh()
	reattribute(ss, endpoint)
	ss.endSessions(func(fn func(*session.Session) bool) { eachOf(ss, endpoint, fn) })
	ss.setHeld(endpoint, nil)
}

// Moved is a session moving from one path to another, with its state.
type Moved struct {
	Session session.Session
	watched bool // nothing of it could be refused where it comes from
	flow    *identify.Flow
	kin     kin
	to      sidecar.Destination // of a session on lo
}

// Export detaches the sessions of endpoints, all that a workload has or its only one. Their held
// packets are sent.
func (ss *Sessions) Export(endpoints ...uint32) (out []Moved) {
	ss.ident.Await(identify.LastAnswers)
	ss.answers()
	for _, id := range endpoints {
		out = append(out, export(ss, id)...)
	}
	return out
}

func export(ss *Sessions, endpoint uint32) []Moved {
	v := ss.views.view(endpoint)
	eachOf(ss, endpoint, func(s *session.Session) bool {
		if s.Marks&session.Offloaded != 0 {
			ss.kernel.Settle(s, ss.now)
			s.Flags |= session.Away
		}
		s.Marks &^= session.Stays
		ss.act.forward(s, ss.act.held.TakeAll(s.Aux), &ss.out)
		ss.act.unpin(s) // what is repeated across a move is not compared
		return true
	})
	var out []Moved
	ss.setHeld(endpoint, nil)
	expects := ss.takeKin(endpoint)
	eachOf(ss, endpoint, func(s *session.Session) bool {
		m := Moved{Session: *s, watched: v != nil && !v.enforced(), kin: ss.kinOf(s, expects), to: ss.decide.side.Remove(s.ID)}
		if s.Aux != 0 {
			m.flow, m.Session.Aux = ss.ident.Give(s.Aux), 0
		}
		out = append(out, m)
		if v != nil {
			ss.out.tally(v).n[atSessions]--
		}
		ss.table.Delete(s)
		return true
	})
	ss.restoreKin(expects)
	return out
}

// Adopt takes over sessions.
func (ss *Sessions) Adopt(sessions []Moved) {
	ss.refresh()
	held := map[uint32]heldOpen{}
	for i := range sessions {
		m := &sessions[i]
		v := ss.views.view(m.Session.Endpoint)
		s := ss.table.Import(m.Session)
		if s == nil {
			ss.out.count[counter.TableFull]++
			continue
		}
		if v != nil {
			ss.out.tally(v).n[atSessions]++
		}
		ss.decide.side.Insert(s.ID, m.to)
		ss.adoptKin(s, &m.kin)
		s.Marks &^= session.Idle
		s.Marks |= session.Moved // what was only watched may be refused here, and the other way round
		if m.watched && v != nil && v.enforced() && ss.cfg.KeepOpen {
			s.Marks |= session.Kept | session.Changed
		}
		if s.Marks&session.HeldOpen != 0 {
			if held[s.Endpoint] == nil {
				held[s.Endpoint] = heldOpen{}
			}
			held[s.Endpoint][s.Key] = struct{}{}
		}
		ss.table.Schedule(s, ss.now+startAfter)
		if m.flow != nil {
			s.Aux = ss.ident.Adopt(m.flow, ss.table.Ref(s))
			if v != nil {
				ss.act.held.Begin(s.Aux, ownerOf(v, s))
			}
		}
	}
	for id, h := range held {
		ss.setHeld(id, h)
	}
	ss.due = true
}

// Holding reports whether packets of an endpoint's sessions are held.
func (ss *Sessions) Holding(endpoint uint32) (held bool) {
	if ss.act.held.Bytes() == 0 {
		return false
	}
	eachOfWorkload(ss, endpoint, func(s *session.Session) {
		held = held || ss.act.held.Len(s.Aux) > 0
	})
	return held
}

// DropHeld drops the held packets of an endpoint's sessions: passing them unjudged would be a
// leak.
func (ss *Sessions) DropHeld(endpoint uint32) {
	eachOfWorkload(ss, endpoint, func(s *session.Session) {
		frames := ss.act.held.TakeAll(s.Aux)
		ss.out.count[counter.HeldAtSwitch] += uint64(len(frames))
		ss.act.drop(frames)
	})
}
