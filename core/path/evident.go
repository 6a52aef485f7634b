package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/parsers"
)

// markEvident marks a conversation that was picked up in mid-stream where its beginning is not needed: policy denies
// what has no name there, and each application that a rule allows would show in what was seen. Such a conversation is
// held and judged like one whose beginning was seen.
func markEvident(l *lifecycle, v *View, s *session.Session) {
	if s.Key.Proto != packet.ProtoUDP || s.Flags&session.Midstream == 0 {
		return
	}
	s.Marks &^= session.Evident
	if evident(l, v, s, func(parsers.Continuing) bool { return s.Marks&session.Plausible != 0 }) {
		s.Marks |= session.Evident
	}
}

// weigh judges the first datagram that is seen of a conversation in mid-stream: whether it may belong to an application
// that does not show in each of its datagrams.
func weigh(l *lifecycle, c *packetContext) {
	s := c.s
	if s.Key.Proto != packet.ProtoUDP || s.Flags&session.Midstream == 0 || s.Aux != 0 || s.Marks&session.Identified != 0 || c.p.PayloadWire == 0 {
		return
	}
	_, client := s.Client()
	_, server := s.Server()
	m := parsers.Meta{Proto: s.Key.Proto, Midstream: true, ClientPort: client, ServerPort: server}
	s.Marks = s.Marks&^session.Evident | session.Plausible
	if !c.v.enforced() || c.v.pol == nil {
		if !l.ident.Parsers().Continues(&m, c.p.Payload) {
			s.Marks &^= session.Plausible // whatever policy comes to allow
		}
		return
	}
	if evident(l, c.v, s, func(x parsers.Continuing) bool { return x.Continues(&m, c.p.Payload) }) {
		s.Marks = s.Marks&^session.Plausible | session.Evident
	}
}

// evident reports whether a conversation is to be marked Evident. continues reports whether what was seen of it may
// belong to an application that does not show in each of its datagrams.
func evident(l *lifecycle, v *View, s *session.Session, continues func(parsers.Continuing) bool) bool {
	if !v.enforced() || v.Loopback || v.Mesh != nil || v.pol == nil || s.Marks&(session.Related|session.Lost) != 0 {
		return false
	}
	if remembered(l, v, s) == app.None {
		return true
	}
	d := &l.decide
	q := d.query(s)
	q.Midstream = false
	if _, all := nameAll(d, v, s, &q); !all {
		return false
	}
	if q.App, q.Base = app.Unknown, app.Unknown; ask(d, v, s, &q).Verdict != flow.Deny {
		return false
	}
	for _, x := range d.named.apps[:d.named.n] {
		if x == app.Unknown || x == app.None || l.ident.Shows(x) {
			continue
		}
		if later := l.ident.Parsers().Later(x); later != nil && !continues(later) {
			continue
		}
		if q.App, q.Base = x, x.Base(); ask(d, v, s, &q).Verdict != flow.Deny {
			return false
		}
	}
	return true
}

// nameAll collects in named the applications that rules name for a session, in either orientation where its client is
// uncertain. It returns policy's decision on an application that no rule names; all is false where there are too many.
func nameAll(d *decider, v *View, s *session.Session, q *policy.Query) (other decision, all bool) {
	q.App, q.Base, q.Open = app.Undecided, app.Undecided, &d.named
	d.named.n = 0
	other = ask(d, v, s, q)
	q.Open = nil
	return other, d.named.n < maxNamed
}

// pickedUp reports whether a session may have shown its application before the first packet of it that was seen.
func pickedUp(s *session.Session) bool {
	return s.Flags&session.Midstream != 0 && s.Marks&session.Evident == 0
}

// remembered returns the application that a conversation in mid-stream had before a restart: app.None where it had no
// name, app.Undecided where it is not known.
func remembered(l *lifecycle, v *View, s *session.Session) app.ID {
	m := l.views.shared.Memory.Load()
	if m == nil || l.now >= m.Until || s.Key.Proto != packet.ProtoUDP || s.Flags&session.Midstream == 0 || s.Dir == packet.NoDirection {
		return app.Undecided
	}
	t := tupleOf(s)
	return m.App(v.Seed, &t)
}

// nameOf returns the application of a session, and its base, by its identification. A conversation in mid-stream that
// shows none keeps the one that it had before a restart.
func nameOf(l *lifecycle, v *View, s *session.Session, f *identify.Flow) (a, base app.ID) {
	if f.App == app.Unknown && v != nil {
		if x := remembered(l, v, s); x != app.Undecided && x != app.None {
			return x, x.Base()
		}
	}
	return f.App, f.Base
}
