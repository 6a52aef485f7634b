package policy

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Query is one connection as one managed end asks about it.
type Query struct {
	// Dir is Egress where the workload is the client.
	Dir packet.Direction
	// Peer is the other end's address.
	Peer packet.Addr
	// Local is the workload's own address in this connection.
	Local packet.Addr
	IPv6  bool
	Proto uint8
	// Port is the server's port; 0 for protocols without.
	Port uint16
	// App is the application, app.Undecided while identification goes on, app.Unknown
	// when it ended without a name. Base is what it rides on (App itself if nothing).
	App, Base app.ID
	// Open says what an undecided application can still be; nil is anything. Rules for others
	// are not waited for.
	Open Openness
	// Midstream: the session was picked up without its beginning. A rule that names
	// applications allows such a session even where App is Unknown, so that a
	// restart breaks no connection.
	Midstream bool
	// Lost: nobody could tell the application, because parsers were away (App is Unknown, or may
	// become so). Such a session may be of any: a workload that fails open lets rules that name applications
	// allow it, one that fails closed lets them deny it.
	Lost bool
}

// Openness tells of a session whose identification goes on.
type Openness interface {
	// Could says whether the session can still turn out to be of an application.
	Could(app.ID) bool
}

// Decision is the answer to a Query.
type Decision struct {
	Verdict flow.Verdict
	Reason  flow.Reason
	Rule    uint32 // 0 for a default
}
