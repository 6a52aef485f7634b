package path

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
	"github.com/sluicenet/sluice/parsers"
)

// identify passes a packet's payload to identification.
func (p *Path) identify(c *packetContext) {
	ses, s := &p.ses, c.s
	f := ses.ident.Flow(s.Aux)
	if f == nil {
		f = ses.begin(c.v, s)
	}
	if c.v.Inline && s.Verdict == flow.Pending {
		ses.act.held.SetSample(s.Aux, c.f)
	}
	b := identify.Bytes{Data: c.p.Payload, Wire: c.p.PayloadWire, Packet: c.p.Network, Age: s.Last - f.Since,
		Copy: !c.v.Inline || p.replaying}
	if c.p.Proto == packet.ProtoTCP {
		b.Seq, b.First = c.p.Seq, c.tcp.Expected()
		b.Later = s.Unproven() && s.Last-s.Created < provenAfter
		if c.p.Flags&packet.SYN != 0 {
			b.Seq++
			b.First = b.Seq
		}
	}
	if ses.ident.Feed(f, parsers.Dir(c.dir), b).Overlap {
		ses.out.threat(c, ses.now, threat.Overlap, "tcp data came again with other bytes")
	}
	ses.heldRead(c, f)
	ses.act.present = s
	ses.applyIdent(c.v, s, f)
	ses.answers()
	ses.act.present = nil
}

// acked reports to identification bytes that were acknowledged before they were seen.
func (l *lifecycle) acked(c *packetContext) {
	if f := l.ident.Flow(c.s.Aux); f != nil {
		l.ident.Acked(f, parsers.Dir(c.dir).Reverse(), c.p.Ack)
	}
}

// begin begins a session's identification.
func (l *lifecycle) begin(v *View, s *session.Session) *identify.Flow {
	client, cport := s.Client()
	server, sport := s.Server()
	f := l.ident.Begin(parsers.Meta{
		Client: client.Netip(), Server: server.Netip(), ClientPort: cport, ServerPort: sport,
		Proto: s.Key.Proto, Midstream: s.Flags&session.Midstream != 0,
	}, l.table.Ref(s))
	f.Since = s.Last
	s.Aux = f.Number()
	o := ownerOf(v, s)
	l.act.held.Begin(s.Aux, o)
	f.Share.Workload, f.Share.Peer = s.Key.Workload, o.Peer
	return f
}

// applyIdent applies the results of identification to the session.
func (l *lifecycle) applyIdent(v *View, s *session.Session, f *identify.Flow) {
	if !f.Elsewhere() && f.Outcome() == detect.Undecided && l.decide.hopeless(v, s, f) {
		l.ident.End(f)
	}
	if side := f.Side(); side != detect.UnknownSide && s.Marks&session.Either != 0 && v != nil {
		l.raise(v, s, role.Finding{Side: sideOf(s, side), Evidence: flow.EvidenceProtocol, Firm: true})
	}
	switch f.Outcome() {
	case detect.Preamble:
		l.act.release(s, f.Asked(), &l.out)
	case detect.Decided:
		l.applyName(v, s, f)
	}
	if f.Over() {
		l.endIdent(s, f)
	}
}

// applyName applies a session's application, a new one or one that a parser withdrew, and
// judges the session by it.
func (l *lifecycle) applyName(v *View, s *session.Session, f *identify.Flow) {
	name, base := nameOf(l, v, s, f)
	// The content of a sidecar's encrypted session was learned on lo.
	if carried := v != nil && v.Mesh != nil && s.Base == uint16(name); s.App == uint16(name) || carried {
		if s.Strength != uint8(f.Strength) {
			s.Strength = uint8(f.Strength)
			s.Marks |= session.Changed
		}
		return
	}
	s.App, s.Base, s.Strength = uint16(name), uint16(base), uint8(f.Strength)
	s.Marks |= session.Changed
	if name == app.Unknown && f.Lost() {
		s.Marks |= session.Lost
		l.out.count[counter.Unidentified]++
	}
	l.out.count[counter.Identified]++
	waited := s.Verdict == flow.Pending
	l.evaluate(v, s)
	if waited && s.Verdict == flow.Allow && l.decide.contested(v, s, f) {
		l.out.count[counter.HoldExpired]++
		l.expireUndecided(v, s)
	}
	l.pair(s)
	l.rememberQUIC(s)
	if s.Verdict != flow.Pending {
		l.act.settleHeld(v, s, l.now, &l.out)
	}
}

