package parsers

import (
	"fmt"

	"github.com/sluicenet/sluice/core/app"
)

// Transport is a set of transports of a parser.
type Transport uint8

// Transports.
const (
	TCP Transport = 1 << iota
	UDP
)

// Entry is one registered parser.
type Entry struct {
	Parser Parser
	ID     app.ID
	On     Transport
}

// Registry is the ordered list of parsers that an engine asks. It is built once
// and then only read. Built-in and plugin parsers enter by the same door.
type Registry struct {
	entries []Entry
	tcp     []int
	udp     []int
	later   map[app.ID]Continuing // also of parsers that run elsewhere
}

// Add appends a parser. Order breaks ties between equally strong claims.
func (r *Registry) Add(p Parser, id app.ID, on Transport) error {
	if p == nil || id == app.Unknown || id == app.Undecided || on == 0 {
		return fmt.Errorf("parser %v: needs an application number and a transport", p)
	}
	for _, e := range r.entries {
		if e.ID == id && e.On&on != 0 {
			return fmt.Errorf("parser %s: number %d is taken by %s", p.Name(), id, e.Parser.Name())
		}
	}
	if len(r.entries) >= MaxParsers {
		return fmt.Errorf("parser %s: at most %d parsers", p.Name(), MaxParsers)
	}
	n := len(r.entries)
	r.entries = append(r.entries, Entry{p, id, on})
	if on&TCP != 0 {
		r.tcp = append(r.tcp, n)
	}
	if on&UDP != 0 {
		r.udp = append(r.udp, n)
		r.AddContinuing(p, id)
	}
	return nil
}

// AddContinuing adds what a parser that runs elsewhere can say of later datagrams; it is not asked for anything else.
func (r *Registry) AddContinuing(p Parser, id app.ID) {
	if c, ok := p.(Continuing); ok {
		if r.later == nil {
			r.later = map[app.ID]Continuing{}
		}
		r.later[id] = c
	}
}

// Later returns what can say of an application's later datagrams whether they are its; nil if nothing can.
func (r *Registry) Later(id app.ID) Continuing { return r.later[id] }

// Continues reports whether a datagram may continue a session of any application of Later.
func (r *Registry) Continues(m *Meta, datagram []byte) bool {
	for _, c := range r.later {
		if c.Continues(m, datagram) {
			return true
		}
	}
	return false
}

// MaxParsers bounds a registry, so that a set of parsers fits into a bit mask.
const MaxParsers = 128

// Entry is the parser with an index of For.
func (r *Registry) Entry(i int) *Entry { return &r.entries[i] }

// Shows reports whether any datagram of an application shows it to these parsers, whatever came before: it is that of
// a Standalone parser, or runs over one, or is none that they find in datagrams.
func (r *Registry) Shows(id app.ID) bool {
	for _, i := range r.udp {
		e := &r.entries[i]
		_, layered := e.Parser.(Layered)
		riding := e.ID == id.Base() || layered && id >= app.FirstPlugin && id < app.None
		if _, alone := e.Parser.(Standalone); !alone && (e.ID == id || riding) {
			return false
		}
	}
	return true
}

// Len is how many parsers there are.
func (r *Registry) Len() int { return len(r.entries) }

// For lists the indexes of the parsers of an IP protocol number, in order. The list
// must not be changed.
func (r *Registry) For(proto uint8) []int {
	switch proto {
	case 6:
		return r.tcp
	case 17:
		return r.udp
	}
	return nil
}
