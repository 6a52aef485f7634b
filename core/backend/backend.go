// Package backend is the contract between the engine and the ways frames are
// captured and enforced: AF_PACKET rings, NFQUEUE, capture files. It holds no
// implementation; backends/backendtest is the suite that each one passes.
package backend

import (
	"context"
	"errors"
	"io"

	"github.com/sluicenet/sluice/core/packet"
)

// Kind is the way an endpoint is attached.
type Kind uint8

// Kinds. The zero value is not a kind.
const (
	NoKind Kind = iota
	// Tap sees copies; verdicts have no effect.
	Tap
	// Inline sees the frames themselves; what it does not pass is gone.
	Inline
)

// String is "tap", "inline" or "none".
func (k Kind) String() string {
	switch k {
	case Tap:
		return "tap"
	case Inline:
		return "inline"
	}
	return "none"
}

// FailMode says what becomes of frames that nobody judged.
type FailMode uint8

// Fail modes; open is the default.
const (
	FailOpen FailMode = iota
	FailClosed
)

// Side says where an inline endpoint's frames are steered.
type Side uint8

// Sides.
const (
	// HostSide: on the other end of the workload's veth, outside of the workload.
	HostSide Side = iota
	// OwnSide: on the workload's own interface, where there is no other end to hook.
	OwnSide
	// StackSide: in the workload's network stack, by netfilter, where its interface's packets pass.
	StackSide
	// LoopbackSide: in the workload's network stack, on what goes over lo between an
	// application and its sidecar. Egress is what the application sends.
	LoopbackSide
)

// Hook is where an inline endpoint is steered. NetNS is a path
// (/run/netns/x, /proc/N/ns/net); empty is the namespace of the process.
type Hook struct {
	NetNS     string
	Interface string
	Index     int
	Side      Side
}

// Endpoint is one interface of one workload, as a backend needs to know it.
type Endpoint struct {
	// ID is the engine's number of the endpoint, unique on the node, 1 to 2^24-1.
	ID   uint32
	Kind Kind
	// NetNS is the path of the workload's network namespace; empty is our own.
	NetNS string
	// Interface is the interface's name inside NetNS, Index its number there.
	Interface string
	Index     int
	MAC       [6]byte
	// Hook is where frames are steered; only for Inline.
	Hook Hook
	Fail FailMode
}

// Way is how the endpoint is attached, in a word: "tap", "inline" by packet rings, or "nfqueue".
func (ep *Endpoint) Way() string {
	if ep.Kind == Inline && (ep.Hook.Side == StackSide || ep.Hook.Side == LoopbackSide) {
		return "nfqueue"
	}
	return ep.Kind.String()
}

// Shared says whether the endpoint's queues are those of others, too: a service port's are.
func (ep *Endpoint) Shared() bool { return ep.Way() == Inline.String() }

// Backend attaches endpoints. On error nothing is left attached.
type Backend interface {
	// Attach prepares everything; no frame comes before Attachment.Activate.
	Attach(ctx context.Context, ep Endpoint) (Attachment, error)
	// Close detaches everything and leaves every workload as it was.
	io.Closer
}

// Attachment is one attached endpoint. Close detaches it, leaving the workload
// as it was; frames already in a queue can still be received.
type Attachment interface {
	// Queues lists the queues that the endpoint's frames come through. A tap brings
	// its own; the service port's are shared by all inline endpoints behind it, so the
	// engine runs one worker for each Queue it has not met yet. Each frame says its
	// Endpoint. A shared queue ends (io.EOF) after its last endpoint was closed.
	Queues() []Queue
	// Activate lets frames flow. Between Attach and Activate the engine hands the
	// endpoint's sessions over to the workers of its new queues.
	Activate() error
	io.Closer
}

// Spreader is an attachment that spreads the flows of its endpoint over several queues. It may be called from
// any goroutine.
type Spreader interface {
	// Place says which of Queues has the frames of a flow, by the address of its other end.
	Place(peer packet.Addr) int
}

// Queue is a source of frames. One worker drives it; only Wake and
// Close may be called from elsewhere.
type Queue interface {
	// Recv fills the batch: it blocks for a frame, Wake, or a tick of at most one
	// second (an empty batch and nil). io.EOF after Close.
	Recv(b *packet.Batch) error
	// Settle carries verdicts out and takes the memory back; once per Recv.
	Settle(b *packet.Batch) error
	// Wake makes a blocked Recv return at once; it may be called from anywhere.
	Wake()
	io.Closer
}

// Sender sends frames of the engine's own, or held ones, towards where f.Dir says
// (Egress: out of the workload, Ingress: into it) on f.Endpoint. Data is
// Ethernet with the workload's real addresses, or what Recv gave. The frame is copied
// before Send returns. Queues that can send implement it; the worker that
// drives the queue calls it.
type Sender interface {
	Send(f *packet.Frame) error
}

// Holder is a queue that can keep frames whose verdict is packet.Hold where they are,
// so that they need not be made again: Send of a held frame lets it go on, Discard drops it.
// The worker that drives the queue calls it.
type Holder interface {
	Sender
	// Discard drops a frame that was held. Its Slot says which.
	Discard(f *packet.Frame)
}

// Origin is a queue of packets whose destination was rewritten before they came here (a redirect to
// a sidecar). Original says where a frame's connection was really bound for; f is of
// either direction. ok is false where that is not known, or not yet: the first packet of a
// connection is too early. It may take a fraction of a millisecond: once per connection. The
// worker that drives the queue calls it.
type Origin interface {
	Original(f *packet.Frame, p *packet.Packet) (addr packet.Addr, port uint16, ok bool)
}

// Stats are a queue's counters since it was opened.
type Stats struct {
	Received uint64 // frames delivered to Recv
	Dropped  uint64 // frames the kernel lost because the ring was full
	Sent     uint64 // frames passed on
	SendDrop uint64 // frames that could not be passed on
	Oversize uint64 // frames too large for a slot
	Full     uint64 // frames lost because too many waited for a verdict already
	Bypassed uint64 // frames that went on unjudged for want of room, as the fail mode says
}

// Add adds another queue's.
func (s *Stats) Add(o Stats) {
	s.Received += o.Received
	s.Dropped += o.Dropped
	s.Sent += o.Sent
	s.SendDrop += o.SendDrop
	s.Oversize += o.Oversize
	s.Full += o.Full
	s.Bypassed += o.Bypassed
}

// Counter is implemented by queues that keep Stats. It may be called from anywhere.
type Counter interface{ Stats() Stats }

// Gauge is implemented by queues that know how full they are. It may be called from anywhere, and
// costs whoever drives the queue next to nothing.
type Gauge interface {
	Depth() Depth
}

// Depth is how full a queue is; both are estimates.
type Depth struct {
	Waiting uint64  // frames that the kernel has for the worker, or that wait for its verdict
	Fill    float64 // how much of the room is taken, 0 to 1
}

// ErrUnsupported says that this kernel cannot do what was asked.
var ErrUnsupported = errors.New("not supported by this kernel")
