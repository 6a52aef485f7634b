package session

// Flags are what is known of a connection. The tracker, time-outs and eviction go by them.
type Flags uint16

// Flags.
const (
	// Midstream: the beginning was not seen. Track sets it.
	Midstream Flags = 1 << iota
	// Answered: the server sent at least one packet that is not a refusal. Set by the engine.
	Answered
	// Refused: a router or the server's system answered with an ICMP error that it is
	// unreachable. Set by the engine.
	Refused
	// Denied: packets of it were refused because of policy; it is kept so that later ones are
	// dropped cheaply. Set by the engine, and never cleared.
	Denied
	// Away: segments may have passed unseen since the last one that was tracked. Set by the
	// engine; the next segment with the numbers of both ends clears it.
	Away
)

// Marks are what the engine has done with a session. This package keeps them and reads none.
type Marks uint16

// Marks.
const (
	// Reported: a Start record was written.
	Reported Marks = 1 << iota
	// Changed: something is new since the last record.
	Changed
	// Ended: the End record was written.
	Ended
	// Idle: the timer is armed with the time-out, not with a report.
	Idle
	// Identified: identification is over.
	Identified
	// Lost: its application is unknown because parsers were away.
	Lost
	// HoldExpired: its payload was held for as long as the group allows.
	HoldExpired
	// Passed: its hold time ran out and it passes.
	Passed
	// Released: it was held once, and is not again.
	Released
	// Traced: its real destination was looked up; on lo only.
	Traced
	// Offloaded: it may pass in the kernel, which counts it.
	Offloaded
	// Stays: the kernel cannot let its packets go by.
	Stays
)
