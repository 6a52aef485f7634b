package policy

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// Query is one connection from the point of view of one managed end.
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
	// App is the application, app.Undecided during identification, app.Unknown when it ended
	// without a name. Base is the protocol it runs over (App itself if none).
	App, Base app.ID
	// Open reports which applications an undecided session can still be; nil is any. Rules for
	// others are not waited for.
	Open Openness
	// Midstream: the session was picked up without its beginning. A rule that names applications
	// allows such a session even where App is Unknown, so that a restart breaks no connection.
	Midstream bool
	// Lost: the application could not be identified because parsers were unavailable (App is
	// Unknown, or may become so). Such a session may be of any application: a workload that
	// fails open lets rules that name applications allow it, one that fails closed lets them
	// deny it.
	Lost bool
	// Began is when the connection began, ns since the epoch: it is with who had Peer then. 0 is
	// now.
	Began int64
}

// Openness describes a session during identification.
type Openness interface {
	// Could reports whether the session can still turn out to be of an application.
	Could(app.ID) bool
}

// Decision is the result of a Query.
type Decision struct {
	Verdict flow.Verdict
	Reason  flow.Reason
	Rule    uint32 // 0 for a default
}
