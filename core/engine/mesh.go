package engine

import (
	"sync"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// A sidecar takes its application's connections and opens them anew, and the other way round, mostly
// encrypted. Outside, the connection has its two ends and is TLS; on lo it has its application. The
// workers of a workload tell each other what is missing: once per session, never per frame.

// mesh is what is known of one workload with a sidecar.
type mesh struct {
	mu    sync.RWMutex
	heard map[place]heard // guarded by mu
	peers map[place]peers // guarded by mu
	shut  map[place]int64 // when a connection there was refused on lo, guarded by mu
}

// Bounds of what a mesh remembers.
const (
	maxPlaces = 4096
	maxPeers  = 32
)

// tellWithin is how long a record of an encrypted session waits for what it carries, ns.
const tellWithin = int64(2e9)

// shadowFor is how long after a refusal on lo what the sidecar opened for it is known as that, ns.
const shadowFor = int64(5e9)

// place is where an application is spoken: a server's address and port; for what comes in the port alone,
// as the sidecar may speak to its application at another address.
type place struct {
	addr packet.Addr
	port uint16
	ipv6 bool
	in   bool
}

// heard is the application that was heard on lo last.
type heard struct {
	app, base uint16
	strength  uint8
}

// peers are the clients whose encrypted connections came last, in a ring.
type peers struct {
	addr [maxPeers]packet.Addr
	n    int
}

func newMesh() *mesh {
	return &mesh{heard: map[place]heard{}, peers: map[place]peers{}, shut: map[place]int64{}}
}

// placeOf is where a session's server is.
func (w *worker) placeOf(s *session.Session) place {
	addr, port := w.server(s)
	if s.Dir == packet.Ingress {
		return place{port: port, ipv6: s.Key.IPv6, in: true}
	}
	return place{addr: addr, port: port, ipv6: s.Key.IPv6}
}

// meet gives every workload that has an endpoint on lo its mesh. The caller holds mu.
func (e *Engine) meet() {
	there := map[string]*mesh{}
	for _, a := range e.eps {
		if a.ep.Hook.Side != backend.LoopbackSide {
			continue
		}
		if there[a.workload] = e.meshes[a.workload]; there[a.workload] == nil {
			there[a.workload] = newMesh()
		}
	}
	e.meshes = there
}

// carries takes what an encrypted session outside carries, if lo has told; it says whether that is news.
func (w *worker) carries(v *view, s *session.Session) bool {
	if v.mesh == nil || v.loopback || app.ID(s.App) != app.TLS {
		return false
	}
	v.mesh.mu.RLock()
	h, ok := v.mesh.heard[w.placeOf(s)]
	v.mesh.mu.RUnlock()
	if ok {
		s.App, s.Base, s.Strength = h.app, s.App, h.strength
		s.Flags |= flagChanged
	}
	return ok
}

// awaits says whether a session may still turn out to carry something: until then it has no application.
func (w *worker) awaits(v *view, s *session.Session) bool {
	return v != nil && v.mesh != nil && !v.loopback && app.ID(s.App) == app.TLS && flow.Verdict(s.Verdict) != flow.Deny &&
		!s.State.Over() && w.now-s.Created < tellWithin
}

// tell remembers what a session on lo speaks, where it may, and who came encrypted from outside.
func (w *worker) tell(v *view, s *session.Session) {
	switch {
	case v.mesh == nil:
	case v.loopback && flow.Verdict(s.Verdict) == flow.Deny:
		v.mesh.refuse(w.placeOf(s), w.now)
	case v.loopback:
		if a := app.ID(s.App); a == app.Undecided || a == app.Unknown || a == app.None || s.Flags&flagTraced == 0 || !flow.Verdict(s.Verdict).Passes() {
			return
		}
		v.mesh.hear(w.placeOf(s), heard{s.App, s.Base, s.Strength})
	case s.Dir == packet.Ingress && (app.ID(s.App) == app.TLS || app.ID(s.Base) == app.TLS):
		client, _ := s.Client()
		v.mesh.came(w.placeOf(s), client)
	}
}

func (m *mesh) hear(at place, h heard)     { note(m, m.heard, at, h) }
func (m *mesh) refuse(at place, now int64) { note(m, m.shut, at, now) }

// note enters what is known of a place. A map that is full begins anew.
func note[V any](m *mesh, known map[place]V, at place, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(known) >= maxPlaces {
		clear(known)
	}
	known[at] = v
}

// shadow says whether a session outside is what a sidecar opened for a connection that was refused on lo
// before it said anything: it was told there.
func (w *worker) shadow(v *view, s *session.Session) bool {
	a := app.ID(s.App)
	if v.mesh == nil || v.loopback || s.Dir != packet.Egress || s.Flags&session.Reported != 0 || s.Aux != 0 || a != app.Undecided && a != app.None {
		return false
	}
	v.mesh.mu.RLock()
	defer v.mesh.mu.RUnlock()
	at, ok := v.mesh.shut[w.placeOf(s)]
	return ok && w.now-at < shadowFor
}

func (m *mesh) came(to place, from packet.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.peers) >= maxPlaces {
		clear(m.peers)
	}
	p := m.peers[to]
	for i := range min(p.n, maxPeers) {
		if p.addr[i] == from {
			return
		}
	}
	p.addr[p.n%maxPeers] = from
	p.n++
	m.peers[to] = p
}

// encrypted is the decision about a session outside whose content only the sidecar and lo can see:
// what no rule names by TLS passes where a rule names the two ends and the port, and is judged on lo.
func encrypted(v *view, q *policy.Query, d policy.Decision) policy.Decision {
	if v.mesh == nil || v.loopback || q.App != app.TLS || d.Reason != flow.ByDefault {
		return d
	}
	some := *q
	some.App, some.Base = app.Undecided, app.Undecided
	if e := v.pol.Decide(&some); e.Verdict == flow.Pending {
		return policy.Decision{Verdict: flow.Allow, Reason: flow.ByRule, Rule: e.Rule}
	}
	return d
}

// delivered is the decision about what the sidecar says to its application: it came encrypted from
// somebody outside, and one of those who came last must be allowed to say it. Who came in the
// clear was judged there.
func (w *worker) delivered(v *view, s *session.Session, q *policy.Query) policy.Decision {
	open := policy.Decision{Verdict: flow.Open}
	if v.mesh == nil || q.App == app.None {
		return open // nothing was said
	}
	v.mesh.mu.RLock()
	p := v.mesh.peers[w.placeOf(s)]
	v.mesh.mu.RUnlock()
	n := min(p.n, maxPeers)
	if n == 0 {
		return open
	}
	var last policy.Decision
	for i := range n {
		at := (p.n - 1 - i) % maxPeers // the newest first
		q.Peer = p.addr[at]
		d := v.pol.Decide(q)
		if d.Verdict.Passes() && d.Verdict != flow.Violate {
			return open
		}
		if d.Verdict == flow.Pending {
			return d
		}
		if i == 0 {
			last = d
			w.blame(s, q.Peer)
		}
	}
	return last
}

// blame notes whom a session on lo is reported as.
func (w *worker) blame(s *session.Session, who packet.Addr) {
	d := w.origins[s.ID]
	d.client, d.blamed = who, true
	w.origins[s.ID] = d
}

// local says whether an address is a sidecar's or an application's own on lo.
func local(a packet.Addr, ipv6 bool) bool {
	if !ipv6 {
		return a[12] == 127
	}
	for _, b := range a[:15] {
		if b != 0 {
			return false
		}
	}
	return true
}
