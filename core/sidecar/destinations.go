package sidecar

import "github.com/sluicenet/sluice/core/packet"

// maxLookups is the number of packets of a connection after which its destination is
// considered unknown.
const maxLookups = 3

// Destinations are the original destinations of the sessions on lo of one worker, by session
// number, with the clients to which some of them are attributed. Only such sessions have an
// entry, so it is bounded by the session table. The worker's goroutine uses it; the zero
// value is empty.
type Destinations struct{ of map[uint64]Destination }

// Destination is the original destination of a redirected connection, and the client on whose
// behalf it is.
type Destination struct {
	addr       packet.Addr // valid with known
	client     packet.Addr // valid with attributed
	port       uint16
	lookups    uint8
	known      bool
	attributed bool
}

// Lookup is the result of one attempt to find the destination of a session.
type Lookup struct {
	Session uint64
	Addr    packet.Addr // valid with Known, as is Port
	Port    uint16
	Known   bool
	Opening bool // the packet is the first of its connection: too early for an answer
	Last    bool // no further source of answers
}

// Result is the state after an attempt.
type Result uint8

// Results of a lookup.
const (
	Retry   Result = iota // not known yet: try again at the next packet
	Found                 // known
	Missing               // permanently unknown
)

// Add records the result of one attempt.
func (d *Destinations) Add(l *Lookup) Result {
	old := d.of[l.Session]
	switch {
	case l.Known:
		old.addr, old.port, old.known = l.Addr, l.Port, true
		d.Insert(l.Session, old)
		return Found
	case l.Opening:
		return Retry
	}
	if old.lookups++; old.lookups >= maxLookups || l.Last {
		delete(d.of, l.Session)
		return Missing
	}
	d.Insert(l.Session, old)
	return Retry
}

// Server returns the original destination of a session; ok is false where it is unknown.
func (d *Destinations) Server(session uint64) (addr packet.Addr, port uint16, ok bool) {
	x := d.of[session]
	return x.addr, x.port, x.known
}

// Attribute attributes a session to a client in reports.
func (d *Destinations) Attribute(session uint64, client packet.Addr) {
	x := d.of[session]
	x.client, x.attributed = client, true
	d.Insert(session, x)
}

// Client returns the client that a session was attributed to.
func (d *Destinations) Client(session uint64) (addr packet.Addr, ok bool) {
	x := d.of[session]
	return x.client, x.attributed
}

// Insert adds another worker's entry of a session.
func (d *Destinations) Insert(session uint64, x Destination) {
	if x == (Destination{}) {
		return
	}
	if d.of == nil {
		d.of = map[uint64]Destination{}
	}
	d.of[session] = x
}

// Remove removes and returns the entry of a session.
func (d *Destinations) Remove(session uint64) Destination {
	if len(d.of) == 0 {
		return Destination{}
	}
	x := d.of[session]
	delete(d.of, session)
	return x
}

// Question is how policy is evaluated for a session on lo.
type Question uint8

// Questions.
const (
	AskPolicy  Question = iota // for the session, by its place
	AskLater                   // not yet: its destination is being looked up
	AskClients                 // for each of Mesh.Clients: one of them must be allowed
	AskNobody                  // not at all: its destination is unknown, the fail mode decides
)

// Question returns how policy is evaluated for a session on lo.
func (d *Destinations) Question(s *Session) Question {
	_, _, known := d.Server(s.ID)
	switch {
	case !s.Looked:
		return AskLater
	case !known:
		return AskNobody
	case s.Dir == packet.Ingress && Local(s.Client, s.IPv6):
		return AskClients
	}
	return AskPolicy
}
