package sidecar

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Session is the part of a tracked session that the rules need. It is built for each call and
// not kept.
type Session struct {
	// Key is the session as tracked: on lo the sidecar replaces one of its ends.
	flow.Key
	ID uint64
	// At is the place of its server for policy: by Destinations, where there is more than Key.
	At        Place
	Carried   // its identification so far
	Dir       packet.Direction
	Verdict   flow.Verdict
	Loopback  bool  // it is on lo, between an application and its sidecar
	Looked    bool  // on lo: Destinations has found its destination or given up
	Over      bool  // it has ended
	Reported  bool  // a record of it was written
	Undecided bool  // its application is being identified
	Created   int64 // ns since the epoch
}

// Carried is an application and how certain it is.
type Carried struct {
	App, Base app.ID
	Strength  uint8 // parsers.Match
}

// Place is where an application is served: a server's address and port. For inbound sessions
// it is the port alone, as the sidecar may connect to its application at another address.
type Place struct {
	Addr packet.Addr
	Port uint16
	IPv6 bool
	In   bool
}

// PlaceOf returns the place of a server.
func PlaceOf(server packet.Addr, port uint16, ipv6 bool, dir packet.Direction) Place {
	if dir == packet.Ingress {
		return Place{Port: port, IPv6: ipv6, In: true}
	}
	return Place{Addr: server, Port: port, IPv6: ipv6}
}

// Translated reports whether a session on lo goes to a sidecar instead of another server.
// What a sidecar sends to its application goes where it is addressed to.
func Translated(k *flow.Key) bool {
	return Local(k.Server, k.IPv6) && !Local(k.Client, k.IPv6)
}
