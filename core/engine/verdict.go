package engine

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// evaluate asks policy about a session and takes the answer into it.
func (w *worker) evaluate(v *view, s *session.Session) {
	if v.mesh != nil {
		w.carries(v, s)
		defer w.shareMeshed(v, s)
	}
	d := w.decide(v, s)
	s.Generation = w.snap.version
	if d.Verdict == flow.Deny && !v.inline {
		d.Verdict = flow.Violate // a tap reports; it refuses nothing
	}
	if d.Verdict == flow.Pending && s.Flags&flagPassed != 0 {
		d = policy.Decision{Verdict: flow.Violate, Reason: flow.ByHoldExpired, Rule: d.Rule}
	}
	if uint8(d.Verdict) == s.Verdict && d.Rule == s.Rule && uint8(d.Reason) == s.Reason {
		return
	}
	if uint8(d.Verdict) != s.Verdict {
		w.judged(v, d.Verdict)
	}
	s.Verdict, s.Reason, s.Rule = uint8(d.Verdict), uint8(d.Reason), d.Rule
	w.changed(s)
}

// decide is policy's answer for a session as it is now.
func (w *worker) decide(v *view, s *session.Session) policy.Decision {
	if v.pol == nil {
		if s.Flags&flagLost != 0 {
			return policy.Decision{Verdict: flow.Open, Reason: flow.ByUnidentified}
		}
		return policy.Decision{Verdict: flow.Open, Reason: flow.ByUnready}
	}
	q := w.query(s)
	if v.loopback {
		if d, ok := w.redirected(v, s, &q); ok {
			return d
		}
	}
	return w.encrypted(v, s, &q)
}

// hopeless says that a session whose packets are held cannot turn out to be anything that is
// allowed: then its application's name is not worth waiting for. Waiting would fail, too,
// where the sender must be acknowledged before it says more.
func (w *worker) hopeless(v *view, s *session.Session, id *ident) bool {
	if !v.inline || v.loopback || v.pol == nil || flow.Verdict(s.Verdict) != flow.Pending || s.Flags&session.Midstream != 0 {
		return false
	}
	if v.mesh != nil && id.Could(app.TLS) {
		return false // what is in it may be allowed
	}
	q := w.query(s)
	q.Open, q.Lost = id, id.far.lost
	return v.pol.Decide(&q).Verdict == flow.Deny
}

// query is what policy is asked about a session.
func (w *worker) query(s *session.Session) policy.Query {
	client, _ := s.Client()
	server, sport := w.server(s)
	q := policy.Query{
		Dir: s.Dir, Peer: server, Local: client, IPv6: s.Key.IPv6, Proto: s.Key.Proto, Port: sport,
		App: app.ID(s.App), Base: app.ID(s.Base), Midstream: s.Flags&session.Midstream != 0,
		Lost: s.Flags&flagLost != 0,
	}
	if s.Dir != packet.Egress {
		q.Peer, q.Local = client, server
	}
	if s.Key.Proto == packet.ProtoICMP || s.Key.Proto == packet.ProtoICMPv6 {
		q.Port = 0
	}
	return q
}

// changed notes that a record is due. A refusal is told at once, everything else when
// the session's timer comes or its application is known.
func (w *worker) changed(s *session.Session) {
	s.Flags |= flagChanged
	if flow.Verdict(s.Verdict) == flow.Deny {
		w.record(s, flow.Update, nil)
	}
}
