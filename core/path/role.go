package path

import (
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
)

const (
	// unseenAfter is the time without a batch after which the worker may have been stopped;
	// steered frames passed unseen then. unseenFor is how long conversations may appear that
	// began unseen, ns.
	unseenAfter = int64(500e6)
	unseenFor   = int64(5e9)
	// firmAfter is how long the first record of a session with an uncertain client waits: better
	// evidence mostly arrives within this time, and corrects the orientation before it is
	// reported.
	firmAfter = int64(1e9)
)

// roleContext returns what is known of an endpoint's workload now.
func (l *lifecycle) roleContext(v *View) role.Context {
	c := role.Context{Sockets: v.Sockets, Seed: v.Seed}
	if m := l.views.shared.Memory.Load(); m != nil && l.now < m.Until {
		c.Memory = m
	}
	if v.Since != 0 {
		c.Recent = l.now-v.Since < l.table.Timeouts().UDP
		c.Unseen = v.Inline && l.awake > v.Since && l.now-l.awake < unseenFor
	}
	return c
}

// follow reverses a packet's direction where its session was reversed; client is the previous
// ClientIsA.
func (c *packetContext) follow(client *bool) {
	if c.s.ClientIsA != *client {
		*client = !*client
		c.dir ^= 1
	}
}

// either evaluates policy for both orientations of a session whose client is uncertain;
// reversed reports whether the decision is that of the other one.
func (d *decider) either(v *View, s *session.Session, q *policy.Query) (a decision, reversed bool) {
	_, port := s.Client()
	if q.Port == 0 {
		port = 0
	}
	return v.pol.DecideEither(q, port)
}

// best returns policy's decision on a session, of the better orientation where its client is
// uncertain.
func (d *decider) best(v *View, s *session.Session) decision {
	if a, ok := decideRelated(d, v, s); ok {
		return a
	}
	if !uncertain(v, s) {
		return d.about(v, s)
	}
	q := d.query(s)
	a, _ := d.either(v, s, &q)
	return d.opaque(v, s, &q, a)
}

// uncertain reports whether policy is asked for both orientations of a session.
func uncertain(v *View, s *session.Session) bool {
	return s.Marks&session.Either != 0 && !v.Loopback && v.pol != nil
}

// oriented is best, and turns a session that is not reported yet to the orientation that
// policy allows.
func (l *lifecycle) oriented(v *View, s *session.Session) decision {
	if s.Marks&(session.Reported|session.Offloaded) != 0 || !uncertain(v, s) {
		return l.decide.best(v, s)
	}
	q := l.decide.query(s)
	a, reversed := l.decide.either(v, s, &q)
	if !reversed {
		return l.decide.opaque(v, s, &q, a)
	}
	l.turn(s)
	s.Evidence = flow.EvidencePort
	return l.decide.best(v, s)
}

// blameSender makes the sender of refused datagrams the client where nothing but port numbers
// shows which end that is: neither orientation is allowed, and only this end has sent anything.
func (l *lifecycle) blameSender(v *View, s *session.Session) {
	guessed := s.Evidence == flow.EvidencePort && s.Marks&(session.Reported|session.Offloaded) == 0 && uncertain(v, s)
	if guessed && v.enforced() && s.Key.Proto != packet.ProtoTCP && s.Packets[0] == 0 && s.Packets[1] > 0 {
		l.turn(s)
	}
}

// reconsider looks for better evidence of a session's client side.
func (l *lifecycle) reconsider(v *View, s *session.Session) {
	if s.Marks&session.Either == 0 || v.Loopback || s.Dir == packet.NoDirection {
		return
	}
	c := l.roleContext(v)
	t := tupleOf(s)
	l.raise(v, s, c.Known(&t))
}

// tupleOf returns a session's ends from its workload's point of view.
func tupleOf(s *session.Session) role.Tuple {
	t := role.Tuple{Proto: s.Key.Proto}
	t.Local, t.LocalPort = s.Client()
	t.Remote, t.RemotePort = s.Server()
	if s.Dir != packet.Egress {
		return t.Reverse()
	}
	return t
}

// sideOf returns the workload's side of a session by its parser's result.
func sideOf(s *session.Session, by detect.Side) role.Side {
	if (s.Dir == packet.Egress) == (by == detect.AsAssumed) {
		return role.Client
	}
	return role.Server
}

// raise applies better evidence of a session's client side, and evaluates policy again. An
// offloaded session stays as it is: its packets are counted there by direction. A denied
// session stays denied.
func (l *lifecycle) raise(v *View, s *session.Session, f role.Finding) {
	if s.Marks&session.Offloaded != 0 || s.Flags&session.Denied != 0 || s.State.Over() || !f.Raises(s.Evidence, s.Marks&session.Either == 0) {
		return
	}
	if (f.Side == role.Client) != (s.Dir == packet.Egress) {
		if s.Marks&session.Reported != 0 && !l.cfg.Capture {
			l.reissue(s)
		}
		l.turn(s)
	}
	s.Evidence = f.Evidence
	if f.Firm {
		s.Marks &^= session.Either
	}
	s.Marks |= session.Changed
	l.evaluate(v, s)
}

// turn swaps a session's client and server.
func (l *lifecycle) turn(s *session.Session) {
	s.SwapClient()
	l.act.pins.Swap(s.Pin)
	s.Flags &^= session.Answered
	s.Marks |= session.Changed
	if answered(s) {
		s.Flags |= session.Answered
	}
	if f := l.ident.Flow(s.Aux); f != nil {
		l.ident.Exchange(f)
	}
}

// answered reports whether the counts of a session show that its server answered: where its
// beginning was not seen, both ends of a TCP connection must have sent, or a socket holds it open.
func answered(s *session.Session) bool {
	if s.Marks&session.HeldOpen != 0 && s.Key.Proto == packet.ProtoTCP {
		return true
	}
	return s.Packets[1] > 0 && (s.Packets[0] > 0 || s.Key.Proto != packet.ProtoTCP)
}

// reissue ends the row of a session that was reported with the wrong orientation; it
// continues as another session in reports.
func (l *lifecycle) reissue(s *session.Session) {
	if s.Marks&session.Ended == 0 {
		l.record(s, flow.End, nil)
	}
	s.ID = l.views.shared.IDs.Add(1)
	s.Marks &^= session.Reported | session.Ended
}

// resume begins another row for a conversation that was reported as unanswered.
func (l *lifecycle) resume(s *session.Session) {
	s.ID = l.views.shared.IDs.Add(1)
	s.Marks = s.Marks&^(session.Reported|session.Ended) | session.Changed
}

// clientDir returns the session's direction: Egress where the workload is the client.
func clientDir(frame packet.Direction, srcIsClient bool) packet.Direction {
	if srcIsClient {
		return frame
	}
	return frame.Reverse()
}
