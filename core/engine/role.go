package engine

import (
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
)

const (
	// unseenAfter is the time without a batch after which a worker may have been stopped; steered
	// frames went by then. unseenFor is how long conversations may show up that began unseen, ns.
	unseenAfter = int64(500e6)
	unseenFor   = int64(5e9)
	// firmAfter is how long the first record of a session waits whose client is not known for sure:
	// better evidence comes within this time mostly, and turns it before it is a row.
	firmAfter = int64(1e9)
)

// SetSockets sets what is known of the sockets of an endpoint's workload, before the endpoint is
// attached or later; nil is nothing. The engine keeps it and nobody changes it any more.
// Sessions whose client is not known for sure are looked at again where it says something new.
func (e *Engine) SetSockets(endpoint uint32, s *role.Sockets) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.sockets[endpoint]
	if s.Equal(before) {
		return
	}
	if !s.Same(before) {
		e.listening++
	}
	if s == nil {
		delete(e.sockets, endpoint)
	} else {
		e.sockets[endpoint] = s
	}
	if e.eps[endpoint] != nil {
		e.publish()
	}
}

// Remember sets which sides of sessions are known from before a restart; nil forgets them.
func (e *Engine) Remember(m *role.Memory) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.memory = m
	e.publish()
}

// roleContext is what is known of an endpoint's workload now.
func (w *worker) roleContext(v *view) role.Context {
	c := role.Context{Sockets: v.sockets, Seed: v.seed}
	if m := w.snap.memory; m != nil && w.now < m.Until {
		c.Memory = m
	}
	if v.since != 0 {
		c.Recent = w.now-v.since < w.table.Timeouts().Answered
		c.Unseen = v.inline && w.awake > v.since && w.now-w.awake < unseenFor
	}
	return c
}

// decideEither asks policy about both orientations of a session whose client is not known for
// sure. Before the session is a row, the orientation that policy allows is taken for the true one.
func (w *worker) decideEither(v *view, s *session.Session, q *policy.Query) policy.Decision {
	_, port := s.Client()
	if q.Port == 0 {
		port = 0
	}
	d, reversed := v.pol.DecideEither(q, port)
	if reversed && s.Flags&(session.Reported|flagOffloaded) == 0 {
		w.turn(s)
		s.Evidence = uint8(flow.EvidencePort)
		*q = w.query(s)
	}
	return d
}

// reconsider looks for better evidence of a session's client side.
func (w *worker) reconsider(v *view, s *session.Session) {
	if s.Flags&flagEither == 0 || v.loopback || s.Dir == packet.NoDirection {
		return
	}
	c := w.roleContext(v)
	t := tupleOf(s)
	w.raise(v, s, c.Known(&t))
}

// tupleOf is a session's ends as its workload sees them.
func tupleOf(s *session.Session) role.Tuple {
	t := role.Tuple{Proto: s.Key.Proto}
	t.Local, t.LocalPort = s.Client()
	t.Remote, t.RemotePort = s.Server()
	if s.Dir != packet.Egress {
		return t.Reverse()
	}
	return t
}

// raise takes in better evidence of a session's client side, and asks policy again. A session
// that is in the kernel stays as it is: its packets are counted there by their direction.
func (w *worker) raise(v *view, s *session.Session, f role.Finding) {
	if s.Flags&flagOffloaded != 0 || s.State.Over() || !f.Raises(flow.Evidence(s.Evidence), s.Flags&flagEither == 0) {
		return
	}
	if (f.Side == role.Client) != (s.Dir == packet.Egress) {
		if s.Flags&session.Reported != 0 {
			w.reissue(s)
		}
		w.turn(s)
	}
	s.Evidence = uint8(f.Evidence)
	if f.Firm {
		s.Flags &^= flagEither
	}
	s.Flags = s.Flags&^session.Denied | flagChanged
	w.evaluate(v, s)
}

// turn swaps a session's client and server.
func (w *worker) turn(s *session.Session) {
	s.SwapClient()
	s.Flags = s.Flags&^session.Answered | flagChanged
	if answered(s) {
		s.Flags |= session.Answered
	}
	if id := w.identOf(s); id != nil {
		id.turned = !id.turned
	}
}

// answered reports whether what was counted of a session shows that its server answered: where
// its beginning was not seen, a TCP connection has to have shown both ends.
func answered(s *session.Session) bool {
	return s.Packets[1] > 0 && (s.Packets[0] > 0 || s.Key.Proto != packet.ProtoTCP)
}

// reissue ends the row of a session that was reported the wrong way round; what comes of it is
// reported as another session.
func (w *worker) reissue(s *session.Session) {
	if s.Flags&flagEnded == 0 {
		w.record(s, flow.End, nil)
	}
	s.ID = w.e.ids.Add(1)
	s.Flags &^= session.Reported | flagEnded
}
