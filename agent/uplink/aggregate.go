package uplink

import (
	"maps"

	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
)

// key is what sessions of one kind have in common.
type key struct {
	workload, peer string
	policy         uint64
	client, server packet.Addr
	rule           uint32
	port           uint16
	app, base      uint16
	proto          uint8
	dir            packet.Direction
	verdict        flow.Verdict
	reason         flow.Reason
	class          class
	ipv6           bool
	enforced       bool
	answered       bool
	midstream      bool
	loopback       bool
}

// class is how far a connection came, as far as it makes kinds of their own.
type class uint8

const (
	classLive class = iota
	classOpening
	classReset
	classRefused
)

func classOf(s flow.Phase) class {
	switch s {
	case flow.PhaseOpening:
		return classOpening
	case flow.PhaseReset:
		return classReset
	case flow.PhaseRefused:
		return classRefused
	}
	return classLive
}

// session is what one session told since it was folded last.
type session struct {
	flow.Record // the last record; its counters are sums
	began       uint8
	ended       uint8
	held        bool  // it waits a second interval for its application
	folds       uint8 // how often it waited for its like outside of the workload
}

// kind is what sessions of one kind told since they were sent last.
type kind struct {
	packets, bytes [2]uint64
	began, ended   uint64
	first, last    int64
	session        uint64 // the only one, 0 if several
	detail         *flow.Detail
	peer           *flow.Detail // of the process at the other end
	clientPort     uint16
	strength       uint8
	evidence       flow.Evidence
	state          flow.Phase
}

type threatKey struct {
	workload         string
	text             string
	src, dst         packet.Addr
	id               uint16
	srcPort, dstPort uint16
	proto            uint8
	ipv6             bool
}

type threat struct {
	count uint64
	stamp int64
}

// maxThreats bounds the kinds of threat that wait.
const maxThreats = 10_000

// aggregate merges records, first by session and then by kind. One goroutine uses it.
type aggregate struct {
	max      int
	workload func(uint32) string
	peer     func(*flow.Record) (string, *flow.Detail) // nil without

	sessions map[uint64]session
	kinds    map[key]kind
	threats  map[threatKey]threat
	targets  map[target]struct{} // where sessions outside of lo go
	dropped  map[string]uint64   // since the last request, by cause
	lost     uint64              // since the beginning
	living   *living             // nil for none
	causes   map[string]uint64   // the same by cause
}

func newAggregate(limit int, workload func(uint32) string) *aggregate {
	return &aggregate{max: limit, workload: workload, sessions: map[uint64]session{}, kinds: map[key]kind{}, threats: map[threatKey]threat{}, targets: map[target]struct{}{}, dropped: map[string]uint64{}, causes: map[string]uint64{}}
}

func (a *aggregate) empty() bool {
	return len(a.kinds) == 0 && len(a.threats) == 0 && len(a.dropped) == 0
}

// waiting is how much there is to be sent.
func (a *aggregate) waiting() uint64 { return uint64(len(a.sessions) + len(a.kinds) + len(a.threats)) }

// drop counts records that could not be kept.
func (a *aggregate) drop(cause string, n uint64) {
	a.dropped[cause] += n
	a.causes[cause] += n
	a.lost += n
}

// flow merges a record with others of its session.
func (a *aggregate) record(f *flow.Record) {
	s, ok := a.sessions[f.Session]
	switch {
	case ok:
		packets, bytes, first, detail := s.Packets, s.Bytes, s.First, s.Detail
		s.Record = *f
		s.First = first
		for i := range packets {
			s.Packets[i] += packets[i]
			s.Bytes[i] += bytes[i]
		}
		if s.Detail == nil {
			s.Detail = detail
		}
	case len(a.sessions) >= a.max:
		a.fold(true) // many at once: they are merged by kind early
		s = session{Record: *f}
	default:
		s = session{Record: *f}
	}
	switch f.Kind {
	case flow.Start:
		s.began++
	case flow.End:
		s.ended++
	}
	a.sessions[f.Session] = s
}

// fold moves sessions into their kinds. One that has just begun and has no application yet waits
// for the next fold, so that most sessions are told once, by their name; with all, none waits.
func (a *aggregate) fold(all bool) {
	a.foldOf(all, false)
	a.foldOf(all, true) // what is on lo is compared with what is outside
}

// foldOf moves the sessions on lo, or the others.
func (a *aggregate) foldOf(all, loopback bool) {
	for id, s := range a.sessions {
		if s.Loopback != loopback {
			continue
		}
		if !all && !s.held && s.began > 0 && s.ended == 0 && app.ID(s.App) == app.Undecided && s.Verdict != flow.Deny {
			s.held = true
			a.sessions[id] = s
			continue
		}
		if !all && a.waits(&s) {
			s.folds = min(s.folds+1, meshFolds)
			a.sessions[id] = s
			continue
		}
		delete(a.sessions, id)
		a.add(&s)
	}
}

