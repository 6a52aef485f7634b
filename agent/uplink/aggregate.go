package uplink

import (
	"maps"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/sidecar"
)

// key identifies a kind of session.
type key struct {
	workload, peer string
	apart          uint64 // a session that is a kind of its own; 0 for merged sessions
	policy         uint64
	client, server packet.Addr
	rule           uint32
	port           uint16
	app, base      uint16
	proto          uint8
	dir            packet.Direction
	verdict        flow.Verdict
	reason         flow.Reason
	outcome        flow.Outcome
	ipv6           bool
	enforced       bool
	loopback       bool
	seen
}

// seen is what was seen of the sessions of a kind.
type seen struct{ answered, received, midstream, simultaneous, idle bool }

func keyOf(workload string, r *flow.Record) key {
	return key{workload: workload, policy: r.Policy, client: r.Client, server: r.Server, rule: r.Rule, port: r.ServerPort, app: r.App, base: r.Base, proto: r.Proto,
		dir: r.Dir, verdict: r.Verdict, reason: r.Reason, outcome: r.Outcome, ipv6: r.IPv6, enforced: r.Enforced, loopback: r.Loopback, seen: seen{r.Answered, r.Received, r.Midstream, r.Simultaneous, r.Idle}}
}

// session is the sum of one session's records since its last fold.
type session struct {
	flow.Record // the last record; its counters are sums
	began       uint8
	ended       uint8
	continued   bool  // a previous run has reported its beginning
	held        bool  // delayed for an interval, until its application and outcome are known
	folds       uint8 // how often it was delayed for its counterpart outside the workload
}

// kind is the sum of the records of one kind since the last request.
type kind struct {
	flow.Record  // of the last session; counters are sums, Session is 0 where there were several
	began, ended uint64
	continued    uint64       // of previous runs
	peer         *flow.Detail // of the process at the other end
	service      *flow.Detail // the destination, where it is translated
}

// aggregate merges records, first by session and then by kind. One goroutine uses it.
type aggregate struct {
	max      int
	workload func(uint32) string
	peer     func(*flow.Record) (string, *flow.Detail) // nil without
	server   func(*flow.Record) *flow.Detail           // nil without
	ended    func(workload string, o flow.Outcome)     // of each session; nil without

	sessions  map[uint64]session
	kinds     map[key]kind
	shares    map[string]int   // kinds by workload
	threatsOf map[string]int   // kinds of threat by workload
	opened    map[uint64]int64 // when sessions were last folded as opening, each a kind of its own
	swept     int64            // when opened was last swept
	waiting   map[uint64]key   // the unsent kinds of those
	threats   map[threatKey]threat
	unjudged  tally
	outside   sidecar.Outside   // sessions outside lo
	dropped   map[string]uint64 // since the last request, by cause
	short     map[string]bool   // the workloads whose records those were; "" for unknown ones
	lost      uint64            // since the beginning
	living    *openSessions     // nil for none
	causes    map[string]uint64 // the same by cause
}

func newAggregate(limit int, workload func(uint32) string) *aggregate {
	return &aggregate{max: limit, workload: workload, sessions: map[uint64]session{}, kinds: map[key]kind{}, shares: map[string]int{}, threatsOf: map[string]int{}, opened: map[uint64]int64{}, waiting: map[uint64]key{},
		threats: map[threatKey]threat{}, unjudged: tally{}, dropped: map[string]uint64{}, short: map[string]bool{}, causes: map[string]uint64{}}
}

func (a *aggregate) empty() bool {
	return len(a.kinds) == 0 && len(a.threats) == 0 && len(a.unjudged) == 0 && len(a.dropped) == 0
}

// backlog returns the number of unsent items.
func (a *aggregate) backlog() uint64 {
	return uint64(len(a.sessions) + len(a.kinds) + len(a.threats) + len(a.unjudged))
}

// drop counts dropped records of a workload, "" for one that is unknown.
func (a *aggregate) drop(cause, workload string, n uint64) {
	a.short[workload] = true
	a.dropped[cause] += n
	a.causes[cause] += n
	a.lost += n
}

