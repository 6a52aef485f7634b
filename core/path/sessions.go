package path

import (
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/offload"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/related"
	"github.com/sluicenet/sluice/core/session"
)

// Sizes and times of the work between two batches.
const (
	expireBatch = 4096 // timers that one batch may handle
	sweepBatch  = 8192 // sessions that one batch may judge again

	startAfter  = int64(250e6) // ns; a session is reported at the latest this long after its first packet
	updateEvery = int64(2e9)   // and then this often while it carries anything
	endAfter    = int64(50e6)  // its end is reported this long after it closed
)

// Sessions is the sessions of one path as a whole: they move, end and are judged again.
// lifecycle handles each of them.
type Sessions struct {
	lifecycle
	sweep []uint32            // those judged by an older policy
	due   bool                // sweep must be filled
	held  map[uint32]heldOpen // by endpoint
}

// lifecycle changes a session, with a packet or without: verdict, application, held packets,
// records, end. It does not know the path.
type lifecycle struct {
	cfg     *Config
	now     int64 // ns since the epoch
	awake   int64 // when the path continued after it may have been stopped, ns since the epoch
	views   views
	table   *session.Table
	ident   *identify.Pool
	kernel  offload.Flows
	decide  decider
	act     actuator
	out     Recorder
	tunnels tunnels
	forged  forged
	quic    quicServers
	// expected are the connections that sessions announced.
	expected related.Table
}

func (l *lifecycle) init(cfg *Config, of *Path) {
	l.cfg, l.now = cfg, cfg.Now
	cfg.Session.Evict = l.evicted
	l.table = session.New(cfg.Session)
	l.ident = identify.New(cfg.Identify)
	q := cfg.Queue
	port := newPort(q, cfg.Now)
	l.act.exits = exits{own: port, views: &l.views}
	l.act.enter(port)
	l.decide.origin, _ = q.(backend.Origin)
	kernel, _ := q.(backend.Offloader)
	l.kernel = offload.New(kernel)
	l.views.init(cfg.Shared, kernel != nil, of)
}

// evaluate evaluates policy for a session and applies the decision. A denied session stays
// denied: a later policy applies to later connections.
func (l *lifecycle) evaluate(v *View, s *session.Session) {
	if s.Flags&session.Denied != 0 {
		return
	}
	if v.Mesh != nil {
		l.decide.carries(v, s)
	}
	if s.Marks&session.Related != 0 {
		l.followParent(s)
	}
	markEvident(l, v, s)
	d := l.decide.refuseHopeless(v, s, l.oriented(v, s))
	if d.Verdict == flow.Deny {
		l.blameSender(v, s)
	}
	s.Generation = l.views.version
	s.Marks &^= session.Moved
	l.set(v, s, l.decide.acting(v, s, d))
	if v.Mesh != nil {
		l.decide.showDecision(v, s, l.now)
	}
}

// stale reports whether a session was judged by another policy, or on another datapath.
func (l *lifecycle) stale(s *session.Session) bool {
	return s.Generation != l.views.version || s.Marks&session.Moved != 0
}

// unsettled reports whether a session must be judged although none of its packets comes: it
// is stale, better evidence of its client may be there, or it is still to be refused.
func (l *lifecycle) unsettled(s *session.Session) bool {
	return s.Flags&session.Denied == 0 && (l.stale(s) || s.Marks&session.Either != 0 || s.Verdict == flow.Deny)
}

// set applies a decision to a session.
func (l *lifecycle) set(v *View, s *session.Session, d decision) {
	if d.Verdict == s.Verdict && d.Rule == s.Rule && d.Reason == s.Reason {
		return
	}
	if d.Verdict != s.Verdict {
		l.out.tally(v).n[atVerdicts+int(d.Verdict)]++
	}
	s.Verdict, s.Reason, s.Rule = d.Verdict, d.Reason, d.Rule
	s.Marks |= session.Changed
}