func (a *aggregate) add(s *session) {
	w := a.workload(s.Endpoint)
	if w == "" {
		a.drop("unknown_endpoint", 1)
		return
	}
	switch {
	case !s.Loopback:
		a.outside(w, s)
	case !a.onlyHere(w, s):
		return
	}
	s.remember(w, a.living)
	k := key{workload: w, policy: s.Policy, client: s.Client, server: s.Server, rule: s.Rule, port: s.ServerPort, app: s.App, base: s.Base, proto: s.Proto,
		dir: s.Dir, verdict: s.Verdict, reason: s.Reason, class: classOf(s.Phase), ipv6: s.IPv6, enforced: s.Enforced, answered: s.Answered, midstream: s.Midstream, loopback: s.Loopback}
	var peer *flow.Detail
	if a.peer != nil && !s.Loopback {
		k.peer, peer = a.peer(&s.Record)
	}
	c := s.kind(peer)
	if old, ok := a.kinds[k]; ok {
		c = old.with(&c)
	} else if len(a.kinds) >= a.max {
		a.drop("uplink_full", 1)
		return
	}
	a.kinds[k] = c
}

// kind is what is packed of one session.
func (s *session) kind(peer *flow.Detail) kind {
	return kind{packets: s.Packets, bytes: s.Bytes, began: uint64(s.began), ended: uint64(s.ended), first: s.First, last: s.Last, session: s.Session,
		detail: s.Detail, peer: peer, clientPort: s.ClientPort, strength: s.Strength, evidence: s.Evidence, state: s.Phase}
}

// remember notes on disk that a session lives, or does no more. One that a life before has told of is
// not told to have begun again.
func (s *session) remember(workload string, l *living) {
	switch {
	case l == nil:
	case s.began > 0 && l.began(workload, &s.Record, s.ended > 0 && !l.left.Load()):
		s.began = 0
	case s.began == 0 && s.ended > 0:
		l.ended(workload, &s.Record)
	case s.began == 0:
		l.goesOn(workload, &s.Record)
	}
}

// threat merges a threat with others of its kind.
func (a *aggregate) threat(t *report.Threat) {
	w := a.workload(t.Endpoint)
	if w == "" {
		a.drop("unknown_endpoint", 1)
		return
	}
	k := threatKey{workload: w, text: t.Text, src: t.Src, dst: t.Dst, id: t.ID, srcPort: t.SrcPort, dstPort: t.DstPort, proto: t.Proto, ipv6: t.IPv6}
	c, ok := a.threats[k]
	if !ok && len(a.threats) >= maxThreats {
		a.drop("threats_full", 1)
		return
	}
	a.threats[k] = threat{c.count + 1, max(c.stamp, t.Stamp)}
}

// Bounds of one request. Controllers that share a store keep it as one value there until the graph
// has it, and take half of what a commit holds.
const (
	maxConnections = 2000
	maxBytes       = 128 << 10
)

// pack makes requests without numbers of what is there, at least one.
func (a *aggregate) pack() []*controlv1.ReportConnectionsRequest {
	r := &controlv1.ReportConnectionsRequest{Dropped: maps.Clone(a.dropped)}
	rs, size := []*controlv1.ReportConnectionsRequest{r}, 0
	room := func(more int) {
		if size += more; size > maxBytes || len(r.Connections)+len(r.Threats) >= maxConnections {
			r, size = &controlv1.ReportConnectionsRequest{}, more
			rs = append(rs, r)
		}
	}
	for k, c := range a.kinds {
		m := connection(&k, &c)
		room(proto.Size(m) + 4)
		r.Connections = append(r.Connections, m)
	}
	for k, t := range a.threats {
		m := &controlv1.ThreatRecord{Workload: k.workload, Id: uint32(k.id), Text: k.text, Src: address(k.src, k.ipv6), Dst: address(k.dst, k.ipv6),
			SrcPort: uint32(k.srcPort), DstPort: uint32(k.dstPort), Proto: uint32(k.proto), Stamp: t.stamp, Count: t.count}
		room(proto.Size(m) + 4)
		r.Threats = append(r.Threats, m)
	}
	return rs
}

func connection(k *key, c *kind) *controlv1.Connection {
	m := &controlv1.Connection{
		Workload: k.workload, Egress: k.dir == packet.Egress, Client: address(k.client, k.ipv6), Server: address(k.server, k.ipv6),
		Proto: uint32(k.proto), ServerPort: uint32(k.port), ClientPort: uint32(c.clientPort), App: uint32(k.app), Base: uint32(k.base),
		Strength: uint32(c.strength), Verdict: uint32(k.verdict), Reason: uint32(k.reason), Rule: k.rule, Policy: k.policy,
		Sessions: c.began, Ended: c.ended, PacketsOut: c.packets[0], PacketsIn: c.packets[1], BytesOut: c.bytes[0], BytesIn: c.bytes[1],
		First: c.first, Last: c.last, Evidence: uint32(c.evidence), State: uint32(c.state), Answered: k.answered, Midstream: k.midstream,
		Enforced: k.enforced, Session: c.session, Peer: k.peer,
	}
	for _, d := range []*flow.Detail{c.peer, c.detail} {
		if d == nil || len(d.Attrs) == 0 {
			continue
		}
		if m.Attrs == nil {
			m.Attrs = make(map[string]string, len(d.Attrs))
		}
		for _, p := range d.Attrs {
			m.Attrs[p.Key] = valid(p.Value)
		}
	}
	return m
}
