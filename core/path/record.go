package path

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/threat"
)

// A threat is reported once per (threat, endpoint, source) in this time, ns.
const threatEvery = int64(10e9)

// threatKeep is the maximum number of remembered reports.
const threatKeep = 4096

// Recorder is what a path reports: records, threats and counts. The path's goroutine writes
// it; other goroutines use Outbox and AddCounters.
type Recorder struct {
	box     report.Outbox
	threats map[threatKey]int64 // when each was reported last
	count   counter.Set
	dirty   []*tally // to be published
	shown   counter.Shared
}

type threatKey struct {
	id       uint16
	endpoint uint32
	src      packet.Addr
}

// Outbox returns the outbox of records and threats. One collector drains it, from any
// goroutine.
func (r *Recorder) Outbox() *report.Outbox { return &r.box }

// Flush passes records and threats to the collector; only the path's goroutine calls it.
func (r *Recorder) Flush() { r.box.Flush() }

// AddCounters adds the published counts to m, by name. It may be called from any goroutine.
func (r *Recorder) AddCounters(m map[string]uint64) {
	r.shown.AddTo(m)
	m["engine.reports_lost"] += r.box.Dropped()
}

// Count returns the present value of a counter, for the path's goroutine.
func (r *Recorder) Count(id counter.ID) uint64 { return r.count[id] }

// tally returns the counters of a view.
func (r *Recorder) tally(v *View) *tally {
	t := v.tally
	if !t.dirty {
		t.dirty = true
		r.dirty = append(r.dirty, t)
	}
	return t
}

// publish makes the counts visible.
func (r *Recorder) publish() {
	for i, t := range r.dirty {
		t.publish()
		r.dirty[i] = nil
	}
	r.dirty = r.dirty[:0]
	r.count.Publish(&r.shown)
}

// admits reports whether a threat is to be reported now.
func (r *Recorder) admits(k threatKey, now int64) bool {
	r.count[counter.Threats]++
	if at, ok := r.threats[k]; ok && now-at < threatEvery {
		return false
	}
	if r.threats == nil || len(r.threats) >= threatKeep {
		r.threats = make(map[threatKey]int64)
	}
	r.threats[k] = now
	return true
}

// threat reports a threat shown by a packet.
func (r *Recorder) threat(c *packetContext, now int64, id uint16, text string) {
	if r.admits(threatKey{id, c.v.ID, c.p.Src}, now) {
		r.report(c, now, id, text)
	}
}

// report writes a threat that was admitted.
func (r *Recorder) report(c *packetContext, now int64, id uint16, text string) {
	p := c.p
	t := report.Threat{
		ID: id, Endpoint: c.v.ID, Stamp: now, Src: p.Src, Dst: p.Dst, SrcPort: p.SrcPort, DstPort: p.DstPort,
		Proto: p.Proto, IPv6: p.IPv6, Text: text,
	}
	if c.s != nil {
		t.Session = c.s.ID
	}
	t.Frame = beginning(p.Network)
	r.box.Threat(&t)
}

// beginning returns a copy of the beginning of a packet; nil for none.
func beginning(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	return bytes.Clone(p[:min(len(p), identify.PacketBytes)])
}

// threatOf reports a threat in a session's payload, with the packet that showed it; nil if
// that is gone.
func (r *Recorder) threatOf(s *session.Session, now int64, id uint16, text string, shown []byte) {
	client, cport := s.Client()
	server, sport := s.Server()
	if !r.admits(threatKey{id, s.Endpoint, client}, now) {
		return
	}
	r.box.Threat(&report.Threat{
		ID: id, Endpoint: s.Endpoint, Session: s.ID, Stamp: now, Src: client, Dst: server, SrcPort: cport, DstPort: sport,
		Proto: s.Key.Proto, IPv6: s.Key.IPv6, Text: text, Frame: beginning(shown),
	})
}

// sessionLimit reports that an endpoint's sessions make room for each other, with one of them: once in
// threatEvery, whatever their addresses.
func (r *Recorder) sessionLimit(s *session.Session, now int64) {
	if !r.admits(threatKey{id: threat.SessionLimit, endpoint: s.Key.Workload}, now) {
		return
	}
	client, cport := s.Client()
	server, sport := s.Server()
	r.box.Threat(&report.Threat{ID: threat.SessionLimit, Endpoint: s.Endpoint, Session: s.ID, Stamp: now, Src: client, Dst: server,
		SrcPort: cport, DstPort: sport, Proto: s.Key.Proto, IPv6: s.Key.IPv6, Text: "more sessions than its share of the table"})
}

