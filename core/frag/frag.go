// Package frag reassembles fragmented IP datagrams of both families in bounded memory. The
// engine judges the datagram; the original fragments are forwarded, so they can be kept and
// returned. It does not handle TCP segments (core/stream), and rejects only what no
// legitimate sender sends.
package frag

import (
	"time"

	"github.com/sluicenet/sluice/core/packet"
)

// Config bounds a Reassembler; zero fields have defaults. Endpoints, and the sources of each, have
// shares of the bounds.
type Config struct {
	// MaxDatagrams is the maximum number of datagrams, incomplete and decided ones together:
	// 1,024 if 0.
	MaxDatagrams int
	// MaxBytes bounds the memory of all datagrams, copies of frames included: 4 MiB if 0.
	MaxBytes int
	// MaxPieces bounds the fragments of one datagram: 256 if 0, which is 64 KiB in
	// frames of 300 bytes.
	MaxPieces int
	// Timeout4 and Timeout6 end incomplete datagrams, and the records of decided ones: 30 s and
	// 60 s (RFC 8200 4.5) if 0.
	Timeout4, Timeout6 time.Duration
	// KeepFrames makes Add copy the frames of incomplete datagrams; inline endpoints need them.
	KeepFrames bool
}

// Outcome is the result of adding a fragment.
type Outcome uint8

// Outcomes.
const (
	// NotFragment: the packet is no fragment and was ignored.
	NotFragment Outcome = iota
	// Held: the datagram is incomplete. An inline engine drops the frame; its copy is returned
	// with the last fragment.
	Held
	// Complete: the fragment was the last one missing.
	Complete
	// Bad: the fragment makes its datagram invalid; Reason is why. Returned once for a datagram,
	// whose other fragments then are Decided.
	Bad
	// Decided: the fragment belongs to a datagram that was judged; Verdict is its verdict.
	Decided
)

// String returns the outcome's name.
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

// Reason is the reason why a datagram is bad, as a constant text.
type Reason string

// Reasons. CutShort is the capture's fault, TooMany and NoRoom are limits of the Reassembler;
// all others are the sender's.
const (
	// Overlap: two fragments claim the same bytes and are not equal (teardrop).
	Overlap Reason = "overlap"
	// Oversize: the datagram would be longer than IP allows (ping of death).
	Oversize Reason = "oversize"
	// BadLength: a fragment that is not the last has a length that is no multiple of 8; reported
	// when a second fragment has arrived, as that may be an Overlap.
	BadLength Reason = "bad_length"
	// Empty: a fragment without data.
	Empty Reason = "empty"
	// BeyondEnd: fragments contradict each other about where the datagram ends.
	BeyondEnd Reason = "beyond_end"
	// BadHeader: the header in front of the fragments is unusable.
	BadHeader Reason = "bad_header"
	// CutShort: the capture does not contain all of the fragment's data.
	CutShort Reason = "cut_short"
	// TooMany: more fragments than MaxPieces.
	TooMany Reason = "too_many"
	// NoRoom: one datagram alone would exceed the whole budget.
	NoRoom Reason = "no_room"
)

// Result is the result of Add.
type Result struct {
	Outcome Outcome
	// Reason is set with Bad.
	Reason Reason
	// Datagram is set with Complete: the datagram as a raw IP frame with the stamp, endpoint and
	// direction of the last fragment. Its Data is valid until the next call. Decoding it can
	// return a fragment again (nested in IPv6); that one must not be added again.
	Datagram packet.Frame
	// Frames are, with Complete and Bad, the copies of the frames held so far, in order of
	// arrival, without the present one; only with KeepFrames. The caller owns them.
	Frames []*packet.Frame
	// Verdict is set with Decided; Undecided where none was set.
	Verdict packet.Verdict
}

// Owner is what a datagram's session is known by beside its addresses.
type Owner struct {
	SrcPort, DstPort uint16
	Proto            uint8 // past IPv6 extension headers
}

// Stats are the counters of a Reassembler and its present contents.
type Stats struct {
	Fragments, Completed, Bad, Duplicates uint64
	// Expired timed out incomplete; Evicted were removed incomplete to make room.
	Expired, Evicted uint64
	// Datagrams and Bytes are held now.
	Datagrams, Bytes int
}

// key distinguishes datagrams (RFC 791 3.2, RFC 8200 4.5), separately for each endpoint and
// VLAN.
type key struct {
	src, dst packet.Addr
	id       uint32
	endpoint uint32
	vlan     uint16
	proto    uint8 // 0 for IPv6, where it may differ between fragments
	v6       bool
}

// keyOf returns the key of the datagram that p is a fragment of.
func keyOf(p *packet.Packet, endpoint uint32) key {
	k := key{src: p.Src, dst: p.Dst, id: p.FragID, endpoint: endpoint, vlan: p.VLAN, v6: p.IPv6}
	if !p.IPv6 {
		k.proto = p.Network[9]
	}
	return k
}
