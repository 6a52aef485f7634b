package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// markEvident marks a conversation that was picked up in mid-stream where its beginning is not needed: policy denies
// what has no name there, and each application that a rule allows shows in any datagram. Such a conversation is held
// and judged like one whose beginning was seen.
func markEvident(l *lifecycle, v *View, s *session.Session) {
	if s.Key.Proto != packet.ProtoUDP || s.Flags&session.Midstream == 0 {
		return
	}
	s.Marks &^= session.Evident
	if evident(l, v, s) {
		s.Marks |= session.Evident
	}
}

func evident(l *lifecycle, v *View, s *session.Session) bool {
	if !v.enforced() || v.Loopback || v.Mesh != nil || v.pol == nil || s.Marks&(session.Related|session.Lost) != 0 {
		return false
	}
	if remembered(l, v, s) == app.None {
		return true
	}
	d := &l.decide
	q := d.query(s)
	q.Midstream = false
	if !d.nameAll(v, s, &q) {
		return false
	}
	if q.App, q.Base = app.Unknown, app.Unknown; ask(d, v, s, &q).Verdict != flow.Deny {
		return false
	}
	for _, x := range d.named.apps[:d.named.n] {
		if x == app.Unknown || x == app.None || l.ident.Shows(x) {
			continue
		}
		if q.App, q.Base = x, x.Base(); ask(d, v, s, &q).Verdict != flow.Deny {
			return false
		}
	}
	return true
}

// nameAll collects in named the applications that rules name for a session, in either orientation where its client is
// uncertain. It returns false where there are too many.
func (d *decider) nameAll(v *View, s *session.Session, q *policy.Query) bool {
	q.App, q.Base, q.Open = app.Undecided, app.Undecided, &d.named
	d.named.n = 0
	ask(d, v, s, q)
	q.Open = nil
	return d.named.n < maxNamed
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
