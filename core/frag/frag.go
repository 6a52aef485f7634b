// Package frag puts the fragments of IP datagrams together, of both families, in
// bounded memory. The engine judges the datagram; the original fragments are
// what goes on, so they can be kept and handed back. It is not for TCP segments
// (core/stream), and it judges nothing itself but what no honest sender does.
package frag

import (
	"time"

	"github.com/sluicenet/sluice/core/packet"
)

// Config bounds a Reassembler; the zero value has defaults.
type Config struct {
	// MaxDatagrams is how many datagrams are remembered, held and decided ones
	// together: 1,024 if 0.
	MaxDatagrams int
	// MaxBytes bounds what all of them hold, copies of frames included: 4 MiB if 0.
	MaxBytes int
	// MaxPieces bounds the fragments of one datagram: 256 if 0, which is 64 KiB in
	// frames of 300 bytes.
	MaxPieces int
	// Timeout4 and Timeout6 end datagrams that stay incomplete, and the memory of
	// decided ones: 30 s and 60 s (RFC 8200 4.5) if 0.
	Timeout4, Timeout6 time.Duration
	// KeepFrames makes Add copy the frames it holds; inline endpoints need them.
	KeepFrames bool
}

// Outcome says what became of a fragment.
type Outcome uint8

// Outcomes.
const (
	// NotFragment: the packet is none; nothing was done.
	NotFragment Outcome = iota
	// Held: more is missing. An inline engine drops the frame; its copy comes
	// with the last fragment.
	Held
	// Complete: the fragment was the last one missing.
	Complete
	// Bad: the fragment shows that its datagram is none; Reason says why. Told once
	// for a datagram, whose other fragments then are Decided.
	Bad
	// Decided: the fragment belongs to a datagram that was judged; Verdict says how.
	Decided
)

// String is the outcome in a word.
func (o Outcome) String() string {
	switch o {
	case Held:
		return "held"
	case Complete:
		return "complete"
	case Bad:
		return "bad"
	case Decided:
		return "decided"
	}
	return "not a fragment"
}

// Reason says why a datagram is bad, as a constant text.
type Reason string

// Reasons. CutShort is the capture's fault, TooMany and NoRoom are our bounds; all others
// are the sender's.
const (
	// Overlap: two fragments claim the same bytes and are not equal (teardrop).
	Overlap Reason = "overlap"
	// Oversize: the datagram would be longer than IP allows (ping of death).
	Oversize Reason = "oversize"
	// BadLength: a fragment that is not the last has a length that is no multiple of 8;
	// told when a second fragment has come, as that may be an Overlap.
	BadLength Reason = "bad_length"
	// Empty: a fragment without data.
	Empty Reason = "empty"
	// BeyondEnd: fragments disagree about where the datagram ends.
	BeyondEnd Reason = "beyond_end"
	// BadHeader: the header in front of the fragments cannot be used again.
	BadHeader Reason = "bad_header"
	// CutShort: the capture does not hold the fragment's data.
	CutShort Reason = "cut_short"
	// TooMany: more fragments than MaxPieces.
	TooMany Reason = "too_many"
	// NoRoom: one datagram alone would spend the whole budget.
	NoRoom Reason = "no_room"
)

// Result is what Add says.
type Result struct {
	Outcome Outcome
	// Reason is set with Bad.
	Reason Reason
	// Datagram is set with Complete: the datagram as a raw IP frame with the stamp,
	// endpoint and direction of the last fragment. Its Data is valid until the next call.
	// Decoding it can give a fragment again (nested in IPv6); that one is not to be
	// added again.
	Datagram packet.Frame
	// Frames are, with Complete and Bad, the copies of the frames held so far, in
	// the order of their coming, without the present one; only with KeepFrames. They
	// are the caller's.
	Frames []*packet.Frame
	// Verdict is set with Decided; Undecided where nobody has set one.
	Verdict packet.Verdict
}

// Owner is what a datagram's session is known by beside its addresses.
type Owner struct {
	SrcPort, DstPort uint16
	Proto            uint8 // past IPv6 extension headers
}

// Stats count what a Reassembler has seen and holds.
type Stats struct {
	Fragments, Completed, Bad, Duplicates uint64
	// Expired timed out incomplete; Evicted made room for others while incomplete.
	Expired, Evicted uint64
	// Datagrams and Bytes are held now.
	Datagrams, Bytes int
}

// key tells datagrams apart (RFC 791 3.2, RFC 8200 4.5), on each endpoint and VLAN
// for itself.
type key struct {
	src, dst packet.Addr
	id       uint32
	endpoint uint32
	vlan     uint16
	proto    uint8 // 0 for IPv6, where fragments need not agree about it
	v6       bool
}

// keyOf is the key of the datagram that p is a fragment of.
func keyOf(p *packet.Packet, endpoint uint32) key {
	k := key{src: p.Src, dst: p.Dst, id: p.FragID, endpoint: endpoint, vlan: p.VLAN, v6: p.IPv6}
	if !p.IPv6 {
		k.proto = p.Network[9]
	}
	return k
}
