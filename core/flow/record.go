package flow

import "github.com/sluicenet/sluice/core/packet"

// Kind is the position of a record in its session.
type Kind uint8

// Kinds of record.
const (
	// Start is the first record of a session.
	Start Kind = 1 + iota
	// Update: its counters, application, verdict or outcome changed.
	Update
	// End: it is over. Packets that come later are counted in an Update after it.
	End
)

// String returns "start", "update" or "end".
func (k Kind) String() string { return [...]string{"", "start", "update", "end"}[k&3] }

// Record is one report about one session. Its counters are what came since the session's
// previous record (deltas). It embeds the flow's tuple; for ICMP both ports are 0.
type Record struct {
	Key
	Counters
	// Session is unique in one run of an engine.
	Session  uint64
	Endpoint uint32
	Rule     uint32
	Policy   uint64 // version of the policy that judged it
	First    int64  // ns since the epoch
	Last     int64
	// App and Base are app.IDs.
	App, Base uint16
	// Dir is Egress where the endpoint's workload is the client.
	Dir      packet.Direction
	Kind     Kind
	Verdict  Verdict
	Reason   Reason
	Outcome  Outcome
	Evidence Evidence
	Phase    Phase
	Strength uint8 // parsers.Match
	// Answered: the server sent at least one packet that is not a refusal.
	Answered bool
	// Received: datagrams that were not answered, to a port on which a socket of the workload serves.
	Received bool
	// Midstream: the beginning was not seen.
	Midstream bool
	// Simultaneous: both ends sent a SYN (RFC 9293 3.5), so that the other end's records may name
	// that one as the client.
	Simultaneous bool
	// Idle: it is open and carried no payload so far, for longer than identification takes.
	Idle bool
	// Lossy: frames or records were lost while it was observed, so what it teaches may be incomplete.
	Lossy bool
	// Enforced: the endpoint is inline, its verdict acts.
	Enforced bool
	// Loopback: it was seen between an application and its sidecar; what the sidecar makes of
	// it is reported as a connection of its own.
	Loopback bool
	// Detail is what the parser found; nil where nothing is new. It is immutable.
	Detail *Detail
}

// Pair is one attribute of a session.
type Pair struct{ Key, Value string }

// Detail is a session's attributes.
type Detail struct{ Attrs []Pair }

// Get returns the value of a key, or "".
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