// announce reports a refusal at once; everything else is reported when the session's timer is
// due or its application is known.
func (l *lifecycle) announce(s *session.Session) {
	if s.Verdict == flow.Deny && s.Marks&session.Changed != 0 {
		l.record(s, flow.Update, nil)
	}
}

// replaces reports whether a packet of a denied session begins another one, because the
// present policy or mode would not deny it.
func (l *lifecycle) replaces(v *View, s *session.Session) bool {
	if !l.stale(s) && v.enforced() {
		return false
	}
	markEvident(l, v, s)
	if v.enforced() && l.decide.refuseHopeless(v, s, l.decide.best(v, s)).Verdict == flow.Deny {
		s.Generation = l.views.version
		s.Marks &^= session.Moved
		return false
	}
	return true
}

// trace looks up the original destination of a session between an application and its
// sidecar.
func (l *lifecycle) trace(c *packetContext) {
	switch l.decide.trace(c) {
	case traceFound:
		l.out.count[counter.DestinationsFound]++
	case traceMissing:
		l.out.count[counter.DestinationsUnknown]++
	}
}

// offload offloads a flow whose verdict can change only with the policy: its frame carries
// the mark that does so. From then on the kernel counts it.
func (l *lifecycle) offload(c *packetContext) {
	if c.last != nil || !offload.Decided(c.s) || l.decide.awaits(c.v, c.s, l.now) {
		return
	}
	if l.kernel.Leave(c.s) {
		c.f.Verdict.Mark = l.views.force.Generation
	}
}

// sweepSome judges again some of the sessions that an older policy judged, so that a change
// reaches idle sessions too and no batch is delayed. It reports whether there are more.
func (ss *Sessions) sweepSome() (more bool) {
	if ss.due {
		ss.due, ss.sweep = false, ss.sweep[:0]
		ss.table.Each(func(s *session.Session) bool {
			if ss.unsettled(s) {
				ss.sweep = append(ss.sweep, ss.table.Ref(s))
			}
			return true
		})
	}
	n := min(len(ss.sweep), sweepBatch)
	for _, ref := range ss.sweep[len(ss.sweep)-n:] {
		if s := ss.table.At(ref); s != nil && ss.unsettled(s) {
			ss.judgeAgain(s)
		}
	}
	ss.sweep = ss.sweep[:len(ss.sweep)-n]
	return len(ss.sweep) > 0
}

// judgeAgain judges a session by the present policy.
func (ss *Sessions) judgeAgain(s *session.Session) {
	if s.State.Over() {
		s.Generation = ss.views.version // an ended session does not violate a later policy
		return
	}
	v := ss.views.view(s.Endpoint)
	if v == nil || ss.past(s) {
		return
	}
	ss.reconsider(v, s)
	ss.evaluate(v, s)
	if s.Verdict != flow.Pending {
		ss.act.settleHeld(v, s, ss.now, &ss.out)
	}
	ss.refuseOpen(v, s)
	ss.announce(s)
}

// past reports whether a conversation without connections is likely to be over. Its next
// packet is judged, if there is one; until then it violates no later policy.
func (ss *Sessions) past(s *session.Session) bool {
	return s.Key.Proto != packet.ProtoTCP && s.Marks&session.HeldOpen == 0 && ss.now-s.Last >= ss.table.Timeouts().Unanswered
}

// evicted is called with sessions that are evicted for others.
func (l *lifecycle) evicted(s *session.Session) {
	l.kernel.Return(s)
	l.finish(s)
	if v := l.views.view(s.Endpoint); v != nil {
		l.out.tally(v).n[atEvicted]++
	}
	if !s.State.Over() {
		l.out.sessionLimit(s, l.now)
	}
}

// delete ends a session that another one replaces.
func (l *lifecycle) delete(s *session.Session) {
	l.finish(s)
	l.table.Delete(s)
}
