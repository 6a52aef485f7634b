package counter

import "sync/atomic"

// ID is a counter of the engine's workers.
type ID uint8

// Counters of a worker.
const (
	Frames ID = iota
	Bytes
	Passed
	DroppedFrames
	Undecided
	UnknownEndpoint
	NotIP
	Fragments
	Malformed
	Opened
	Ended
	TableFull
	Identified
	HeldFrames
	HeldAgain
	HoldFull
	HoldQuiet
	HoldExpired
	Resets
	Unreachables
	TooBig
	SendFailed
	ICMPErrors
	ICMPUnrelated
	Threats
	BadFragments
	Evicted
	Neighbours
	Unanswered
	Unidentified
	DestinationsFound
	DestinationsUnknown
	PassedAtSwitch
	HeldAtSwitch
	Offloaded
	OffloadedPackets
	OffloadedBytes
	Sessionless
	ARP
	LinkFrames
	NotIPRefused
	AddressAcquired
	SpoofedFrames
	ForeignFrames
	UnroutableFrames
	BadChecksums
	Discarded
	OpenRefused
	Probes
	RelatedSessions
	ExpectedRefused
	ExpectedFull
	ReassemblyFull
	Sessions
	workerLen
)

// Set is the counters of one worker. Only its goroutine uses it: counting is one addition in
// its own memory.
type Set [workerLen]uint64

// Shared is a Set that others may read. The zero value is all zero.
type Shared [workerLen]atomic.Uint64

// Publish makes the set's values visible; the worker calls it between batches.
func (s *Set) Publish(to *Shared) {
	for i, n := range s {
		to[i].Store(n)
	}
}

// AddTo adds the published values to m, by name. It may be called from any goroutine.
func (p *Shared) AddTo(m map[string]uint64) {
	for i := range p {
		m[Worker[i].Name] += p[i].Load()
	}
}

