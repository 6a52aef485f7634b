package backend

import "github.com/sluicenet/sluice/core/packet"

// FlowKey names a flow as its frames show it.
type FlowKey struct {
	Endpoint               uint32
	Client, Server         packet.Addr
	ClientPort, ServerPort uint16
	Proto                  uint8
	IPv6                   bool
}

// FlowCount is what the kernel counted of a flow, whether or not its frames came to the queue: from
// the client to the server, and back.
type FlowCount struct {
	Packets, Bytes [2]uint64
	// Over: its connection has ended, as far as the kernel saw.
	Over bool
}

// Offloader is a queue whose flows may go on without it once they are decided. What begins and ends
// a connection comes to the queue all the same, and so does everything that the kernel
// cannot assign to the flow with certainty. The worker that drives the queue calls it; each call may take some
// ten microseconds: per flow, not per frame.
type Offloader interface {
	// Offload says whether the flow may leave, and what was counted of it until now; false where
	// the kernel would lose count of it. Each of its frames that then passes with
	// the present generation as Verdict.Mark takes the flow out of the queue.
	Offload(k *FlowKey) (FlowCount, bool)
	// Drain says what was counted of a flow that left. ok is false when the kernel knows it no
	// more: then what may come of it comes to the queue.
	Drain(k *FlowKey) (c FlowCount, ok bool)
	// Return takes one flow back into the queue.
	Return(k *FlowKey)
}

// Recaller is an attachment with queues that are Offloaders. It may be called from any goroutine.
type Recaller interface {
	// Recall makes generation the present one, not 0: flows that left with another come back to
	// their queues, all of them before it returns.
	Recall(generation uint32) error
	// Stays says why no flow can leave; "" where they can.
	Stays() string
}
