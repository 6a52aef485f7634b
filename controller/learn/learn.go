// Package learn turns connections that were let through to be learned into rules. It is
// pure state on top of model.Rules: it neither stores the rules nor compiles them.
//
// There is one learned rule for each pair of groups and application. Its id is given when it is
// first learned and stays with it; learned rules stand in the order of their ids, so the
// same stored rules give the same list after a restart. All learned rules allow, so their
// order decides nothing. Connections that are learned together are taken in the order of
// (to, from, application), whatever order they came in.
package learn

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Ephemeral is where the ports begin that clients are given (net.ipv4.ip_local_port_range).
const Ephemeral = 32768

// Connection is one kind of connection as one end reported it, its groups resolved. Both ends may
// report the same one; it is learned once.
type Connection struct {
	From, To string // service groups, or reserved ones
	Proto    uint8
	Port     uint16 // the server's
	// ClientPort is that of any of the sessions; 0 where it is not known.
	ClientPort uint16
	App        app.ID
	Verdict    flow.Verdict
	Evidence   flow.Evidence
	Outcome    flow.Outcome
	Answered   bool
	// Received: a socket of the server receives the datagrams, which are not answered.
	Received bool
	// Midstream: the beginning was not seen, so that no name of the application is no evidence that it
	// has none.
	Midstream bool
	// Idle: it is open and carried no payload for longer than identification takes.
	Idle bool
	// Lossy: frames or records were lost while it was observed.
	Lossy bool
	// Ended reports that all its sessions have ended, so that an application that
	// is undecided will stay without a name.
	Ended bool
	// Source is the workload or address of the client, and Server the address of the server: who tries what.
	Source string
	Server netip.Addr
	// Closed: it is counted as an attempt of its source and teaches nothing, whatever else it has.
	Closed bool
	// Name is the server's, as the client asked for it; "" where unknown.
	Name string
}

// Learner keeps the index of learned rules. It is not safe for concurrent use; whoever guards
// the Rules guards it too.
type Learner struct {
	rules  *model.Rules
	index  map[key]uint32 // ids; a rule may have been deleted since
	gone   []uint32       // rules that better ones have replaced
	scans  scans
	asides asides
}

// key is what there is one learned rule for.
type key struct {
	to, from string
	app      int32 // an app.ID, or anyApp
}

// anyApp is the application of protocols that carry no named applications.
const anyApp int32 = -1

// New returns a Learner that continues from the rules that were learned before.
func New(rules *model.Rules) *Learner {
	l := &Learner{rules: rules, index: make(map[key]uint32), scans: newScans(), asides: newAsides()}
	for _, r := range rules.LearnedRules() {
		k := keyOfRule(&r)
		if _, ok := l.index[k]; !ok {
			l.index[k] = r.ID
		}
	}
	return l
}

// Learn takes connections in and gives the rules that are new or have changed, by id. They are
// in the Rules already and are to be stored.
func (l *Learner) Learn(list []Connection, now int64) []model.Rule {
	changed := make(map[uint32]model.Rule)
	note := func(r *model.Rule, ok bool) {
		if ok {
			changed[r.ID] = *r
		}
	}
	l.scans.sweep(now)
	for i := range list {
		if c := &list[i]; l.scans.observe(c, now) {
			for _, r := range l.retract(c.Source, now) {
				note(&r, true)
			}
		}
	}
	// First what was named and is in force, last what is set aside unless a rule has it.
	lessons := l.lessons(list, now)
	for _, x := range lessons {
		if !x.open && !x.scan {
			l.takeLesson(&x, now, note)
		}
	}
	for _, x := range lessons {
		if x.open && !x.scan && !l.named(&x) {
			l.takeLesson(&x, now, note)
		}
	}
	for _, x := range lessons {
		if r, ok := l.rules.Find(l.index[x.key]); x.scan && !l.named(&x) && (!ok || len(r.Ports) > 0 && !covers(r.Ports, x.port)) {
			l.setAside(&x, model.AsideScan, now)
		}
	}
	for _, id := range l.gone {
		delete(changed, id)
	}
	return slices.SortedFunc(maps.Values(changed), func(a, b model.Rule) int { return cmp.Compare(a.ID, b.ID) })
}

// takeLesson learns from a lesson and notes the rules that have changed.
func (l *Learner) takeLesson(x *lesson, now int64, note func(*model.Rule, bool)) {
	l.scans.confirm(x)
	r, ok := l.learn(*x, now)
	note(&r, ok)
	r, ok = l.rules.Find(l.index[x.key])
	if !ok || len(r.Ports) > 0 && !covers(r.Ports, x.port) {
		return // set aside
	}
	l.release(x)
	note(addName(l.rules, &r, x.name))
	if x.why == "" {
		r, ok = l.narrow(x)
		note(&r, ok)
	}
}

// lessons returns what connections teach, in an order that does not depend on theirs.
func (l *Learner) lessons(list []Connection, now int64) []lesson {
	var out []lesson
	for i := range list {
		for _, c := range list[i].orientations() {
			if !c.teaches() {
				continue
			}
			x := lesson{key: c.key(), port: c.port(), lossy: c.Lossy, open: c.nameless(), source: c.Source, name: c.name(),
				oneWay: !c.Answered, scan: l.scans.scanning(c.Source, now)}
			out = append(out, x)
			if y, ok := x.twin(); ok {
				out = append(out, y)
			}
		}
	}
	slices.SortFunc(out, func(a, b lesson) int {
		lossy := 0
		if a.lossy != b.lossy {
			lossy = 1
			if b.lossy { // what was seen whole teaches first
				lossy = -1
			}
		}
		return cmp.Or(a.key.compare(b.key), cmp.Compare(a.port.Proto, b.port.Proto), cmp.Compare(a.port.Lo, b.port.Lo), lossy,
			strings.Compare(a.source, b.source), strings.Compare(a.name, b.name), strings.Compare(a.why, b.why))
	})
	return slices.Compact(out)
}

