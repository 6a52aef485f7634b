package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
)

type decision = policy.Decision

// decider evaluates policy for sessions with their known ends: the original destination of
// redirected ones, and what the other side of a sidecar has shown. It returns decisions;
// Sessions applies them.
type decider struct {
	origin    backend.Origin
	side      sidecar.Destinations
	named     named
	relations relations
}

// about returns policy's decision on a session as it is now.
func (d *decider) about(v *View, s *session.Session) decision {
	if v.pol == nil {
		if s.Marks&session.Lost != 0 {
			return decision{Verdict: flow.Open, Reason: flow.ByUnidentified}
		}
		return decision{Verdict: flow.Open, Reason: flow.ByUnready}
	}
	q := d.query(s)
	if v.Loopback {
		if a, ok := d.redirected(v, s, &q); ok {
			return a
		}
	}
	return d.encrypted(v, s, &q)
}

// acting adapts a decision to the endpoint: a tap reports and denies nothing, and a session
// that passed because its hold time expired, or that is kept because it was open when enforcement
// began, keeps passing.
func (d *decider) acting(v *View, s *session.Session, a decision) decision {
	if a.Verdict == flow.Deny && !v.enforced() {
		a.Verdict = flow.Violate
	}
	if a.Verdict == flow.Deny && s.Marks&session.Kept != 0 && a.Reason != flow.ByQuarantine {
		a.Verdict = flow.Violate
	}
	if a.Verdict == flow.Pending && s.Marks&session.Passed != 0 {
		a = decision{Verdict: flow.Violate, Reason: flow.ByHoldExpired, Rule: a.Rule}
	}
	return a
}

// query returns the policy query of a session.
func (d *decider) query(s *session.Session) policy.Query {
	client, _ := s.Client()
	server, sport := d.server(s)
	q := policy.Query{
		Dir: s.Dir, Peer: server, Local: client, IPv6: s.Key.IPv6, Proto: s.Key.Proto, Port: sport,
		App: app.ID(s.App), Base: app.ID(s.Base), Midstream: pickedUp(s),
		Lost: s.Marks&session.Lost != 0, Began: s.Created,
	}
	if s.Dir != packet.Egress {
		q.Peer, q.Local = client, server
	}
	if s.Key.Proto == packet.ProtoICMP || s.Key.Proto == packet.ProtoICMPv6 {
		q.Port = 0
	}
	return q
}

// hopeless reports whether a session whose packets are held can no longer become an allowed
// application: then waiting for its application is useless. Waiting would fail, too, where
// the sender needs an acknowledgement before it sends more.
func (d *decider) hopeless(v *View, s *session.Session, f *identify.Flow) bool {
	if !v.enforced() || v.Loopback || v.pol == nil || s.Verdict != flow.Pending || pickedUp(s) {
		return false
	}
	if v.Mesh != nil && f.Could(app.TLS) {
		return false // its content may be allowed
	}
	q := d.query(s)
	q.Open, q.Lost = f, f.Lost()
	return ask(d, v, s, &q).Verdict == flow.Deny
}

// refuseHopeless returns the refusal of a session in mid-stream that no application could be allowed for:
// its packets are not held, so waiting for its application would deliver them. Any other decision
// stays as it is.
func (d *decider) refuseHopeless(v *View, s *session.Session, a decision) decision {
	if a.Verdict != flow.Pending || !v.enforced() || v.Loopback || v.Mesh != nil || v.pol == nil || s.Flags&session.Midstream == 0 {
		return a
	}
	q := d.query(s)
	e, all := nameAll(d, v, s, &q)
	if !all || e.Verdict != flow.Deny {
		return a
	}
	for _, x := range append(d.named.apps[:d.named.n], app.Unknown) {
		if q.App, q.Base = x, x.Base(); ask(d, v, s, &q).Verdict != flow.Deny {
			return a
		}
	}
	return e
}

// ask returns policy's decision on a query about a session, of the better orientation where its
// client is uncertain.
func ask(d *decider, v *View, s *session.Session, q *policy.Query) decision {
	if uncertain(v, s) {
		a, _ := d.either(v, s, q)
		return a
	}
	return v.pol.Decide(q)
}

