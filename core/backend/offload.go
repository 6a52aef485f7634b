package backend

import "github.com/sluicenet/sluice/core/packet"

// FlowKey identifies a flow as its frames show it.
type FlowKey struct {
	Endpoint               uint32
	Client, Server         packet.Addr
	ClientPort, ServerPort uint16
	Proto                  uint8
	IPv6                   bool
}

// FlowCount is the kernel's count of a flow, including frames that did not reach the queue:
// from client to server, and back.
type FlowCount struct {
	Packets, Bytes [2]uint64
	// Over: its connection has ended, as seen by the kernel.
	Over bool
}

// Offloader is a queue whose decided flows can be offloaded. Frames that begin or end a
// connection still reach the queue, and so does everything that the kernel cannot assign to
// the flow with certainty. The worker that drives the queue calls it; each call may take some
// ten microseconds: per flow, not per frame.
type Offloader interface {
	// Offload reports whether the flow can be offloaded, and returns its counts so far; false
	// where the kernel would lose its count. Each of its frames that then passes with the
	// present generation as Verdict.Mark offloads the flow.
	Offload(k *FlowKey) (FlowCount, bool)
	// Drain returns the counts of an offloaded flow. ok is false when the kernel no longer has
	// it: its later frames then reach the queue.
	Drain(k *FlowKey) (c FlowCount, ok bool)
	// Return ends the offload of one flow.
	Return(k *FlowKey)
}

// Recaller is an attachment with queues that are Offloaders. It may be called from any
// goroutine.
type Recaller interface {
	// Recall makes generation, which is not 0, the present one: flows offloaded with another
	// return to their queues, all of them before it returns.
	Recall(generation uint32) error
	// Stays returns the reason why no flow can be offloaded; "" where they can.
	Stays() string
}