// write writes a record of a session: a Start before anything else, and an End last. Counters
// are in the first record that is written. v may be nil; ends is the session's tuple for
// reports. The content of an unnamed session may still become known.
func (r *Recorder) write(v *View, s *session.Session, ends flow.Key, kind flow.Kind, d *flow.Detail, unnamed bool) {
	f := flow.Record{
		Key: ends, Session: s.ID, Endpoint: s.Endpoint, Rule: s.Rule, Policy: s.Generation,
		First: s.Created, Last: s.Last, App: s.App, Base: s.Base, Dir: s.Dir, Kind: kind,
		Verdict: s.Verdict, Reason: s.Reason, Strength: s.Strength, Outcome: outcome(s, kind == flow.End || s.Marks&session.Ended != 0),
		Evidence: s.Evidence, Phase: s.State,
		Answered: s.Flags&session.Answered != 0, Midstream: s.Flags&session.Midstream != 0, Simultaneous: s.Flags&session.Crossed != 0, Idle: s.Marks&session.Quiet != 0 && !s.HasData(), Detail: d,
	}
	f.Packets, f.Bytes = s.Unreported()
	s.MarkReported()
	s.Marks &^= session.Changed
	if v != nil {
		f.Enforced, f.Loopback = v.enforced(), v.Loopback
		f.Received = f.Dir == packet.Ingress && f.Proto == packet.ProtoUDP && !f.Answered && s.Flags&(session.Refused|session.Denied) == 0 && v.Sockets.Receives(f.ServerPort)
	}
	if unnamed {
		f.App, f.Base = uint16(app.Undecided), uint16(app.Undecided)
		s.Marks |= session.Changed // its name is still due
	}
	if s.Marks&session.Reported == 0 {
		s.Marks |= session.Reported
		f.Kind = flow.Start
		r.box.Put(&f)
		if kind != flow.End {
			return
		}
		f.Kind, f.Counters, f.Detail = flow.End, flow.Counters{}, nil
	}
	if kind == flow.End {
		s.Marks |= session.Ended
	}
	r.box.Put(&f)
}

// initialWindow is how many segments a sender has in flight before the first answer (RFC 6928).
const initialWindow = 10

// unfounded reports whether the packets of a session may all be remnants of a connection that
// is closed or never existed: no beginning, no payload, and either one side alone or an end; or
// some payload that was answered by nothing but resets.
// Such a session is not reported, unless Sluice denied it.
func unfounded(s *session.Session) bool {
	if s.Key.Proto != packet.ProtoTCP || s.Flags&(session.Midstream|session.Denied) != session.Midstream || s.Marks&(session.Reported|session.HeldOpen) != 0 {
		return false
	}
	if s.HasData() {
		return s.OnlyReset() && s.Packets[0]+s.Packets[1] <= 2*initialWindow
	}
	return s.Packets[0] == 0 || s.Packets[1] == 0 || s.State.Over() || s.State == flow.PhaseClosing || s.Doubtful()
}

// outcome returns a session's outcome. ended is whether it ends with this record.
func outcome(s *session.Session, ended bool) flow.Outcome {
	// A connection that was picked up in mid-stream was open; for a datagram this is unknown. One of
	// which the client has not answered the server's SYN+ACK was never open.
	answered := s.Flags&session.Answered != 0 || s.Flags&session.Midstream != 0 && s.Key.Proto == packet.ProtoTCP
	switch {
	case s.Flags&session.Denied != 0:
		return flow.OutcomeDenied
	case s.State == flow.PhaseRefused, !answered && s.Flags&session.Refused != 0:
		return flow.OutcomeRefused
	case s.State == flow.PhaseReset && (answered || s.Packets[1] > 0):
		return flow.OutcomeReset
	case s.State == flow.PhaseClosed, ended && (answered || s.Packets[1] > 0 && s.State != flow.PhaseOpening):
		return flow.OutcomeClosed
	case ended, s.State == flow.PhaseReset:
		return flow.OutcomeUnanswered
	case answered:
		return flow.OutcomeEstablished
	}
	return flow.OutcomeOpening
}

// record writes the changes of a session.
func (l *lifecycle) record(s *session.Session, kind flow.Kind, d *flow.Detail) {
	v := l.views.view(s.Endpoint)
	if v != nil && v.Mesh != nil && l.decide.carries(v, s) {
		l.evaluate(v, s)
	}
	if unfounded(s) || v != nil && v.Mesh != nil && l.decide.shadows(v, s, l.now) {
		if kind == flow.End {
			s.Marks |= session.Ended
		}
		return
	}
	if s.Marks&session.Related != 0 {
		d = l.decide.relations.describe(s, d)
	}
	l.out.write(v, s, l.decide.ends(s), kind, d, v != nil && l.decide.awaits(v, s, l.now))
}

// reportNews writes a record if the session has changed.
func (l *lifecycle) reportNews(s *session.Session) {
	var d *flow.Detail
	if f := l.ident.Flow(s.Aux); f != nil {
		d = f.Attrs.Detail()
	}
	packets, _ := s.Unreported()
	if d != nil || s.Marks&session.Changed != 0 || packets[0]+packets[1] > 0 {
		l.record(s, flow.Update, d)
	}
}