// allowsSoFar reports whether policy would allow a pending session if its identification
// ended now: then the bytes so far may be delivered, whatever the next ones show.
func (d *decider) allowsSoFar(v *View, s *session.Session, f *identify.Flow) bool {
	if v.pol == nil {
		return false
	}
	x := *s
	a, b := f.SoFar()
	x.App, x.Base, x.Aux = uint16(a), uint16(b), 0
	if a == app.Unknown && f.Lost() {
		x.Marks |= session.Lost // the fail mode decides
	}
	switch d.best(v, &x).Verdict {
	case flow.Open, flow.Allow:
		return true
	}
	return false
}

// contested reports whether a session got its name because a limit was reached, although it
// could still be of an application that a rule denies. Then policy has not decided it.
func (d *decider) contested(v *View, s *session.Session, f *identify.Flow) bool {
	if !v.enforced() || v.pol == nil || pickedUp(s) {
		return false
	}
	q := d.query(s)
	nameAll(d, v, s, &q)
	for _, x := range d.named.apps[:d.named.n] {
		if x == app.Unknown || !f.Limited(x) {
			continue
		}
		q.App, q.Base = x, x.Base()
		if a := ask(d, v, s, &q); a.Verdict == flow.Deny && a.Reason == flow.ByRule {
			return true
		}
	}
	return false
}

// maxNamed bounds the applications that silent evaluates.
const maxNamed = 64

// named collects the applications that rules name for a session. It implements
// policy.Openness.
type named struct {
	apps [maxNamed]app.ID
	n    int
}

// Could makes policy continue with the next application.
func (n *named) Could(a app.ID) bool {
	if n.n < maxNamed {
		n.apps[n.n] = a
		n.n++
	}
	return false
}

// silent returns the decision on a pending session that ended without payload, and of which
// nothing was denied: that of a rule for application `none` or for any application; else that
// of a rule which would allow one of its applications, as it let the connection open; else it
// stays pending, since no rule applied.
func (d *decider) silent(v *View, s *session.Session) decision {
	a := d.about(v, s)
	if a.Verdict.Passes() && a.Verdict != flow.Violate || v.pol == nil {
		return a
	}
	q := d.query(s)
	q.App, q.Base, q.Open = app.Undecided, app.Undecided, &d.named
	d.named.n = 0
	v.pol.Decide(&q)
	q.Open = nil
	for _, x := range d.named.apps[:d.named.n] {
		q.App, q.Base = x, x.Base()
		if b := v.pol.Decide(&q); b.Verdict == flow.Allow {
			return b
		}
	}
	return decision{Verdict: s.Verdict, Reason: s.Reason, Rule: s.Rule}
}

// passesEither reports whether policy would pass a segment that opens no session, with either
// of its ends as the client.
func (d *decider) passesEither(v *View, p *packet.Packet, dir packet.Direction) bool {
	if v.pol == nil || v.Loopback {
		return true
	}
	q := policy.Query{Dir: dir, Peer: p.Dst, Local: p.Src, IPv6: p.IPv6, Proto: p.Proto, Port: p.DstPort, App: app.Undecided, Base: app.Undecided, Midstream: true}
	if dir != packet.Egress {
		q.Peer, q.Local = p.Src, p.Dst
	}
	if v.pol.Decide(&q).Verdict != flow.Deny {
		return true
	}
	q.Dir, q.Port = dir.Reverse(), p.SrcPort
	return v.pol.Decide(&q).Verdict != flow.Deny
}

// opensRefused reports whether a packet begins a connection that policy denies.
func (d *decider) opensRefused(v *View, p *packet.Packet, dir packet.Direction) bool {
	if v.pol == nil || !v.Inline || p.Proto != packet.ProtoTCP || p.Flags&(packet.SYN|packet.ACK) != packet.SYN {
		return false
	}
	q := policy.Query{Dir: dir, Peer: p.Dst, Local: p.Src, IPv6: p.IPv6, Proto: p.Proto, Port: p.DstPort, App: app.Undecided, Base: app.Undecided}
	if dir == packet.Ingress {
		q.Peer, q.Local = p.Src, p.Dst
	}
	return v.pol.Decide(&q).Verdict == flow.Deny
}
