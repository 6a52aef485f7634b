// Package backend is the contract between the engine and the methods of capturing and
// enforcing frames: AF_PACKET rings, NFQUEUE, capture files. It holds no implementation;
// backends/backendtest is the conformance suite of all of them.
package backend

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/sluicenet/sluice/core/packet"
)

// Kind is how an endpoint is attached.
type Kind uint8

// Kinds. The zero value is not a kind.
const (
	NoKind Kind = iota
	// Tap receives copies; verdicts have no effect.
	Tap
	// Inline receives the frames themselves; those it does not pass are lost.
	Inline
)

// String returns "tap", "inline" or "none".
func (k Kind) String() string {
	switch k {
	case Tap:
		return "tap"
	case Inline:
		return "inline"
	}
	return "none"
}

// FailMode is how frames without a verdict are handled.
type FailMode uint8

// Fail modes; open is the default.
const (
	FailOpen FailMode = iota
	FailClosed
)

// Side is where an inline endpoint's frames are steered.
type Side uint8

// Sides.
const (
	// HostSide: on the host's end of the workload's veth, outside of the workload.
	HostSide Side = iota
	// OwnSide: on the workload's own interface, where there is no host end to hook.
	OwnSide
	// StackSide: in the workload's network stack, by netfilter, for the packets of its
	// interface and of all interfaces of the namespace that have no attachment, but lo.
	StackSide
	// LoopbackSide: in the workload's network stack, on lo between an application and its
	// sidecar. Egress is what the application sends.
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

// Endpoint is one interface of one workload, as a backend needs it.
type Endpoint struct {
	// ID is the engine's number of the endpoint, unique on the node, 1 to MaxID.
	ID   uint32
	Kind Kind
	// NetNS is the path of the workload's network namespace; empty is the namespace of the
	// process.
	NetNS string
	// Interface is the interface's name inside NetNS, Index its number there.
	Interface string
	Index     int
	MAC       [6]byte
	// Hook is where frames are steered; only for Inline.
	Hook Hook
	Fail FailMode
	// Others are the numbers of the interfaces in NetNS whose packets other attachments judge.
	// Only for StackSide, which takes those of all the rest. Sorted. Not to be changed.
	Others []int
	// Further are the numbers of the workload's interfaces that have no attachment of their own
	// because this one takes their packets. Only for StackSide. Sorted. Not to be changed.
	Further []int
}

// MaxID is the largest number of an endpoint. Backends use larger ones of 24 bits.
const MaxID = 1<<23 - 1

// SameAttachment reports whether o is attached exactly as ep is, whatever its MAC address. On the
// host's side the interface's name inside of the workload is irrelevant; in its network stack the
// interface is, because an attachment there is one of the namespace.
func (ep *Endpoint) SameAttachment(o *Endpoint) bool {
	if ep.ID != o.ID || ep.Kind != o.Kind || ep.NetNS != o.NetNS || ep.Fail != o.Fail {
		return false
	}
	if ep.Kind == Inline && ep.Hook.Side == StackSide {
		return o.Hook.Side == StackSide && ep.Hook.NetNS == o.Hook.NetNS
	}
	named := ep.Interface == o.Interface || ep.Kind == Inline && ep.Hook.Side == HostSide
	return named && ep.Index == o.Index && ep.Hook == o.Hook
}

// SameInterface reports whether what Readdresser replaces is the same in both.
func (ep *Endpoint) SameInterface(o *Endpoint) bool {
	return ep.MAC == o.MAC && ep.Interface == o.Interface && ep.Index == o.Index && slices.Equal(ep.Others, o.Others) && slices.Equal(ep.Further, o.Further)
}

// Datapath returns the name of the datapath: "tap", "inline" (packet rings), or "nfqueue".
func (ep *Endpoint) Datapath() string {
	if ep.Kind == Inline && (ep.Hook.Side == StackSide || ep.Hook.Side == LoopbackSide) {
		return "nfqueue"
	}
	return ep.Kind.String()
}

// Shared reports whether other endpoints use the endpoint's queues too, as with a service
// port.
func (ep *Endpoint) Shared() bool { return ep.Datapath() == Inline.String() }

// Backend attaches endpoints. On error nothing is left attached.
type Backend interface {
	// Attach prepares everything; no frame arrives before Attachment.Activate.
	Attach(ctx context.Context, ep Endpoint) (Attachment, error)
	// Close detaches everything and restores every workload.
	io.Closer
}

// Attachment is one attached endpoint. Close detaches it and restores the workload; frames
// already in a queue can still be received.
type Attachment interface {
	// Queues lists the queues through which the endpoint's frames arrive. A tap has its own;
	// those of the service port are shared by all its inline endpoints, so the engine runs one
	// worker for each new Queue. Each frame has its Endpoint. A shared queue ends (io.EOF) after
	// its last endpoint was closed.
	Queues() []Queue
	// Activate starts the flow of frames. Between Attach and Activate the engine hands the
	// endpoint's sessions over to the workers of its new queues.
	Activate() error
	io.Closer
}

// Readdresser is an attachment whose interface may change while it is attached. An endpoint of
// any other attachment whose MAC address changes is attached again.
type Readdresser interface {
	// Readdress replaces MAC, the name of the interface, for StackSide also its number, Others
	// and Further; ep is the same attachment otherwise. After an error the previous values stay. It
	// may be called from any goroutine.
	Readdress(ep Endpoint) error
}

// Spreader is an attachment that distributes the flows of its endpoint over several queues.
// It may be called from any goroutine.
type Spreader interface {
	// Place returns the index in Queues of the queue with the frames of a flow, by the address
	// of its other end.
	Place(peer packet.Addr) int
}

// Queue is a source of frames. One worker drives it; only Wake and Close may be called from
// other goroutines.
type Queue interface {
	// Recv fills the batch: it blocks for a frame, Wake, or a tick of at most one
	// second (an empty batch and nil). io.EOF after Close.
	Recv(b *packet.Batch) error
	// Settle applies the verdicts and returns the memory; once per Recv.
	Settle(b *packet.Batch) error
	// Wake makes a blocked Recv return at once; it may be called from any goroutine.
	Wake()
	io.Closer
}

// Sender sends frames built by the engine, or held ones, in direction f.Dir (Egress: out of
// the workload, Ingress: into it) on f.Endpoint. Data is Ethernet with the workload's real
// addresses, or what Recv returned. The frame is copied before Send returns. Queues that can
// send implement it; the worker that drives the queue calls it.
type Sender interface {
	Send(f *packet.Frame) error
}

// Holder is a queue that can keep frames whose verdict is packet.Hold in place, so that they
// need not be rebuilt: Send of a held frame forwards it, Discard drops it. The worker that
// drives the queue calls it.
type Holder interface {
	Sender
	// Discard drops a held frame, identified by its Slot.
	Discard(f *packet.Frame)
}

// Limited is a Holder with a bound: frames held beyond it are dropped.
type Limited interface {
	// MaxHeld returns the largest number of frames held at a time.
	MaxHeld() int
}

// Origin is a queue of packets whose destination was rewritten earlier (a redirect to a
// sidecar). Original returns the original destination of a frame's connection; f is of either
// direction. ok is false where it is unknown, or not known yet: the first packet of a
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
	Full     uint64 // frames lost because too many already waited for a verdict
	Bypassed uint64 // frames passed unjudged because there was no room, by fail mode
}

// Add adds the counters of another queue.
func (s *Stats) Add(o Stats) {
	s.Received += o.Received
	s.Dropped += o.Dropped
	s.Sent += o.Sent
	s.SendDrop += o.SendDrop
	s.Oversize += o.Oversize
	s.Full += o.Full
	s.Bypassed += o.Bypassed
}

// Counter is implemented by queues with Stats. It may be called from any goroutine.
type Counter interface{ Stats() Stats }

// Gauge is implemented by queues with a known fill level. It may be called from any
// goroutine, and costs the worker that drives the queue next to nothing.
type Gauge interface {
	Depth() Depth
}

// Depth is the fill level of a queue; both fields are estimates.
type Depth struct {
	Waiting uint64  // frames in the kernel that wait for the worker, or for its verdict
	Fill    float64 // fraction of the room in use, 0 to 1
}

// ErrUnsupported reports that the kernel lacks a required feature.
var ErrUnsupported = errors.New("not supported by this kernel")
