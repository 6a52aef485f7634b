// Package related remembers connections that are expected because another session announced
// them: FTP's data connection, the unicast answer to a question to a multicast group. It knows
// neither sessions nor policy: it stores which session expects what, until when, and returns it
// once it comes. A Table belongs to one worker and takes no lock.
package related

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/packet"
)

// Bounds of a Table.
const (
	Max           = 1 << 16 // in all
	MaxOfEndpoint = 4096
	// MaxOfPeer bounds those of one other end on an endpoint.
	MaxOfPeer = 256
)

// Key is the end that expects a connection, and who may open it.
type Key struct {
	Endpoint uint32
	Proto    uint8
	IPv6     bool
	// At and Port are the expecting end.
	At   packet.Addr
	Port uint16
	// From is the other end; the zero Addr is any host on the link.
	From packet.Addr
}

// Expectation is one or several connections to come.
type Expectation struct {
	Key
	// Peer is the end of the announcing session that is not the workload's; the zero Addr where
	// there is no single one.
	Peer packet.Addr
	// Session and ID are handle and number of the announcing session.
	Session uint32
	ID      uint64
	// By is the application of the announcing session, App that of the connection; app.Undecided
	// where it is to be identified.
	By, App app.ID
	// AtIsClient: the end that expects the connection is its client in reports.
	AtIsClient bool
	// Wide: any address of the expecting end's workload will do, as none was announced.
	Wide bool
	// Many: any number of connections until the time is over, otherwise the first one.
	Many bool
	// Until is when it ends, ns since the epoch.
	Until int64
}
