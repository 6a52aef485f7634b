// Package app is the list of application protocols: their numbers, names and layering (gRPC
// runs over HTTP/2). It has no knowledge of bytes; the parsers recognise protocols.
package app

import (
	"fmt"
	"sort"
	"strings"
)

// ID is the stable number of an application protocol. Numbers 1001 to 2028 are NeuVector's,
// other built-in ones start at 3001, and those of plugins are assigned from FirstPlugin on.
type ID uint16

// Sentinels.
const (
	// Unknown reports that identification has ended without a name.
	Unknown ID = 0
	// Undecided reports that identification is in progress.
	Undecided ID = 0xffff
	// None reports that the connection ended without a byte of payload: a port probe. A rule
	// that names it permits such connections to be opened, but no payload on them.
	None ID = 0xfffe
	// FirstPlugin is the first number given to a protocol that a plugin names.
	FirstPlugin ID = 10000
)

// Info describes one application.
type Info struct {
	ID   ID
	Name string
	// On is the protocol this one runs over (http2 for grpc); Unknown if none.
	On ID
}

// Name returns the application's name: "unknown", "undecided", "none", a listed name, or
// "app-N" for an unlisted number.
func (id ID) Name() string {
	switch id {
	case Unknown:
		return "unknown"
	case Undecided:
		return "undecided"
	case None:
		return "none"
	}
	if i, ok := byID[id]; ok {
		return i.Name
	}
	if i, ok := givenInfo(id); ok {
		return i.Name
	}
	return fmt.Sprintf("app-%d", uint16(id))
}

// OneWay reports whether the two directions of the protocol are sessions of their own: an
// answer goes to the same port from another source port (RFC 7348 5, RFC 8926 3.3).
func (id ID) OneWay() bool { return id == VXLAN || id == Geneve }

// String returns Name.
func (id ID) String() string { return id.Name() }

// Base returns the lowest protocol that id runs over, id itself if none.
func (id ID) Base() ID {
	for range 4 {
		i, ok := byID[id]
		if !ok || i.On == Unknown {
			return id
		}
		id = i.On
	}
	return id
}

// Parse returns the application with a name or an alias, in any case.
func Parse(name string) (ID, error) {
	n := strings.ToLower(strings.TrimSpace(name))
	if id, ok := byName[n]; ok {
		return id, nil
	}
	if id, ok := givenID(n); ok {
		return id, nil
	}
	return Unknown, fmt.Errorf("no application is called %q (`sluice rules --help` lists the names; a plugin's is known once it has run)", name)
}

// Listed returns the built-in application with a number.
func Listed(id ID) (Info, bool) {
	i, ok := byID[id]
	return i, ok
}

// All returns every built-in application, by number.
func All() []Info {
	out := make([]Info, len(table))
	copy(out, table)
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out
}

var (
	byID   = indexIDs()
	byName = indexNames()
)

func indexIDs() map[ID]Info {
	m := make(map[ID]Info, len(table))
	for _, i := range table {
		m[i.ID] = i
	}
	return m
}

func indexNames() map[string]ID {
	m := make(map[string]ID, len(table)+len(aliases)+2)
	m["unknown"], m["none"] = Unknown, None
	for _, i := range table {
		m[i.Name] = i.ID
	}
	for a, id := range aliases {
		m[a] = id
	}
	return m
}