// Worker is the table of a worker's counters.
var Worker = [workerLen]Def{
	Frames:          {Name: "engine.frames", Help: "Frames received from taps, service ports and netfilter queues."},
	Bytes:           {Name: "engine.bytes", Help: "Bytes of these frames on the wire, with their link headers."},
	Passed:          {Name: "engine.passed", Help: "Frames with the verdict pass."},
	DroppedFrames:   {Name: "engine.dropped", Help: "Frames with the verdict drop or hold. On a tap they have passed already, and a held frame may be forwarded later."},
	Undecided:       {Name: "engine.undecided", Help: "Frames left without a verdict. More than 0 is a bug."},
	UnknownEndpoint: {Name: "engine.unknown_endpoint", Help: "Frames of an endpoint that was just detached or handed over. They passed."},
	NotIP:           {Name: "engine.not_ip", Help: "Frames that are not IP."},
	ARP:             {Name: "engine.arp", Help: "ARP frames that passed."},
	LinkFrames:      {Name: "engine.link_frames", Help: "Frames of LLDP, LACP, STP and 802.1X to the group addresses of these protocols. They pass."},
	NotIPRefused:    {Name: "engine.not_ip_refused", Help: "Frames that are not IP and not of a protocol that passes. Inline they are dropped."},
	AddressAcquired: {Name: "engine.address_configuration", Help: "Messages of DHCP and DHCPv6 between workloads as clients and their servers. They pass."},
	SpoofedFrames:   {Name: "engine.spoofed", Help: "Frames with a source address, or a claim of ARP or neighbour discovery, that is not their sender's. Inline they are dropped."},
	ForeignFrames:   {Name: "engine.foreign", Help: "Frames that came in for a MAC or IP address that is not the workload's. Inline they are dropped."},
	UnroutableFrames: {Name: "engine.unroutable",
		Help: "Packets that no host may believe: source routes, land, loopback or group addresses as source, redirects. Inline they are dropped."},
	Fragments:     {Name: "engine.fragments", Help: "IP fragments."},
	Malformed:     {Name: "engine.malformed", Help: "Frames and datagrams with malformed headers. Inline they are dropped."},
	Opened:        {Name: "engine.sessions_opened", Help: "Sessions that began or were picked up in mid-stream."},
	Ended:         {Name: "engine.sessions_ended", Help: "Sessions that ended or timed out."},
	TableFull:     {Name: "engine.table_full", Help: "Packets for whose session there was no room. They follow the fail mode."},
	Identified:    {Name: "engine.identified", Help: "Sessions whose identification ended, with a name or as unknown."},
	HeldFrames:    {Name: "engine.held", Help: "Frames held until the application of their session was known."},
	HeldAgain:     {Name: "engine.held_again", Help: "Retransmissions of held frames. They are dropped."},
	HoldFull:      {Name: "engine.hold_full", Help: "Frames dropped because there was no room to hold them. TCP sends them again."},
	HoldQuiet:     {Name: "engine.hold_quiet", Help: "Sessions released before their hold time ended, because the sender was waiting for an answer."},
	HoldExpired:   {Name: "engine.hold_expired", Help: "Sessions not identified within the hold time."},
	Resets:        {Name: "engine.resets_sent", Help: "TCP resets sent to the ends of refused connections."},
	Unreachables:  {Name: "engine.unreachables_sent", Help: "ICMP unreachable messages sent for refused datagrams."},
	TooBig:        {Name: "engine.too_big_sent", Help: "ICMP packet too big messages sent to workloads whose packets exceed the path MTU of a tunnel."},
	SendFailed:    {Name: "engine.send_failed", Help: "Frames that the engine could not send: resets, held frames, fragments."},
	ICMPErrors:    {Name: "engine.icmp_errors", Help: "ICMP errors that belong to a known session."},
	ICMPUnrelated: {Name: "engine.icmp_unrelated", Help: "ICMP errors that relate to no session, or not to the address they are sent to. Inline they are dropped."},
	Threats:       {Name: "engine.threats", Help: "Threats detected. A repeated threat is counted each time and reported every 10 s."},
	BadFragments:  {Name: "engine.bad_fragments", Help: "Datagrams whose fragments overlap, exceed a limit or contradict each other. Inline they are dropped."},
	Evicted:       {Name: "engine.sessions_evicted", Help: "Sessions removed from a full table to make room for others."},
	Neighbours:    {Name: "engine.neighbour_discovery", Help: "Valid messages of IPv6 neighbour discovery, MLD and IGMP. They pass."},
	Unanswered:    {Name: "engine.unanswered", Help: "Sessions given up because no plugin answered in time."},
	Unidentified:  {Name: "engine.unidentified", Help: "Sessions whose application is unknown because a plugin was away. They follow the fail mode and teach nothing."},
	BadChecksums:  {Name: "engine.bad_checksum", Help: "Packets with a wrong checksum that would begin, identify or end a session. They change nothing, and are dropped inline."},
	Discarded: {Name: "engine.discarded_by_receivers",
		Help: "TCP segments that their receiver discards: an old timestamp, an MD5 or AO option unlike the SYN, an acknowledgement of what was not sent. They change nothing and are not read."},
	OpenRefused: {Name: "engine.open_refused", Help: "Open connections refused because of a policy or mode that came later."},
	Probes:      {Name: "engine.probes", Help: "Segments sent to workloads to learn where a silent refused connection is, so that both ends can be reset."},
	ReassemblyFull: {Name: "engine.reassembly_full",
		Help: "Directions of TCP connections not read to the end of identification, because the workload or its peer had its share of the memory."},
	DestinationsFound: {Name: "engine.destinations_found",
		Help: "Sessions between an application and its sidecar whose real destination was found."},
	DestinationsUnknown: {Name: "engine.destinations_unknown",
		Help: "Sessions between an application and its sidecar whose real destination was not found. They follow the fail mode."},
	PassedAtSwitch:   {Name: "engine.passed_at_switch", Help: "Frames judged by the previous datapath that passed the new one at a hand-over."},
	HeldAtSwitch:     {Name: "engine.held_at_switch", Help: "Held frames dropped at a hand-over between datapaths. TCP sends them again."},
	Offloaded:        {Name: "engine.offloaded", Help: "Sessions that left a netfilter queue because they are decided."},
	OffloadedPackets: {Name: "engine.offloaded_packets", Help: "Packets of these sessions that only the kernel counted."},
	OffloadedBytes:   {Name: "engine.offloaded_bytes", Help: "Bytes of these packets."},
	Sessionless:      {Name: "engine.sessionless", Help: "TCP segments that open no session and belong to none, such as a late FIN or RST. They are not reported."},
	RelatedSessions:  {Name: "engine.related", Help: "Sessions that belong to another one: data connections, media, answers to questions to multicast and broadcast addresses."},
	ExpectedRefused:  {Name: "engine.expected_refused", Help: "Announced connections that are not expected: to a foreign address, or to a port of other services."},
	ExpectedFull:     {Name: "engine.expected_full", Help: "Announced connections that are not expected because there are too many."},
	Sessions:         {Name: "engine.sessions", Help: "Sessions tracked now.", Kind: Gauge},
}