// record merges a record with others of its session.
func (a *aggregate) record(f *flow.Record) {
	s, ok := a.sessions[f.Session]
	switch {
	case ok:
		before := s.Record
		s.Record = *f
		s.First, s.Lossy = before.First, f.Lossy || before.Lossy
		s.Counters.Add(&before.Counters)
		if s.Detail == nil {
			s.Detail = before.Detail
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

// fold merges sessions into their kinds. A new session without an application or an answer waits for the
// next fold, so that most are reported once, with both; with all, none waits.
func (a *aggregate) fold(all bool) {
	a.foldOf(all, false)
	a.foldOf(all, true) // sessions on lo are compared with those outside
}

// foldOf moves the sessions on lo, or the others.
func (a *aggregate) foldOf(all, loopback bool) {
	for id, s := range a.sessions {
		if s.Loopback != loopback {
			continue
		}
		if !all && !s.held && s.began > 0 && s.ended == 0 && (app.ID(s.App) == app.Undecided || s.Outcome == flow.OutcomeOpening) && s.Verdict != flow.Deny {
			s.held = true
			a.sessions[id] = s
			continue
		}
		if !all && a.waits(&s) {
			s.folds = min(s.folds+1, sidecar.MaxRounds)
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
		a.drop("unknown_endpoint", "", 1)
		return
	}
	switch {
	case !s.Loopback:
		a.outside.Add(w, &s.Record)
	case !a.onlyHere(w, s):
		return
	}
	s.remember(w, a.living)
	s.release(a.living)
	if s.ended > 0 && a.ended != nil {
		a.ended(w, s.Outcome)
	}
	var service *flow.Detail
	if a.server != nil && !s.Loopback {
		service = a.server(&s.Record)
	}
	k, c := keyOf(w, &s.Record), kind{Record: s.Record, began: uint64(s.began), ended: uint64(s.ended), service: service}
	if s.continued {
		c.continued = 1
	}
	if a.peer != nil && !s.Loopback {
		k.peer, c.peer = a.peer(&s.Record)
	}
	k.apart = a.apart(s)
	if !a.putKind(k, &c) {
		a.drop("uplink_full", w, 1)
	}
}

// maxApart bounds the sessions that are kinds of their own. Of more that open at once, as in a
// flood, the outcome is counted when they end.
const (
	maxApart = 10_000
	// longestOpening is the age after which an opening session counts as ended unnoticed.
	longestOpening = 10 * time.Minute
)

// apart returns the number of a session that has to be a kind of its own: one that is opening,
// and the same once it is something else, so that it can be moved. It returns 0 for others.
func (a *aggregate) apart(s *session) uint64 {
	if len(a.opened) >= maxApart && s.Last > a.swept+int64(time.Second) {
		a.swept = s.Last
		maps.DeleteFunc(a.opened, func(_ uint64, last int64) bool { return last < s.Last-int64(longestOpening) })
	}
	_, before := a.opened[s.Session]
	switch {
	case s.Session == 0 || !before && len(a.opened) >= maxApart:
		return 0
	case s.Outcome == flow.OutcomeOpening && s.ended == 0:
		a.opened[s.Session] = s.Last
		return s.Session
	case before:
		delete(a.opened, s.Session)
		return s.Session
	case s.Simultaneous && len(a.kinds) < a.max/2:
		return s.Session // the other end's report has another client
	case s.refusedLater() && len(a.kinds) < a.max/2:
		return s.Session // not one of those of its kind that were refused before
	}
	return 0
}

// refusedLater reports whether the session was open before policy refused it: for a while, or with an answer.
func (s *session) refusedLater() bool {
	return s.Outcome == flow.OutcomeDenied && s.began == 0 && s.ended == 0 && (s.Answered || s.Last-s.First >= int64(time.Second))
}

// putKind adds c to its kind; it returns false if there is no room. A queued session moves from its
// previous kind to the current one: one connection is one row.
func (a *aggregate) putKind(k key, c *kind) bool {
	if k.apart != 0 {
		session := k.apart
		if was, ok := a.waiting[session]; ok && was != k {
			old := a.kinds[was]
			*c = old.with(c)
			a.removeKind(was)
			delete(a.waiting, session)
		}
		switch {
		case k.outcome == flow.OutcomeOpening:
			a.waiting[session] = k
		case c.began > 0 && !k.simultaneous:
			k.apart = 0 // all of it is here
		}
	}
	if old, ok := a.kinds[k]; ok {
		*c = old.with(c)
	} else if !a.hasRoom(k.workload) {
		delete(a.waiting, k.apart)
		return false
	} else {
		a.shares[k.workload]++
	}
	a.kinds[k] = *c
	return true
}

// remember stores on disk that a session began or ended. If a previous run has reported the session,
// its beginning is not reported again.
func (s *session) remember(workload string, l *openSessions) {
	switch {
	case l == nil:
	case s.began > 0 && l.began(workload, &s.Record, s.ended > 0 && !l.released(&s.Record)):
		s.began, s.continued = 0, true
	case s.began == 0 && s.ended > 0:
		l.ended(workload, &s.Record)
	case s.began == 0:
		l.update(workload, &s.Record)
	}
}

// release takes back the end of a session that ends for this run only, because the agent releases its
// workloads: the next run continues it.
func (s *session) release(l *openSessions) {
	if s.ended == 0 || l == nil || !l.released(&s.Record) || s.Proto != packet.ProtoTCP && s.Proto != packet.ProtoUDP {
		return
	}
	switch s.Outcome {
	case flow.OutcomeClosed:
		s.Outcome = flow.OutcomeEstablished
	case flow.OutcomeUnanswered:
		s.Outcome = flow.OutcomeOpening
	default:
		return
	}
	s.ended = 0
}
