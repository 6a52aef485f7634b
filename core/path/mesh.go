package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// Results of trace.
type traced uint8

const (
	traceAgain traced = iota
	traceFound
	traceMissing
)

// meshed returns a session in the form that core/sidecar needs.
func (d *decider) meshed(v *View, s *session.Session) sidecar.Session {
	client, cport := s.Client()
	server, sport := s.Server()
	at, port := d.server(s)
	return sidecar.Session{
		Key: flow.Key{Client: client, Server: server, ClientPort: cport, ServerPort: sport, Proto: s.Key.Proto, IPv6: s.Key.IPv6},
		ID:  s.ID, At: sidecar.PlaceOf(at, port, s.Key.IPv6, s.Dir), Dir: s.Dir, Verdict: s.Verdict,
		Carried:  sidecar.Carried{App: app.ID(s.App), Base: app.ID(s.Base), Strength: s.Strength},
		Loopback: v.Loopback, Looked: s.Marks&session.Traced != 0, Over: s.State.Over(), Reported: s.Marks&session.Reported != 0,
		Undecided: s.Aux != 0, Created: s.Created,
	}
}

// carries records the content of an encrypted session outside, if lo has shown it, and
// reports whether it is new.
func (d *decider) carries(v *View, s *session.Session) bool {
	if v.Mesh == nil || v.Loopback || app.ID(s.App) != app.TLS {
		return false
	}
	m := d.meshed(v, s)
	c, ok := v.Mesh.Inside(&m)
	if ok {
		s.App, s.Base, s.Strength = uint16(c.App), uint16(c.Base), c.Strength
		s.Marks |= session.Changed
	}
	return ok
}

// awaits reports whether the content of a session may still become known: until then it is
// reported without an application.
func (d *decider) awaits(v *View, s *session.Session, now int64) bool {
	if v.Mesh == nil || v.Loopback || app.ID(s.App) != app.TLS {
		return false
	}
	m := d.meshed(v, s)
	return v.Mesh.Awaits(&m, now)
}

// showDecision publishes the decision on a session to the workload's other workers.
func (d *decider) showDecision(v *View, s *session.Session, now int64) {
	m := d.meshed(v, s)
	v.Mesh.Observe(&m, now)
}

// shadows reports whether a session outside was opened by a sidecar for a connection that was
// denied, and reported, on lo.
func (d *decider) shadows(v *View, s *session.Session, now int64) bool {
	m := d.meshed(v, s)
	return v.Mesh.FollowsRefusal(&m, now)
}

// encrypted returns the decision on a session outside whose content only the sidecar and lo
// can see: TLS named by no rule passes where a rule names the two ends and the port, and is
// judged on lo.
func (d *decider) encrypted(v *View, s *session.Session, q *policy.Query) decision {
	return d.opaque(v, s, q, v.pol.Decide(q))
}

// opaque adapts a decision to a session whose content its sidecar has encrypted.
func (d *decider) opaque(v *View, s *session.Session, q *policy.Query, a decision) decision {
	if v.Mesh == nil {
		return a
	}
	m := d.meshed(v, s)
	if !v.Mesh.Opaque(&m, a.Reason) {
		return a
	}
	some := *q
	some.App, some.Base = app.Undecided, app.Undecided
	if e := v.pol.Decide(&some); e.Verdict == flow.Pending {
		return decision{Verdict: flow.Allow, Reason: flow.ByRule, Rule: e.Rule}
	}
	return a
}

// delivered returns the decision on what the sidecar sends to its application: it arrived
// encrypted from outside, and one of the latest clients must be allowed to send it. A refusal
// is reported as the newest client's.
func (d *decider) delivered(v *View, m *sidecar.Session, q *policy.Query) decision {
	clients := v.Mesh.Clients(m)
	var newest decision
	for i, c := range clients.All() {
		q.Peer = c
		a := v.pol.Decide(q)
		switch {
		case sidecar.Vouches(a.Verdict):
			return decision{Verdict: flow.Open}
		case a.Verdict == flow.Pending:
			return a
		case i == 0:
			newest = a
		}
	}
	if len(clients.All()) == 0 {
		return decision{Verdict: flow.Open}
	}
	d.side.Attribute(m.ID, clients.All()[0])
	return newest
}

// redirected returns the decision on a session on lo for which policy cannot be evaluated in
// the usual form. ok is false where it can.
func (d *decider) redirected(v *View, s *session.Session, q *policy.Query) (a decision, ok bool) {
	m := d.meshed(v, s)
	switch d.side.Question(&m) {
	case sidecar.AskLater:
		return decision{Verdict: flow.Pending}, true
	case sidecar.AskClients:
		return d.delivered(v, &m, q), true
	case sidecar.AskPolicy:
		return decision{}, false
	}
	if v.Fail == packet.Drop {
		return decision{Verdict: flow.Deny, Reason: flow.ByUnready}, true
	}
	return decision{Verdict: flow.Open, Reason: flow.ByFailOpen}, true
}

// trace looks up the original destination of a session between an application and its
// sidecar, once.
func (d *decider) trace(c *packetContext) traced {
	s := c.s
	found := sidecar.Lookup{Session: s.ID, Opening: c.p.Flags&(packet.SYN|packet.ACK) == packet.SYN, Last: d.origin == nil}
	m := d.meshed(c.v, s)
	if c.v.Mesh != nil && !sidecar.Translated(&m.Key) {
		found.Addr, found.Port = s.Server()
		found.Known = true
	} else if d.origin != nil {
		found.Addr, found.Port, found.Known = d.origin.Original(c.f, c.p)
	}
	r := traceFound
	switch d.side.Add(&found) {
	case sidecar.Found:
	case sidecar.Missing:
		r = traceMissing
	default:
		return traceAgain
	}
	s.Marks |= session.Traced
	s.Verdict = flow.NoVerdict
	return r
}

// server returns the server's address and port for policy and reports.
func (d *decider) server(s *session.Session) (packet.Addr, uint16) {
	if s.Marks&session.Traced != 0 {
		if addr, port, ok := d.side.Server(s.ID); ok {
			return addr, port
		}
	}
	return s.Server()
}

// ends returns a session's tuple for reports.
func (d *decider) ends(s *session.Session) flow.Key {
	k := flow.Key{Proto: s.Key.Proto, IPv6: s.Key.IPv6}
	k.Client, k.ClientPort = d.client(s)
	k.Server, k.ServerPort = d.server(s)
	if k.Proto == packet.ProtoICMP || k.Proto == packet.ProtoICMPv6 {
		k.ClientPort, k.ServerPort = 0, 0
	}
	return k
}

// client returns the client's address and port for reports.
func (d *decider) client(s *session.Session) (packet.Addr, uint16) {
	if s.Marks&session.Traced != 0 {
		if addr, ok := d.side.Client(s.ID); ok {
			return addr, 0
		}
	}
	return s.Client()
}
