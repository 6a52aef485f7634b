package engine

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

// renewMeshes gives every workload that has an endpoint on lo its mesh. The caller holds mu.
func (e *Engine) renewMeshes() {
	there := map[string]*sidecar.Mesh{}
	for _, a := range e.eps {
		if a.ep.Hook.Side != backend.LoopbackSide {
			continue
		}
		if there[a.workload] = e.meshes[a.workload]; there[a.workload] == nil {
			there[a.workload] = sidecar.NewMesh()
		}
	}
	e.meshes = there
}

// meshed is a session as core/sidecar gets it.
func (w *worker) meshed(v *view, s *session.Session) sidecar.Session {
	client, cport := s.Client()
	server, sport := s.Server()
	at, port := w.server(s)
	return sidecar.Session{
		Key: flow.Key{Client: client, Server: server, ClientPort: cport, ServerPort: sport, Proto: s.Key.Proto, IPv6: s.Key.IPv6},
		ID:  s.ID, At: sidecar.PlaceOf(at, port, s.Key.IPv6, s.Dir), Dir: s.Dir, Verdict: flow.Verdict(s.Verdict),
		Carried:  sidecar.Carried{App: app.ID(s.App), Base: app.ID(s.Base), Strength: s.Strength},
		Loopback: v.loopback, Looked: s.Flags&flagTraced != 0, Over: s.State.Over(), Reported: s.Flags&session.Reported != 0,
		Undecided: s.Aux != 0, Created: s.Created,
	}
}

// carries takes what an encrypted session outside carries, if lo has shown it, and reports
// whether that is news.
func (w *worker) carries(v *view, s *session.Session) bool {
	if v.mesh == nil || v.loopback || app.ID(s.App) != app.TLS {
		return false
	}
	m := w.meshed(v, s)
	c, ok := v.mesh.Inside(&m)
	if ok {
		s.App, s.Base, s.Strength = uint16(c.App), uint16(c.Base), c.Strength
		s.Flags |= flagChanged
	}
	return ok
}

// awaits reports whether a session may still turn out to carry something: until then it is
// reported without an application.
func (w *worker) awaits(v *view, s *session.Session) bool {
	if v == nil || v.mesh == nil || v.loopback || app.ID(s.App) != app.TLS {
		return false
	}
	m := w.meshed(v, s)
	return v.mesh.Awaits(&m, w.now)
}

// shareMeshed shows the workload's other workers what was decided about a session.
func (w *worker) shareMeshed(v *view, s *session.Session) {
	m := w.meshed(v, s)
	v.mesh.Observe(&m, w.now)
}

// followsRefusal reports whether a session outside is what a sidecar opened for a connection that was
// refused, and reported, on lo.
func (w *worker) followsRefusal(v *view, s *session.Session) bool {
	m := w.meshed(v, s)
	return v.mesh.FollowsRefusal(&m, w.now)
}

// encrypted is the decision about a session outside whose content only the sidecar and lo can see:
// what no rule names by TLS passes where a rule names the two ends and the port, and is judged on lo.
func (w *worker) encrypted(v *view, s *session.Session, q *policy.Query) policy.Decision {
	d := v.pol.Decide(q)
	if v.mesh == nil {
		return d
	}
	m := w.meshed(v, s)
	if !v.mesh.Opaque(&m, d.Reason) {
		return d
	}
	some := *q
	some.App, some.Base = app.Undecided, app.Undecided
	if e := v.pol.Decide(&some); e.Verdict == flow.Pending {
		return policy.Decision{Verdict: flow.Allow, Reason: flow.ByRule, Rule: e.Rule}
	}
	return d
}

// delivered is the decision about what the sidecar says to its application: it came encrypted from
// somebody outside, and one of those who came last must be allowed to say it. A refusal is
// reported as the newest client's.
func (w *worker) delivered(v *view, m *sidecar.Session, q *policy.Query) policy.Decision {
	clients := v.mesh.Clients(m)
	var newest policy.Decision
	for i, c := range clients.All() {
		q.Peer = c
		d := v.pol.Decide(q)
		switch {
		case sidecar.Vouches(d.Verdict):
			return policy.Decision{Verdict: flow.Open}
		case d.Verdict == flow.Pending:
			return d
		case i == 0:
			newest = d
		}
	}
	if len(clients.All()) == 0 {
		return policy.Decision{Verdict: flow.Open}
	}
	w.origins.Attribute(m.ID, clients.All()[0])
	return newest
}
