package session

// Flags describe the connection. The tracker, timeouts and eviction depend on them.
type Flags uint16

// Flags.
const (
	// Midstream: the beginning was not seen. Track sets it.
	Midstream Flags = 1 << iota
	// Answered: the server sent at least one packet that is not a refusal. Set by the engine.
	Answered
	// Refused: a router or the server's host answered with an ICMP unreachable error. Set by the
	// engine.
	Refused
	// Denied: policy denied packets of it; the session is kept so that later packets are dropped
	// cheaply. Set by the engine, and never cleared.
	Denied
	// Away: segments may have been missed since the last one that was tracked. Set by the
	// engine; the next segment with sequence numbers of both ends clears it.
	Away
	// Whole: every segment of it is seen before it is delivered, so that an acknowledgement of
	// what was never sent is not believed. Set by the engine.
	Whole
	// Crossed: both ends sent a SYN (simultaneous open, RFC 9293 3.5). Track sets it; the client is
	// the end whose SYN was seen first.
	Crossed
	// Unreset: it is denied, and its ends were not reset, as its group wants no answers. Set by
	// the engine.
	Unreset
)

// Marks record what the engine has done with a session. This package stores them and reads
// none.
type Marks uint32

// Marks.
const (
	// Reported: a Start record was written.
	Reported Marks = 1 << iota
	// Changed: something is new since the last record.
	Changed
	// Ended: the End record was written.
	Ended
	// Idle: the timer is armed with the timeout, not with a report.
	Idle
	// Identified: identification is complete.
	Identified
	// Lost: its application is unknown because parsers were unavailable.
	Lost
	// HoldExpired: its payload was held for the longest time the group allows.
	HoldExpired
	// Passed: its hold time expired and it passes.
	Passed
	// Released: held packets of it were released because policy allowed what they showed.
	Released
	// Traced: its original destination was looked up; on lo only.
	Traced
	// Offloaded: it may pass in the kernel, which counts it.
	Offloaded
	// Stays: it cannot be offloaded to the kernel.
	Stays
	// Either: its client is uncertain; policy is evaluated for both orientations.
	Either
	// Quiet: it is open and carried no payload for as long as identification may take, or not
	// since it is known.
	Quiet
	// Moved: it came from another datapath, where its verdict may have been another.
	Moved
	// HeldOpen: a socket of the workload holds it open; valid since the last reading of sockets.
	HeldOpen
	// Kept: it was open when enforcement began, and such connections are kept.
	Kept
	// ResetDue: it was refused without a packet that shows where its ends are; they are still to
	// be reset.
	ResetDue
	// Elsewhere: frames of it came by other endpoints than its own, too.
	Elsewhere
	// Related: it belongs to another session, by whose ends and application it is judged.
	Related
	// Evident: its beginning was not seen and is not needed, as each datagram of what it is allowed to
	// be shows that.
	Evident
	// Plausible: its beginning was not seen, and the first datagram that was may belong to an application
	// that shows in none; or none was seen yet.
	Plausible
	// Asks: it is a question to a multicast or broadcast address; unicast answers are expected.
	Asks
)
