package parsers

import (
	"net/netip"

	"github.com/sluicenet/sluice/core/app"
)

// Expectation is a connection that two ends agree on in a session: FTP's data connection, the
// media of a call. It is between the same two ends, is judged as a part of that session, and
// carries no name of its own in rules.
type Expectation struct {
	// At is the side that expects it: ToServer means that it is opened to the server.
	At Dir
	// Proto is the IP protocol number, 6 or 17.
	Proto uint8
	// Port is the port of that side.
	Port uint16
	// Addr is the address that was announced for that side; the zero Addr where the protocol
	// announces none. An address that is not the side's own is refused, and a threat.
	Addr netip.Addr
	// App is the application of the connection; app.Undecided to have it identified.
	App app.ID
	// Long is set where the connection may begin minutes later: media after a call was accepted.
	Long bool
}

// Follower is implemented by parsers that read a session to its end, for what it announces
// (Sink.Expect): their streams get bytes beyond the limits of identification while they return
// Named. Such a session is never passed without being seen.
type Follower interface{ Follows() }
