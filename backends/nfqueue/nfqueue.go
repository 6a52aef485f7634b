// Package nfqueue enforces on packets inside of a workload's network namespace through
// netfilter queues: where an interface cannot be steered by BPF programs, and on lo, between
// an application and its sidecar. Its rules are in a table of their own, added and removed by
// netlink. The caller decides which workloads are attached; the package does not interpret
// packets.
package nfqueue

import (
	"errors"
	"math/bits"
	"time"
)

// Config tunes the queues. The zero value is the production configuration.
type Config struct {
	// Queues is the number of kernel queues of an endpoint, a power of 2, each with its own
	// worker. Flows are spread by the address of their other end, so that all packets of one,
	// including its fragments and the errors about it, reach the same queue. 0 is 1. There is
	// always a single queue on lo.
	Queues int
	// Buffer is the kernel's buffer for one queue, in bytes; 0 is 32 MiB. Packets that do not
	// fit follow the fail mode and are counted.
	Buffer int
	// MaxHeld bounds the packets of one queue that wait in the kernel for a later verdict
	// (packet.Hold); 0 is 8192. Packets above it are dropped, and TCP retransmits them.
	MaxHeld int
	// Marks enables offloading of flows whose verdict carries a mark (packet.Verdict.Mark). It
	// switches on connection tracking in the workload's namespace, and its counters. Where these
	// are unavailable, no flow is offloaded.
	Marks bool
	// HeartbeatLimit is how long a process may be stopped before packets follow the fail mode of
	// their endpoint; 0 is 500 ms. A worker that is stuck is noticed after half as long again.
	HeartbeatLimit time.Duration
	// Expression is the queue statement of the rules.
	Expression Expression
}

// Expression is the method by which a rule queues packets.
type Expression uint8

// Expressions.
const (
	// ExprAuto uses the kernel's own expression where it has it, else the target of xtables.
	ExprAuto Expression = iota
	ExprNative
	ExprTarget
)

// String returns "auto", "native" or "target".
func (e Expression) String() string {
	switch e {
	case ExprNative:
		return "native"
	case ExprTarget:
		return "target"
	}
	return "auto"
}

// Errors of Attach.
var (
	// ErrEndpoint reports that the endpoint's description is invalid.
	ErrEndpoint = errors.New("endpoint cannot be attached")
	// ErrClosed reports that the backend has been closed.
	ErrClosed = errors.New("backend is closed")
	// ErrNoQueue reports that other programs use all the queue numbers in the namespace.
	ErrNoQueue = errors.New("no free queue number")
)

const (
	maxQueues        = 16
	defaultBuffer    = 32 << 20
	defaultHeartbeat = 500 * time.Millisecond
	defaultHeld      = 8192
	firstQueue       = 0x5100 // first of the numbers that are tried
	lastQueue        = 0x5fff
	batch            = 64 // packets per system call
	// copyRange is the copied part of a packet: its headers and as many bytes as identification
	// reads of one direction (core/detect: 16 KiB). The rest of a larger one is not read.
	copyRange      = 16<<10 + 512
	slotSize       = 18 << 10 // one message: copyRange and its attributes
	idleTick       = time.Second
	linger         = 50 * time.Millisecond // for packets on their way when the rules were removed
	lastHeld       = 500 * time.Millisecond
	closePoll      = 5 * time.Millisecond
	tableName      = "sluice"
	statusDNAT     = 1 << 5 // IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h)
	priorityBefore = -150   // NF_IP_PRI_MANGLE: before destination and source NAT
	priorityAfter  = 150    // after NF_IP_PRI_NAT_SRC
)

// withDefaults replaces zero fields by their defaults.
func (c Config) withDefaults() Config {
	c.Queues = 1 << (bits.Len(uint(min(max(c.Queues, 1), maxQueues))) - 1)
	if c.Buffer <= 0 {
		c.Buffer = defaultBuffer
	}
	if c.HeartbeatLimit <= 0 {
		c.HeartbeatLimit = defaultHeartbeat
	}
	if c.MaxHeld <= 0 {
		c.MaxHeld = defaultHeld
	}
	return c
}
