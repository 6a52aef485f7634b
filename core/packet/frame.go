// Package packet is the vocabulary of frames: what a backend hands to the
// engine, the fixed-offset decoder that reads it, checksums, and the frames that
// the engine makes itself (TCP resets, ICMP errors). It makes no system calls
// and keeps no state between frames.
package packet

// Direction is the direction of a frame as its workload sees it.
type Direction uint8

// Directions. The zero value is not a direction.
const (
	NoDirection Direction = iota
	Egress                // the workload sent it
	Ingress               // the workload receives it
)

// String is "egress", "ingress" or "none".
func (d Direction) String() string {
	switch d {
	case Egress:
		return "egress"
	case Ingress:
		return "ingress"
	}
	return "none"
}

// Reverse is the other direction; NoDirection stays.
func (d Direction) Reverse() Direction {
	switch d {
	case Egress:
		return Ingress
	case Ingress:
		return Egress
	}
	return d
}

// Flags say what a backend knows about a frame beyond its bytes.
type Flags uint8

// Frame flags.
const (
	// PartialChecksum: the transport checksum is not filled in yet (offload); it
	// must not be verified.
	PartialChecksum Flags = 1 << iota
	// GSO: the frame is larger than the link's MTU and will be cut on its way out.
	GSO
	// Truncated: Data is shorter than the frame was (Wire).
	Truncated
	// VLANStripped: an 802.1Q or 802.1ad tag was taken out of Data; it is in VLAN.
	VLANStripped
	// Injected: the frame was made by the engine.
	Injected
)

// Action is what becomes of a frame.
type Action uint8

// Actions. Undecided follows the endpoint's fail mode, it never slips through.
const (
	Undecided Action = iota
	Pass
	Drop
	// Hold: it does not go on now; the engine keeps a copy, and will send it or not. To a
	// backend that cannot keep the frame itself it is Drop.
	Hold
)

// String is "undecided", "pass", "drop" or "hold".
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

// Verdict is what the engine decided about a frame.
type Verdict struct {
	Action Action
	// Mark is the generation under which the flow of a frame that passes is decided for good, to
	// queues that such flows can leave (backend.Offloader); 0 is none.
	Mark uint32
}

// LinkType says how Data begins.
type LinkType uint8

// Link types. Live backends deliver Ethernet or, from NFQUEUE, raw IP;
// capture files bring the others, which backends/pcapfile strips down to these two.
const (
	Ethernet LinkType = iota
	RawIP
)

// VNet is struct virtio_net_hdr (linux/virtio_net.h), the offload metadata that
// travels with a frame through PACKET_VNET_HDR: little endian on every
// machine that we support, kept as it came.
type VNet [10]byte

// Frame is one frame of a batch.
type Frame struct {
	// Data is borrowed from the queue until that queue's next Settle.
	Data []byte
	// Stamp is the receive time, ns since the epoch.
	Stamp int64
	// Slot is the backend's handle, opaque to everyone else.
	Slot uint64
	// Wire is the frame's length on the wire, of which Data may be a part.
	Wire uint32
	// Endpoint is the number of the endpoint that the frame belongs to.
	Endpoint uint32
	// VLAN is the tag control information where VLANStripped is set, and VLANProto
	// its tag protocol (0x8100, 0x88a8).
	VLAN, VLANProto uint16
	// VNet is the offload metadata of inline frames.
	VNet  VNet
	Dir   Direction
	Flags Flags
	Link  LinkType
	// Verdict is set by the engine before Settle.
	Verdict Verdict
}

// Batch is the frames of one Recv. A Batch belongs to one worker and is
// used again and again; a Queue fills Frames[:N].
type Batch struct {
	Frames []Frame
	N      int
}

// NewBatch makes a batch of at most n frames.
func NewBatch(n int) *Batch { return &Batch{Frames: make([]Frame, n)} }

// Reset empties the batch. Verdicts of the frames are forgotten when a Queue
// fills them again, which it must do with Add.
func (b *Batch) Reset() { b.N = 0 }

// Full says whether no frame can be added.
func (b *Batch) Full() bool { return b.N == len(b.Frames) }

// Add gives the next frame, cleared, to be filled in; nil when the batch is full.
func (b *Batch) Add() *Frame {
	if b.N == len(b.Frames) {
		return nil
	}
	f := &b.Frames[b.N]
	b.N++
	*f = Frame{}
	return f
}

// All is the frames that were added.
func (b *Batch) All() []Frame { return b.Frames[:b.N] }