// lesson is what one connection teaches.
type lesson struct {
	key   key
	port  model.Port
	lossy bool
	open  bool // of a connection whose beginning was not seen, without the application's name

	source, name string // of the client, and of the server
	oneWay       bool   // it was not answered and is not meant to be
	scan         bool   // its source scans
	why          string // it was not seen, but is part of what was; "" where it was seen
}

// LossyComment is the comment of a rule that was learned, or widened, while frames or records were
// lost: what it allows may be less, or named otherwise, than what there was.
const LossyComment = "learned while frames were lost"

// learn adds one port to one rule, and reports whether that changed it.
func (l *Learner) learn(x lesson, now int64) (model.Rule, bool) {
	k, p := x.key, x.port
	r, ok := l.rules.Find(l.index[k])
	if !ok {
		r = model.Rule{From: k.from, To: k.to, Ports: model.Ports{p}, Action: model.Allow, Origin: model.Learned, Created: now}
		if k.app != anyApp {
			r.Apps = model.Apps{app.ID(k.app)}
		}
		mark(&r, &x)
		r = l.rules.PutLearned(r)
		l.index[k] = r.ID
		l.scans.remember(&x, now)
		return r, true
	}
	if len(r.Ports) == 0 || covers(r.Ports, p) {
		return r, false
	}
	ports, ok := widen(r.Ports, p)
	if !ok || (x.open || x.oneWay) && full(r.Ports, p.Proto) { // these are no evidence of a range
		l.setAside(&x, model.AsidePorts, now)
		return r, false
	}
	r.Ports = ports
	l.scans.remember(&x, now)
	mark(&r, &x)
	return l.rules.PutLearned(r), true
}

// mark notes in a rule what was not seen of the connections that it was learned from.
func mark(r *model.Rule, x *lesson) {
	switch {
	case r.Comment != "":
	case x.why != "":
		r.Comment = x.why
	case x.lossy:
		r.Comment = LossyComment
	case x.open:
		r.Comment = OpenComment
	}
}

// teaches reports whether a rule comes of the connection.
func (c *Connection) teaches() bool {
	switch {
	case c.Closed || c.Verdict != flow.Learn:
		return false
	case !learnable(c.From) || !learnable(c.To):
		return false
	case model.KindOf(c.From) != model.Service && model.KindOf(c.To) != model.Service:
		return false
	case c.Outcome == flow.OutcomeRefused || c.Outcome == flow.OutcomeDenied:
		return false // an attempt is no habit
	case !c.Answered && !c.oneWay():
		return false
	case carriesApps(c.Proto) && c.App == app.Undecided && !c.Ended && !c.Idle:
		return false
	}
	return c.serverKnown()
}

// oneWay reports whether a conversation without an answer was one all the same: datagrams that a socket of
// the server receives, as those of metrics and logs; or, at its end, datagrams of an application that is
// never answered. Any sender can send others. What is sent to
// multicast and broadcast addresses is not answered from there; it teaches its own protocol and port.
func (c *Connection) oneWay() bool {
	if c.To == model.Multicast {
		return c.Proto != packet.ProtoTCP && (c.Outcome == flow.OutcomeUnanswered || c.Ended)
	}
	if c.Received && (c.App == app.Unknown || c.Outcome == flow.OutcomeUnanswered) {
		return c.Outcome != flow.OutcomeRefused && c.Outcome != flow.OutcomeDenied
	}
	return c.Proto == packet.ProtoUDP && c.Outcome == flow.OutcomeUnanswered && (c.App == app.Syslog || c.App == app.RTP)
}

// learnable groups are those with an identity: a service, or the reserved ones but any.
func learnable(group string) bool {
	switch model.KindOf(group) {
	case model.Service:
		return true
	case model.Reserved:
		return group != model.Any
	}
	return false
}

// serverKnown reports whether Port is the server's and no client's. Where that was guessed by port numbers, a
// UDP conversation teaches nothing, and a TCP connection only if the client's port is one that kernels
// give to clients and the server's is not.
func (c *Connection) serverKnown() bool {
	if c.Evidence != flow.EvidencePort || c.symmetric() {
		return true
	}
	return c.Proto != packet.ProtoUDP && c.Port < Ephemeral && (c.ClientPort == 0 || c.ClientPort >= Ephemeral)
}

func carriesApps(proto uint8) bool { return proto == packet.ProtoTCP || proto == packet.ProtoUDP }

func (c *Connection) key() key {
	k := key{c.To, c.From, anyApp}
	if carriesApps(c.Proto) && !c.nameless() {
		k.app = int32(c.App)
		if c.App == app.Undecided {
			k.app = int32(app.Unknown)
		}
	}
	return k
}

// port is what the rule lists: the port, or just the protocol where it has none. ICMP of
// both families is one.
func (c *Connection) port() model.Port {
	switch c.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoSCTP:
		return model.Port{Proto: c.Proto, Lo: c.Port, Hi: c.Port}
	case packet.ProtoICMPv6:
		return model.Port{Proto: packet.ProtoICMP, Hi: 65535}
	}
	return model.Port{Proto: c.Proto, Hi: 65535}
}

func (k key) compare(o key) int {
	return cmp.Or(strings.Compare(k.to, o.to), strings.Compare(k.from, o.from), cmp.Compare(k.app, o.app))
}
