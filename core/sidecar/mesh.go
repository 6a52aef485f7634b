package sidecar

import (
	"sync"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// A sidecar accepts its application's connections and opens new ones for them, and vice
// versa, mostly encrypted. Outside, a connection has its two ends and is TLS; on lo it has
// its application. The workers of a workload exchange the missing halves.

// Bounds of a mesh's tables.
const (
	maxPlaces = 4096
	// MaxClients is the number of latest encrypted clients kept per place.
	MaxClients = 32
)

const (
	// awaitFor is how long the record of an encrypted session waits for its content to become
	// known, ns.
	awaitFor = int64(2e9)
	// followFor is how long after a refusal on lo a connection that the sidecar opened for it is
	// recognised, ns.
	followFor = int64(5e9)
)

// Mesh is what the workers of one workload with a sidecar exchange. It may be used from any
// goroutine; it is called once per decision or record, never per frame. A nil Mesh belongs to
// a workload without a sidecar: it is always empty.
type Mesh struct {
	mu      sync.RWMutex
	carried map[Place]Carried // guarded by mu; the application seen last on lo
	clients map[Place]ring    // guarded by mu
	refused map[Place]int64   // guarded by mu; when a connection there was refused on lo, ns
}

// ring holds the clients of the latest encrypted connections; n is the number of all.
type ring struct {
	addr [MaxClients]packet.Addr
	n    int
}

// NewMesh returns the empty mesh of a workload with a sidecar.
func NewMesh() *Mesh {
	return &Mesh{carried: map[Place]Carried{}, clients: map[Place]ring{}, refused: map[Place]int64{}}
}

// Observe records what a session that was just decided shows: on lo, its application or its
// refusal; outside, an encrypted client.
func (m *Mesh) Observe(s *Session, now int64) {
	switch {
	case m == nil:
	case s.Loopback && s.Verdict == flow.Deny:
		m.mu.Lock()
		setPlace(m.refused, s.At, now)
		m.mu.Unlock()
	case s.Loopback:
		if s.App == app.Undecided || s.App == app.Unknown || s.App == app.None || !s.Looked || !s.Verdict.Passes() {
			return
		}
		m.mu.Lock()
		setPlace(m.carried, s.At, s.Carried)
		m.mu.Unlock()
	case s.Dir == packet.Ingress && s.Verdict != flow.Deny && (s.App == app.TLS || s.Base == app.TLS):
		// A client denied outside does not reach the sidecar, and must not displace others.
		m.addClient(s.At, s.Client)
	}
}

// addClient adds the client of an encrypted connection.
func (m *Mesh) addClient(at Place, client packet.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.clients[at]
	for i := range min(r.n, MaxClients) {
		if r.addr[i] == client {
			return
		}
	}
	r.addr[r.n%MaxClients] = client
	r.n++
	setPlace(m.clients, at, r)
}

// setPlace stores the value of a place. A full table drops an arbitrary place, so that an
// attacker who fills it does not empty it.
func setPlace[V any](known map[Place]V, at Place, v V) {
	if _, ok := known[at]; !ok && len(known) >= maxPlaces {
		for other := range known {
			delete(known, other)
			break
		}
	}
	known[at] = v
}

// Inside returns the content of an encrypted session outside, if lo has shown it. Base of the
// result is what the session itself was identified as.
func (m *Mesh) Inside(s *Session) (Carried, bool) {
	if m == nil || s.Loopback || s.App != app.TLS {
		return Carried{}, false
	}
	m.mu.RLock()
	c, ok := m.carried[s.At]
	m.mu.RUnlock()
	c.Base = s.App
	return c, ok
}

// Awaits reports whether lo may still show the content of a session: until then it is
// reported without an application.
func (m *Mesh) Awaits(s *Session, now int64) bool {
	return m != nil && !s.Loopback && s.App == app.TLS && s.Verdict != flow.Deny && !s.Over && now-s.Created < awaitFor
}

// FollowsRefusal reports whether a session outside was opened in vain by a sidecar for a
// connection that was refused on lo, where it was reported already.
func (m *Mesh) FollowsRefusal(s *Session, now int64) bool {
	if m == nil || s.Loopback || s.Dir != packet.Egress || s.Reported || s.Undecided || s.App != app.Undecided && s.App != app.None {
		return false
	}
	m.mu.RLock()
	at, ok := m.refused[s.At]
	m.mu.RUnlock()
	return ok && now-at < followFor
}

// Opaque reports whether policy, which decided about a session for the reason given, must be
// evaluated again without an application: only the sidecar and lo see the content. If a rule
// then names both ends and the port, the session passes here and is judged on lo.
func (m *Mesh) Opaque(s *Session, by flow.Reason) bool {
	return m != nil && !s.Loopback && s.App == app.TLS && by == flow.ByDefault
}

// Clients are the clients on whose behalf a sidecar may connect to its application.
type Clients struct {
	list [MaxClients]packet.Addr
	n    int
}

// All returns them, newest first.
func (c *Clients) All() []packet.Addr { return c.list[:c.n] }

// Clients returns those whose encrypted connections came last to the place of a session on
// lo. Clients in the clear were judged outside, and a session without payload has no client:
// then there are none.
func (m *Mesh) Clients(s *Session) (c Clients) {
	if m == nil || s.App == app.None {
		return c
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, ok := m.clients[s.At]
	if !ok {
		return c
	}
	c.n = min(r.n, MaxClients)
	for i := range c.n {
		c.list[i] = r.addr[(r.n-1-i)%MaxClients]
	}
	return c
}

// Vouches reports whether policy's decision on one of the clients is sufficient for a sidecar
// to connect to its application.
func Vouches(v flow.Verdict) bool { return v.Passes() && v != flow.Violate }
