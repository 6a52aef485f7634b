// Package report is what the engine tells: flow, violation and threat records, and
// the per-worker rings that carry them without a lock. Aggregation is the agent's
// business; nothing leaves here unaccounted.
package report

import "github.com/sluicenet/sluice/core/packet"

// Verdict is what policy says of a connection.
type Verdict uint8

// Verdicts. NoVerdict is before the first look.
const (
	NoVerdict Verdict = iota
	Open              // not subject to policy
	Learn             // no rule; discover mode: passes and is learned
	Allow             // a rule allows it
	Violate           // passes, but would be or ought to be denied
	Deny              // refused
	Pending           // a rule needs the application, which is not known yet
)

var verdictNames = [...]string{"none", "open", "learn", "allow", "violate", "deny", "pending"}

// String is the verdict's name in reports.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "none"
}

// Passes says whether packets of the connection may go on for good.
func (v Verdict) Passes() bool { return v == Open || v == Learn || v == Allow || v == Violate }

// Reason says why a verdict is what it is.
type Reason uint8

// Reasons.
const (
	NoReason Reason = iota
	ByRule
	ByDefault
	ByQuarantine
	ByUnready
	ByHoldExpired
	ByThreat
	ByDLP
	ByWAF
	ByFailOpen
	ByUnidentified // nobody could tell the application: the parsers were away
)

var reasonNames = [...]string{"none", "rule", "default", "quarantine", "unready", "hold_expired", "threat", "dlp", "waf", "failopen", "unidentified"}

// String is the reason's name in reports.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "none"
}

// Kind is what a flow record says.
type Kind uint8

// Kinds of record.
const (
	// Start: the session was seen first.
	Start Kind = 1 + iota
	// Update: its counters, application or verdict changed.
	Update
	// End: it is over; the last record of the session.
	End
)

// String is "start", "update" or "end".
func (k Kind) String() string { return [...]string{"", "start", "update", "end"}[k&3] }

// Evidence says how the server side of a connection was told, strongest first.
type Evidence uint8

// Evidence, weakest first.
const (
	ByPort      Evidence = iota // lower or well-known port
	ByProtocol                  // the protocol's own handshake
	ByListener                  // a listening socket of the workload
	ByHandshake                 // the SYN was seen; for UDP and ICMP, the first packet
)

// String names the evidence.
func (e Evidence) String() string {
	return [...]string{"port", "protocol", "listener", "handshake"}[e&3]
}

// State is how far a connection is.
type State uint8

// States of a connection.
const (
	NoState     State = iota // not TCP
	Opening                  // SYN seen
	Established              // open, both ways
	Closing                  // a FIN was seen
	Closed                   // both FINs, or timed out
	ResetState               // an RST ended it
	Refused                  // the SYN was answered with an RST
	MidStream                // picked up without its beginning
)

var stateNames = [...]string{"", "opening", "established", "closing", "closed", "reset", "refused", "midstream"}

// String is the state's name in JSON.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return ""
}

// Flow is one record of one session. Packets and bytes are what came since
// the session's last record (deltas), index 0 from client to server, 1 back. Bytes count
// from the IP header on.
type Flow struct {
	// Session is unique in the life of an engine.
	Session  uint64
	Endpoint uint32
	Rule     uint32
	Policy   uint64 // policy version that judged it
	First    int64  // ns since the epoch
	Last     int64
	Packets  [2]uint64
	Bytes    [2]uint64
	Client   packet.Addr
	Server   packet.Addr
	// Ports; for ICMP both 0, the type in ICMPType.
	ClientPort, ServerPort uint16
	App, Base              uint16 // app.ID
	Proto                  uint8
	IPv6                   bool
	// Dir is Egress where the endpoint's workload is the client.
	Dir      packet.Direction
	Kind     Kind
	Verdict  Verdict
	Reason   Reason
	Strength uint8 // parsers.Match
	Evidence Evidence
	State    State
	// Answered says that the server sent at least one packet that is not a refusal.
	Answered bool
	// Midstream says that the beginning was not seen.
	Midstream bool
	// Enforced says that the endpoint is inline: its verdict acts.
	Enforced bool
	// Loopback says that it was seen between an application and its sidecar; what the sidecar
	// makes of it is reported as a connection too.
	Loopback bool
	// Detail is what the parser told; nil where nothing new. It is not changed
	// after it was put here.
	Detail *Detail
}

// Pair is one attribute of a session.
type Pair struct{ Key, Value string }

// Detail is a session's attributes.
type Detail struct{ Attrs []Pair }

// Get is the value of a key, or "".
func (d *Detail) Get(key string) string {
	if d == nil {
		return ""
	}
	for _, p := range d.Attrs {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Threat is one threat seen on an endpoint.
type Threat struct {
	ID       uint16
	Endpoint uint32
	Session  uint64 // 0 where none
	Stamp    int64
	Src, Dst packet.Addr
	SrcPort  uint16
	DstPort  uint16
	Proto    uint8
	IPv6     bool
	Text     string
	Frame    []byte // the packet that showed it, cut at 256 bytes; may be nil
}
