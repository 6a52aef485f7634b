package counter

// Cause is why a frame of an inline endpoint was not forwarded on arrival.
type Cause uint8

// Causes.
const (
	NoCause        Cause = iota
	Denied               // its session is denied
	MalformedFrame       // its headers are malformed
	BadFragment          // its datagram's fragments are bad, or the datagram was refused before
	NoRoomToHold         // there was no room to hold it
	Retransmit           // its first copy is held already
	OutOfWindow          // it is outside of its connection's window
	NoRoomInTable        // there was no room for its session, and the group fails closed
	NoSession            // it belongs to no session and opens none, and policy denies its ends
	Unrelated            // an ICMP error about no session of its receiver
	Spoofed              // an address in it is not its sender's
	Foreign              // it came in for an address that is not the workload's
	Unroutable           // no host may believe it: source route, land, loopback address, redirect
	NotIPFrame           // it is not IP, and not one of the few other protocols that pass
	Overlapping          // it repeats held or unacknowledged bytes with other values
	BadSum               // its checksum is wrong
	Held                 // it is held, or waits for the rest of its datagram: it may be forwarded later
	CausesLen      int   = iota
)

// Frames that were not forwarded, by cause; those of the engine are in the order of Cause.
var drops = []Def{
	{Cause: "other", Help: "for a reason that has no name; a bug"},
	{Cause: "denied", Help: "the session is denied by policy"},
	{Cause: "malformed", Help: "its headers are malformed"},
	{Cause: "bad_fragment", Help: "a fragment of a datagram that is malformed or was refused"},
	{Cause: "hold_full", Help: "no room to hold it until its application is known; TCP sends it again"},
	{Cause: "retransmit", Help: "the first copy is held already"},
	{Cause: "out_of_window", Help: "outside of the connection's window"},
	{Cause: "table_full", Help: "no room for its session, and the group fails closed"},
	{Cause: "no_session", Help: "a late FIN or RST, or another segment that opens no session, between ends that policy denies"},
	{Cause: "icmp_unrelated", Help: "an ICMP error that relates to no session"},
	{Cause: "spoofed", Help: "its source address, or what it claims by ARP or neighbour discovery, is not the sender's"},
	{Cause: "foreign", Help: "it came in for a MAC or IP address that is not the workload's"},
	{Cause: "unroutable", Help: "a source route, the same source and destination, a loopback or group address as source, or a redirect"},
	{Cause: "not_ip", Help: "neither IP nor ARP nor a protocol of the link itself (LLDP, LACP, STP, 802.1X to their own group addresses)"},
	{Cause: "overlap", Help: "it repeats bytes that are held, or not acknowledged yet, with other values"},
	{Cause: "bad_checksum", Help: "its checksum is wrong, so that its receiver would discard it"},
	{Cause: "held", Help: "held until its application is known, or until its datagram is complete; counted in held_frames"},

	{Cause: "ring_full", Help: "a packet ring was full: not seen on a tap, lost inline"},
	{Cause: "ring_share", Help: "a packet ring was nearly full, and its interface exceeds its share of it"},
	{Cause: "flood", Help: "it begins something, and its interface exceeds --first-packets"},
	{Cause: "socket_full", Help: "the socket of a netfilter queue was full"},
	{Cause: "queue_full", Help: "too many packets of a netfilter queue waited for a verdict"},
	{Cause: "send_failed", Help: "it could not be sent on"},
	{Cause: "oversize", Help: "larger than a slot of the ring"},
	{Cause: "no_heartbeat", Help: "no worker was running, and the group fails closed"},
	{Cause: "forged", Help: "its MAC address looked like a tag of the service port"},
	{Cause: "unknown", Help: "it returned from the service port for an endpoint that is gone"},
}

var bypasses = []Def{
	{Cause: "no_heartbeat", Help: "no worker was running, and the group fails open"},
	{Cause: "socket_full", Help: "the socket of a netfilter queue was full, and the group fails open"},
}

var losses = []Def{
	{Cause: "outbox_full", Help: "the engine's outbox was full"},
	{Cause: "sockets_full", Help: "too many records of workloads in the host's network waited"},
	{Cause: "uplink_full", Help: "too many kinds of connection waited to be sent"},
	{Cause: "unjudged_full", Help: "too many workloads had frames without a verdict at once; counted in rows, not in frames"},
	{Cause: "threats_full", Help: "too many kinds of threat waited to be sent"},
	{Cause: "unknown_endpoint", Help: "the workload was gone"},
}

// String returns the cause's name in metrics.
func (c Cause) String() string {
	if int(c) < CausesLen {
		return drops[c].Cause
	}
	return drops[NoCause].Cause
}

// Causes lists the values of the label "cause" of a family, each with its help; nil for a family
// without that label.
func Causes(family string) []Def {
	switch family {
	case Traffic[Drops].Name:
		return drops
	case Traffic[Bypassed].Name:
		return bypasses
	case LostRecords:
		return losses
	}
	return nil
}
