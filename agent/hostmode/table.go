package hostmode

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// tuple is one connection of a namespace, as its sockets name it.
type tuple struct {
	space                 uint32
	local, remote         packet.Addr
	localPort, remotePort uint16
	proto                 uint8
	ipv6                  bool
}

// conn is one tracked connection.
type conn struct {
	session     uint64
	policy      uint64
	first, last int64
	// reported are the counters at the last record, now at the last reading; index 0 is what the socket sent.
	reported, now totals
	detail        *flow.Detail
	workload      string
	endpoint      uint32
	rule          uint32
	listed        uint32 // the last listing with it
	born          uint32 // the first listing at or after its beginning
	client        bool   // the workload is the client
	midstream     bool
	answered      bool
	over          bool // its end is reported; it is kept while it is still listed
	verdict       flow.Verdict
	reason        flow.Reason
	evidence      flow.Evidence
	state         flow.Phase
}

// totals are a socket's segments and payload bytes, sent and received.
type totals struct{ packets, bytes [2]uint64 }

// table has the connections, bounded.
type table struct {
	conns    map[tuple]conn
	max      int
	sessions uint64
}

// firstSession keeps numbers apart from the engine's.
const firstSession = 1 << 62

func newTable(limit int) *table {
	return &table{conns: map[tuple]conn{}, max: limit, sessions: firstSession}
}

// isLocal reports whether a connection stays on the host, as far as its socket shows: the host may
// forward one to its own address to a workload (a published port).
func (k *tuple) isLocal() bool { return k.loopback() || k.local == k.remote }

// loopback reports whether a connection is to a loopback address.
func (k *tuple) loopback() bool {
	if k.ipv6 {
		return k.remote == packet.Addr{15: 1}
	}
	return k.remote[12] == 127
}

// normal converts IPv4 addresses, those of IPv6 sockets too, to the form of packet.Addr.
func (k *tuple) normal() {
	if k.ipv6 && [12]byte(k.remote[:12]) != [12]byte{10: 0xff, 11: 0xff} {
		return
	}
	k.ipv6 = false
	k.local[10], k.local[11], k.remote[10], k.remote[11] = 0xff, 0xff, 0xff, 0xff
}

// begin tracks a new connection and records it; it returns false for connections of unwatched workloads. w.mu
// is held.
func (w *Watcher) begin(s *space, k tuple, c conn, p *process) (conn, bool) {
	if k.proto == packet.ProtoTCP && !c.midstream {
		s.seen++
	}
	x, ok := s.owner(p)
	if ok && !k.loopback() {
		w.sources.hold(&k, x.ID, p)
	}
	if k.isLocal() {
		w.n.local++
		return c, false
	}
	switch {
	case !ok:
		w.n.unowned++
		return c, false
	case len(w.table.conns) >= w.table.max:
		w.n.full++
		return c, false
	}
	w.table.sessions++
	c.session, c.workload, c.endpoint, c.born, c.listed = w.table.sessions, x.ID, x.Endpoint, s.listed, s.listed
	if p != nil {
		c.detail = p.detail
	}
	w.judge(&k, &c)
	w.n.sessions++
	w.record(&k, &c, flow.Start)
	c.detail = nil // reported once
	w.table.conns[k] = c
	return c, true
}

// end records the end of a connection. w.mu is held.
func (w *Watcher) endConn(k tuple, c conn, state flow.Phase, stamp int64) {
	delete(w.table.conns, k)
	w.sources.release(&k, time.Now())
	if c.over {
		return
	}
	c.state, c.last = state, stamp
	w.record(&k, &c, flow.End)
}

// owner returns the workload of a process; a nil process is unknown.
func (s *space) owner(p *process) (Workload, bool) {
	id := ""
	if p != nil {
		id = p.container
	}
	x, ok := s.workloads[id]
	if !ok && p == nil && len(s.workloads) == 1 {
		for _, x = range s.workloads {
			ok = true // the only watched workload
		}
	}
	return x, ok
}

// judge evaluates policy. A denied connection is a violation: nothing is refused here. w.mu is held.
func (w *Watcher) judge(k *tuple, c *conn) {
	c.verdict, c.reason, c.rule, c.policy = flow.Open, flow.ByUnready, 0, 0
	if w.policy == nil {
		return
	}
	p := w.policy.Workload(c.workload)
	if p == nil {
		return
	}
	// The application is unknown, so rules with applications match as for a session that was picked up
	// midstream.
	q := policy.Query{Dir: packet.Ingress, Peer: k.remote, Local: k.local, IPv6: k.ipv6, Proto: k.proto, Port: k.localPort, App: app.Unknown, Base: app.Unknown, Midstream: true}
	if c.client {
		q.Dir, q.Port = packet.Egress, k.remotePort
	}
	d := p.Decide(&q)
	if d.Verdict == flow.Deny || d.Verdict == flow.Pending {
		d.Verdict = flow.Violate
	}
	c.verdict, c.reason, c.rule, c.policy = d.Verdict, d.Reason, d.Rule, w.policy.Version()
}

