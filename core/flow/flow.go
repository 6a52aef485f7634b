// Package flow is the vocabulary of a flow: its tuple, which end is the client and how
// that is known, how far it has come, what policy decided, what became of it, and the
// record that carries all of this out of the engine. Each enum stands here once; sessions,
// records, the uplink and the graph use these types. It is not for behavior: nothing here
// decides about a flow.
package flow

import "github.com/sluicenet/sluice/core/packet"

// Key is a flow as its client opened it. It is comparable.
type Key struct {
	Client, Server         packet.Addr
	ClientPort, ServerPort uint16
	Proto                  uint8 // IP protocol number
	IPv6                   bool
}

// Phase is how far the connection has come that the TCP tracker follows (RFC 9293 3.3.2,
// both ends taken together).
type Phase uint8

// Phases of a connection.
const (
	NoPhase          Phase = iota // not TCP, or no believable segment yet
	PhaseOpening                  // a SYN was seen
	PhaseEstablished              // open, both ways
	PhaseClosing                  // a FIN was seen
	PhaseClosed                   // both FINs were seen and acknowledged
	PhaseReset                    // an RST ended it
	PhaseRefused                  // the SYN was answered with an RST
	PhaseMidStream                // picked up without its beginning, and open
)

var phaseNames = [...]string{"", "opening", "established", "closing", "closed", "reset", "refused", "midstream"}

// Over reports whether the connection has ended, in whatever way.
func (p Phase) Over() bool { return p == PhaseClosed || p == PhaseReset || p == PhaseRefused }

// String returns the phase's name in JSON; "" for NoPhase.
func (p Phase) String() string { return name(phaseNames[:], int(p), "") }

// Verdict is what policy decided about a flow. What became of the flow is its Outcome.
type Verdict uint8

// Verdicts. NoVerdict is the state before the first decision.
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

// String returns the verdict's name in reports.
func (v Verdict) String() string { return name(verdictNames[:], int(v), "none") }

// Passes reports whether packets of the flow may pass permanently.
func (v Verdict) Passes() bool { return v == Open || v == Learn || v == Allow || v == Violate }

// Reason is why a verdict is what it is.
type Reason uint8

// Reasons.
const (
	NoReason       Reason = iota
	ByRule                // a rule matched
	ByDefault             // no rule matched: the mode decided
	ByQuarantine          // the workload is quarantined
	ByUnready             // the workload's policy had not arrived
	ByHoldExpired         // the application was not identified within the hold time
	ByThreat              // a threat was seen on it
	ByDLP                 // a data-loss sensor matched
	ByWAF                 // a web sensor matched
	ByFailOpen            // frames passed without a decision
	ByUnidentified        // the application is not known because parsers were away
	BySpoofed             // the source address is not its sender's
	ByRelated             // as that of the session that it belongs to
)

var reasonNames = [...]string{"none", "rule", "default", "quarantine", "unready", "hold_expired", "threat", "dlp", "waf", "failopen", "unidentified", "spoofed", "related"}

// String returns the reason's name in reports.
func (r Reason) String() string { return name(reasonNames[:], int(r), "none") }

// Outcome is what became of a flow on the network, whatever policy decided about it.
type Outcome uint8

// Outcomes.
const (
	// OutcomeOpening: no answer yet, and still time for one.
	OutcomeOpening Outcome = iota
	// OutcomeEstablished: open, or answered where the protocol has no connections.
	OutcomeEstablished
	// OutcomeClosed: it was established and ended in order, or fell silent until its time-out.
	OutcomeClosed
	// OutcomeReset: it was established and one of its ends reset it.
	OutcomeReset
	// OutcomeRefused: the peer's system refused it: an RST for the SYN, or an ICMP unreachable.
	OutcomeRefused
	// OutcomeUnanswered: it ended without any answer, or its handshake was never completed.
	OutcomeUnanswered
	// OutcomeDenied: Sluice refused packets of it because of policy.
	OutcomeDenied
)

var outcomeNames = [...]string{"opening", "established", "closed", "reset", "refused", "unanswered", "denied"}

// String returns the outcome's name in reports.
func (o Outcome) String() string { return name(outcomeNames[:], int(o), "opening") }

// Over reports whether the outcome is final.
func (o Outcome) Over() bool { return o != OutcomeOpening && o != OutcomeEstablished }

// Evidence is how it is known which end of a flow is the client, weakest first. Better
// evidence replaces worse at any time.
type Evidence uint8

// Kinds of evidence, weakest first.
const (
	EvidencePort      Evidence = iota // a guess by port numbers
	EvidenceMemory                    // known before a restart of the engine
	EvidenceProtocol                  // the application protocol's own client part
	EvidenceListener                  // the complete list of listening sockets of the workload
	EvidenceSocket                    // an open socket of the workload, beside that list
	EvidenceHandshake                 // the SYN was seen; for UDP and ICMP, the first packet
)

var evidenceNames = [...]string{"port", "memory", "protocol", "listener", "socket", "handshake"}

// String returns the evidence's name in reports.
func (e Evidence) String() string { return name(evidenceNames[:], int(e), "port") }

// Guessed reports whether the client side is no more than a guess: a decision that would
// refuse has to hold for both orientations.
func (e Evidence) Guessed() bool { return e == EvidencePort }

// Counters are packets and bytes; index 0 is client to server, 1 back. Bytes count from the
// IP header on.
type Counters struct {
	Packets, Bytes [2]uint64
}

// Add adds o to c.
func (c *Counters) Add(o *Counters) {
	for d := range c.Packets {
		c.Packets[d] += o.Packets[d]
		c.Bytes[d] += o.Bytes[d]
	}
}

// name returns names[i], or otherwise where there is none.
func name(names []string, i int, otherwise string) string {
	if i < len(names) {
		return names[i]
	}
	return otherwise
}
