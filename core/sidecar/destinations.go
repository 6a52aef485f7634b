package sidecar

import "github.com/sluicenet/sluice/core/packet"

// maxLookups is how many packets of a connection are looked up before its destination counts
// as unknown.
const maxLookups = 3

// Destinations are the real destinations of the sessions on lo of one worker, by session
// number, with the clients that some of them are reported as. There is an entry for such
// sessions only, so it is bounded by the session table. The worker's goroutine uses it; the
// zero value is empty.
type Destinations struct{ of map[uint64]Destination }

// Destination is where a redirected connection was addressed to, and on whose behalf it is.
type Destination struct {
	addr       packet.Addr // valid with known
	client     packet.Addr // valid with attributed
	port       uint16
	lookups    uint8
	known      bool
	attributed bool
}

// Lookup is the answer of one attempt to find the destination of a session.
type Lookup struct {
	Session uint64
	Addr    packet.Addr // valid with Known, as is Port
	Port    uint16
	Known   bool
	Opening bool // the packet is the first of its connection: too early for an answer
	Last    bool // there is nobody to ask again
}

// Result is what an attempt has come to.
type Result uint8

// Results of a lookup.
const (
	Retry   Result = iota // not known yet: look again at the next packet
	Found                 // known
	Missing               // unknown for good
)

// Add takes the answer of one attempt in.
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

// Server returns the real destination of a session; ok is false where it is not known.
func (d *Destinations) Server(session uint64) (addr packet.Addr, port uint16, ok bool) {
	x := d.of[session]
	return x.addr, x.port, x.known
}

// Attribute has a session reported as a client's.
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

// Insert takes over what another worker knew of a session.
func (d *Destinations) Insert(session uint64, x Destination) {
	if x == (Destination{}) {
		return
	}
	if d.of == nil {
		d.of = map[uint64]Destination{}
	}
	d.of[session] = x
}

// Remove forgets a session and returns what was known of it.
func (d *Destinations) Remove(session uint64) Destination {
	if len(d.of) == 0 {
		return Destination{}
	}
	x := d.of[session]
	delete(d.of, session)
	return x
}

// Question is what policy is to be asked about a session on lo.
type Question uint8

// Questions.
const (
	AskPolicy  Question = iota // the session, by its place
	AskLater                   // nothing yet: its destination is being looked up
	AskClients                 // the session, in the name of each of Mesh.Clients: one of them must be allowed
	AskNobody                  // nothing: its destination is unknown, the fail mode decides
)

// Question returns what policy is to be asked about a session on lo.
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
