package path

import (
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
)

// A session belongs to a workload and not to an interface: its packets may come in by one and go
// out by another, and move to a third. So all endpoints of a workload share their sessions, which
// one path has, the workload's home; the frames of queues that other workers drive are judged there,
// under the home's lock.

// number returns the number of the endpoint's workload in session keys.
func (e *Endpoint) number() uint32 {
	if e.Number != 0 {
		return e.Number
	}
	return e.ID
}

// enforced reports whether verdicts on the workload's sessions have effect, at least for the frames
// of one of its endpoints.
func (e *Endpoint) enforced() bool { return e.Inline || e.Shares != nil && e.Shares.Enforced }

// resolve returns the session of a packet of a workload with several endpoints, nil if there is none;
// k is its key, changed where the session is kept under another one, found what is kept under k. dir is
// the packet's direction, swapped that of session.KeyOf.
func (v *View) resolve(t *session.Table, k *session.Key, found *session.Session, dir packet.Direction, swapped bool) *session.Session {
	if found != nil && fits(found, dir, swapped) {
		return found
	}
	// A packet that the workload forwards passes two of its endpoints, as the multicasts that it sends
	// may do: the other direction than its session has is another session, of that endpoint alone.
	apart := *k
	apart.Workload = v.ID
	other := t.Lookup(&apart)
	if found != nil || other != nil {
		*k = apart
	}
	return other
}

// fits reports whether a packet has the direction that its place in a session implies.
func fits(s *session.Session, dir packet.Direction, swapped bool) bool {
	if dir == packet.NoDirection || s.Dir == packet.NoDirection {
		return true
	}
	if s.DirOf(swapped) == 0 {
		return s.Dir == dir
	}
	return s.Dir == dir.Reverse()
}

// eachOf calls fn for the sessions attributed to an endpoint; fn may delete the session it is called
// with, and no other.
func eachOf(ss *Sessions, endpoint uint32, fn func(*session.Session) bool) {
	v := ss.views.view(endpoint)
	if v != nil && v.number() != endpoint {
		more := true
		ss.table.EachOf(v.number(), func(s *session.Session) bool {
			more = !attributed(ss, s, endpoint) || fn(s)
			return more
		})
		if !more {
			return
		}
	}
	ss.table.EachOf(endpoint, fn)
}

// attributed reports whether a session is an endpoint's, or that of one that is gone.
func attributed(ss *Sessions, s *session.Session, endpoint uint32) bool {
	return s.Endpoint == endpoint || ss.views.view(s.Endpoint) == nil
}

// eachOfWorkload calls fn for the sessions of an endpoint's workload.
func eachOfWorkload(ss *Sessions, endpoint uint32, fn func(*session.Session)) {
	visit := func(s *session.Session) bool { fn(s); return true }
	if v := ss.views.view(endpoint); v != nil && v.number() != endpoint {
		ss.table.EachOf(v.number(), visit)
	}
	ss.table.EachOf(endpoint, visit)
}

// reattribute attributes sessions of an endpoint that is to be detached to another endpoint of the
// workload where that had frames of them, too.
func reattribute(ss *Sessions, endpoint uint32) {
	v := ss.views.view(endpoint)
	if v == nil || v.Shares == nil {
		return
	}
	to := partner(ss, v)
	if to == nil {
		return
	}
	from, next := ss.out.tally(v), ss.out.tally(to)
	ss.table.EachOf(v.number(), func(s *session.Session) bool {
		if s.Endpoint == endpoint && s.Marks&session.Elsewhere != 0 {
			s.Endpoint = to.ID
			from.n[atSessions]--
			next.n[atSessions]++
		}
		s.Marks &^= session.Elsewhere
		return true
	})
}

// partner returns the first other endpoint of an endpoint's workload; nil if there is none.
func partner(ss *Sessions, v *View) *View {
	var first uint32
	for id, e := range *ss.views.ends {
		if id != v.ID && e.number() == v.number() && (first == 0 || id < first) {
			first = id
		}
	}
	if first == 0 {
		return nil
	}
	return ss.views.view(first)
}

// foreign records that a session had a frame of another endpoint than its own.
func (l *lifecycle) foreign(c *packetContext) {
	if l.views.view(c.s.Endpoint) != nil {
		c.s.Marks |= session.Elsewhere
		return
	}
	c.s.Endpoint = c.v.ID // its own is gone
	l.out.tally(c.v).n[atSessions]++
}

// Release sends the held packets of an endpoint that leaves a datapath.
func (ss *Sessions) Release(endpoint uint32) {
	eachOfWorkload(ss, endpoint, func(s *session.Session) {
		ss.act.forward(s, ss.act.held.TakeAll(s.Aux), &ss.out)
	})
}

// Rejudge has the sessions of an endpoint's workload judged again after one of its endpoints was
// attached in another way. watched reports that nothing of them could be refused before.
func (ss *Sessions) Rejudge(endpoint uint32, watched bool) {
	ss.refresh()
	v := ss.views.view(endpoint)
	if v == nil {
		return
	}
	keep := watched && v.enforced() && ss.cfg.KeepOpen
	ss.table.EachOf(v.number(), func(s *session.Session) bool {
		s.Marks |= session.Moved
		if keep {
			s.Marks |= session.Kept | session.Changed
		}
		return true
	})
	ss.due = true
}
