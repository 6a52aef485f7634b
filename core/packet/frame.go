// Package packet defines the frames a backend delivers to the engine, the fixed-offset
// decoder that reads them, checksums, and the frames that the engine builds itself (TCP
// resets, ICMP errors). It makes no system calls and keeps no state between frames.
package packet

// Direction is the direction of a frame as its workload sees it.
type Direction uint8

// Directions. The zero value is not a direction.
const (
	NoDirection Direction = iota
	Egress                // the workload sent it
	Ingress               // the workload receives it
)

// String returns "egress", "ingress" or "none".
func (d Direction) String() string {
	switch d {
	case Egress:
		return "egress"
	case Ingress:
		return "ingress"
	}
	return "none"
}

// Reverse returns the other direction; NoDirection is its own reverse.
func (d Direction) Reverse() Direction {
	switch d {
	case Egress:
		return Ingress
	case Ingress:
		return Egress
	}
	return d
}

// Flags describe a frame beyond its bytes; the backend sets them.
type Flags uint8

// Frame flags.
const (
	// PartialChecksum: the transport checksum is not filled in yet (offload); it
	// must not be verified.
	PartialChecksum Flags = 1 << iota
	// GSO: the frame is larger than the link's MTU and is segmented on transmission.
	GSO
	// Truncated: Data is shorter than the frame on the wire (Wire).
	Truncated
	// VLANStripped: an 802.1Q or 802.1ad tag was removed from Data; it is in VLAN.
	VLANStripped
	// Injected: the engine built the frame.
	Injected
	// ChecksumValid: the receiving interface, or the stack, has verified the transport checksum.
	ChecksumValid
)

// Action is how a frame is disposed of.
type Action uint8

// Actions. An Undecided frame is handled by the endpoint's fail mode; it never passes
// unjudged.
const (
	Undecided Action = iota
	Pass
	Drop
	// Hold: the frame is not forwarded now; the engine keeps a copy and sends or drops it later.
	// A backend that cannot keep the frame itself treats it as Drop.
	Hold
)

// String returns "undecided", "pass", "drop" or "hold".
func (a Action) String() string {
	switch a {
	case Pass:
		return "pass"
	case Drop:
		return "drop"
	case Hold:
		return "hold"
	}
	return "undecided"
}

// Verdict is the engine's decision about a frame.
type Verdict struct {
	Action Action
	// Mark is the generation under which the flow of a passing frame is finally decided, for
	// queues whose flows can be offloaded (backend.Offloader); 0 is none.
	Mark uint32
}

// LinkType is the type of the header at the start of Data.
type LinkType uint8

// Link types. Live backends deliver Ethernet or, from NFQUEUE, raw IP; capture files have
// other types, which backends/pcapfile reduces to these two.
const (
	Ethernet LinkType = iota
	RawIP
)

// VNet is struct virtio_net_hdr (linux/virtio_net.h), the offload metadata that accompanies a
// frame through PACKET_VNET_HDR: little endian on every supported machine, stored unchanged.
type VNet [10]byte

// Frame is one frame of a batch.
type Frame struct {
	// Data is borrowed from the queue until that queue's next Settle.
	Data []byte
	// Stamp is the receive time, ns since the epoch.
	Stamp int64
	// Slot is the backend's handle, opaque to all other code.
	Slot uint64
	// Wire is the frame's length on the wire; Data may be shorter.
	Wire uint32
	// Endpoint is the number of the frame's endpoint.
	Endpoint uint32
	// VLAN is the tag control information where VLANStripped is set, and VLANProto
	// its tag protocol (0x8100, 0x88a8).
	VLAN, VLANProto uint16
	// VNet is the offload metadata of inline frames.
	VNet VNet
	// PathMTU is the largest IP packet that the way out carries, of Egress frames on a tunnel
	// whose sender cannot find it out itself; 0 for all others.
	PathMTU uint32
	Dir     Direction
	Flags   Flags
	Link    LinkType
	// SrcMAC is the source address of a RawIP frame that came over Ethernet; zero where unknown.
	SrcMAC [6]byte
	// Verdict is set by the engine before Settle.
	Verdict Verdict
}

// Batch is the frames of one Recv. A Batch belongs to one worker and is reused; a Queue fills
// Frames[:N].
type Batch struct {
	Frames []Frame
	N      int
}

// NewBatch returns a batch of at most n frames.
func NewBatch(n int) *Batch { return &Batch{Frames: make([]Frame, n)} }

// Reset empties the batch. The verdicts are cleared when a Queue fills the frames again,
// which it must do with Add.
func (b *Batch) Reset() { b.N = 0 }

// Full reports whether the batch has no room for another frame.
func (b *Batch) Full() bool { return b.N == len(b.Frames) }

// Add returns the next frame, cleared, for the caller to fill in; nil when the batch is full.
func (b *Batch) Add() *Frame {
	if b.N == len(b.Frames) {
		return nil
	}
	f := &b.Frames[b.N]
	b.N++
	*f = Frame{}
	return f
}

// All returns the frames that were added.
func (b *Batch) All() []Frame { return b.Frames[:b.N] }