// endIdent records the results and detaches the flow from its session.
func (l *lifecycle) endIdent(s *session.Session, f *identify.Flow) {
	s.Marks |= session.Identified
	if d := f.Attrs.Detail(); d != nil {
		l.record(s, flow.Update, d)
	}
	l.act.drop(l.act.held.TakeAll(s.Aux))
	l.ident.Drop(f)
	s.Aux = 0
}

// answers handles the results of remote identification, and threats.
func (l *lifecycle) answers() {
	for _, n := range l.ident.Answered() {
		f := l.ident.Flow(n)
		if f.Owner == 0 {
			continue
		}
		s := l.table.At(f.Owner)
		if seen := f.Seen(); seen > 0 && s.Verdict == flow.Pending {
			// Packets behind those that the answer covers may hold a request.
			l.act.release(s, seen, &l.out)
		}
		v := l.views.view(s.Endpoint)
		if v == nil {
			continue
		}
		l.applyIdent(v, s, f)
		if s.Aux == n && f.Elsewhere() && f.Open() && l.decide.hopeless(v, s, f) {
			l.ident.End(f) // the result so far becomes its name
		}
		if s.Aux == n && s.Verdict == flow.Pending && l.act.held.Len(n) > 0 && l.decide.allowsSoFar(v, s, f) {
			l.table.Schedule(s, l.act.held.Extend(n, l.now, quietAfter))
		}
		l.announce(s)
	}
	for _, e := range l.ident.TakeExpected() {
		if s := l.table.At(e.Owner); s != nil {
			announced(l, s, &e)
		}
	}
	for _, t := range l.ident.TakeThreats() {
		if s := l.table.At(t.Owner); s != nil {
			l.out.threatOf(s, l.now, t.ID, t.Text, t.Packet)
		}
	}
}

// closeIdent ends the identification of a closed session. One without payload from its
// beginning on has no application.
func (l *lifecycle) closeIdent(v *View, s *session.Session) {
	f := l.ident.Flow(s.Aux)
	if f == nil {
		if app.ID(s.App) == app.Undecided && s.Flags&(session.Midstream|session.Denied) == 0 {
			s.App, s.Base = uint16(app.None), uint16(app.None)
			s.Marks |= session.Identified | session.Changed
			if v != nil && s.Verdict == flow.Pending {
				l.set(v, s, l.decide.silent(v, s))
			}
		}
		return
	}
	if f.Elsewhere() && l.cfg.Identify.Wait {
		l.ident.End(f)
		l.ident.Await(identify.LastAnswers)
		if l.answers(); s.Aux == 0 {
			return
		}
	}
	if l.ident.Close(f, app.ID(s.App) != app.Undecided) {
		l.out.count[counter.Unanswered]++
	}
	if v != nil {
		l.applyIdent(v, s, f)
	}
	if s.Aux != 0 {
		l.endIdent(s, f)
	}
}

// lastAnswers requests the results for sessions that are about to end, and waits briefly for
// them.
func (ss *Sessions) lastAnswers(each func(fn func(*session.Session) bool)) {
	asked := false
	each(func(s *session.Session) bool {
		if f := ss.ident.Flow(s.Aux); f != nil && f.Elsewhere() {
			ss.ident.End(f)
			asked = true
		}
		return true
	})
	if asked {
		ss.ident.Await(identify.LastAnswers)
		ss.answers()
	}
}