// outcome returns the outcome of a connection, as far as its socket shows. A UDP socket does not show
// whether it was answered.
func (c *conn) outcome(proto uint8, kind flow.Kind) flow.Outcome {
	over := kind == flow.End
	switch {
	case proto != packet.ProtoTCP && !over:
		return flow.OutcomeEstablished
	case proto != packet.ProtoTCP:
		return flow.OutcomeClosed
	case c.state == flow.PhaseRefused:
		return flow.OutcomeRefused
	case c.state == flow.PhaseOpening && over:
		return flow.OutcomeUnanswered
	case c.state == flow.PhaseOpening:
		return flow.OutcomeOpening
	case c.state == flow.PhaseReset:
		return flow.OutcomeReset
	case over:
		return flow.OutcomeClosed
	}
	return flow.OutcomeEstablished
}

// record records the changes of a connection. w.mu is held.
func (w *Watcher) record(k *tuple, c *conn, kind flow.Kind) {
	if w.records.full() {
		return
	}
	f := flow.Record{Session: c.session, Endpoint: c.endpoint, Rule: c.rule, Policy: c.policy, First: c.first, Last: c.last,
		Key: flow.Key{Client: k.remote, Server: k.local, ClientPort: k.remotePort, ServerPort: k.localPort, Proto: k.proto, IPv6: k.ipv6},
		App: uint16(app.Unknown), Base: uint16(app.Unknown), Dir: packet.Ingress, Kind: kind, Verdict: c.verdict, Reason: c.reason, Outcome: c.outcome(k.proto, kind), Evidence: c.evidence, Phase: c.state,
		Answered: c.answered, Midstream: c.midstream, Detail: c.detail}
	out, back := 1, 0 // what the socket sent goes from server to client
	if c.client {
		f.Client, f.Server, f.ClientPort, f.ServerPort, f.Dir = k.local, k.remote, k.localPort, k.remotePort, packet.Egress
		out, back = 0, 1
	}
	f.Packets[out], f.Packets[back] = less(c.now.packets[0], c.reported.packets[0]), less(c.now.packets[1], c.reported.packets[1])
	f.Bytes[out], f.Bytes[back] = less(c.now.bytes[0], c.reported.bytes[0]), less(c.now.bytes[1], c.reported.bytes[1])
	c.reported = c.now
	w.records.add(&f)
}

func less(a, b uint64) uint64 {
	if a < b {
		return 0
	}
	return a - b
}

// headers is the length of IP and TCP headers without options: records count from the IP header on.
func headers(ipv6 bool) uint64 {
	if ipv6 {
		return 60
	}
	return 40
}

// states of a socket (linux/tcp_states.h).
const (
	established = 1
	synSent     = 2
	synRecv     = 3
	timeWait    = 6
	closed      = 7
	listening   = 10
)

// refused is ECONNREFUSED, the error of a socket whose SYN was answered with an RST; reset is ECONNRESET.
const (
	refused = 111
	reset   = 104
)

// event handles one event of the tracepoint.
func (w *Watcher) event(e *socketsEvent) {
	stamp := time.Now().UnixNano()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.spaces[e.Netns]
	if s == nil {
		return
	}
	if e.Now == listening {
		s.listeners[listener{packet.ProtoTCP, e.LocalPort}] = e.Owner.Pid
		return
	}
	k := tuple{space: s.ino, local: e.Local, remote: e.Remote, localPort: e.LocalPort, remotePort: e.RemotePort, proto: packet.ProtoTCP, ipv6: e.Ipv6 != 0}
	k.normal()
	now := totals{packets: [2]uint64{uint64(e.SegsOut), uint64(e.SegsIn)}}
	now.bytes = [2]uint64{e.Acked + now.packets[0]*headers(k.ipv6), e.Received + now.packets[1]*headers(k.ipv6)}
	c, known := w.table.conns[k]
	switch {
	case e.Now == established:
		if known {
			w.endConn(k, c, flow.PhaseClosed, stamp) // the same tuple again: its end was lost
		}
		c = conn{first: stamp, last: stamp, client: e.Before == synSent, answered: true, evidence: flow.EvidenceHandshake, state: flow.PhaseEstablished, now: now}
		w.begin(s, k, c, w.processOf(s, e))
	case known:
		c.now = now
		w.endConn(k, c, ending(e), stamp)
	case e.Before == synSent:
		c = conn{first: stamp, last: stamp, client: true, evidence: flow.EvidenceHandshake, state: flow.PhaseOpening, now: now}
		if c, ok := w.begin(s, k, c, w.processOf(s, e)); ok {
			w.endConn(k, c, ending(e), stamp)
		} else {
			w.sources.release(&k, time.Now())
		}
	case e.Now == closed:
		w.sources.release(&k, time.Now()) // of an unwatched workload
	}
}

// ending returns how a connection ended.
func ending(e *socketsEvent) flow.Phase {
	switch {
	case e.Before == synSent && e.Error == refused:
		return flow.PhaseRefused
	case e.Before == synSent:
		return flow.PhaseOpening
	case e.Error == reset:
		return flow.PhaseReset
	}
	return flow.PhaseClosed
}

// processOf returns the process of an event's connection: the one that connected, or the listener on the port.
func (w *Watcher) processOf(s *space, e *socketsEvent) *process {
	if e.Owner.Pid != 0 {
		return w.owners.byEvent(&e.Owner)
	}
	if pid := s.listeners[listener{packet.ProtoTCP, e.LocalPort}]; pid != 0 {
		return w.owners.byPid(pid)
	}
	return nil
}
