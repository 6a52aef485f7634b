// Package nfqueue enforces on packets inside of a workload's network namespace through
// netfilter queues: where an interface cannot be steered by programs, and on lo, between an application
// and its sidecar. Its rules stand in a table of its own, placed and removed by netlink. It attaches what
// it is told to; which workloads those are is decided elsewhere, and so is what a packet means.
package nfqueue

import (
	"errors"
	"math/bits"
	"time"
)

// Config tunes the queues. The zero value is what production uses.
type Config struct {
	// Queues is how many kernel queues an endpoint has, a power of 2, each with a worker of its own.
	// Flows are spread by the address of their other end, so that everything of one, its fragments
	// and the errors about it too, comes to the same. 0 is 1. A queue on lo is always alone.
	Queues int
	// Buffer is what the kernel may keep for one queue, in bytes; 0 is 32 MiB. What
	// does not fit follows the fail mode and is counted.
	Buffer int
	// MaxHeld bounds the packets of one queue that wait in the kernel for a
	// later verdict (packet.Hold); 0 is 1024. What is above is dropped, and TCP sends it again.
	MaxHeld int
	// Marks lets flows leave the queue whose verdict carries a mark (packet.Verdict.Mark). It
	// switches connection tracking on in the workload's namespace, and its counters. Where
	// these cannot be had, nothing leaves.
	Marks bool
	// Expression is how rules say queue.
	Expression Expression
}

// Expression is the way in which a rule hands packets over.
type Expression uint8

// Expressions.
const (
	// ExprAuto takes the kernel's own expression where it has it, else the target of xtables.
	ExprAuto Expression = iota
	ExprNative
	ExprTarget
)

// String is "auto", "native" or "target".
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
	// ErrEndpoint says that the endpoint's description cannot be used.
	ErrEndpoint = errors.New("endpoint cannot be attached")
	// ErrClosed says that the backend has been closed.
	ErrClosed = errors.New("backend is closed")
	// ErrNoQueue says that other programs have all of our queue numbers in the namespace.
	ErrNoQueue = errors.New("no free queue number")
)

const (
	maxQueues     = 16
	defaultBuffer = 32 << 20
	defaultHeld   = 1024
	firstQueue    = 0x5100 // of the numbers that are tried
	lastQueue     = 0x5fff
	batch         = 64 // packets of one system call
	// copyRange is what is copied of a packet: its headers and as many bytes as identification reads of one
	// direction (core/detect: 16 KiB). What a larger one has behind them nobody looks at.
	copyRange      = 16<<10 + 512
	slotSize       = 18 << 10 // one message: that, and its attributes
	idleTick       = time.Second
	linger         = 50 * time.Millisecond // for packets that were on their way when the rules went
	lastHeld       = 500 * time.Millisecond
	closePoll      = 5 * time.Millisecond
	tableName      = "sluice"
	statusDNAT     = 1 << 5 // IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h)
	priorityBefore = -150   // NF_IP_PRI_MANGLE: before destination and source NAT
	priorityAfter  = 150    // after NF_IP_PRI_NAT_SRC
)

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	c.Queues = 1 << (bits.Len(uint(min(max(c.Queues, 1), maxQueues))) - 1)
	if c.Buffer <= 0 {
		c.Buffer = defaultBuffer
	}
	if c.MaxHeld <= 0 {
		c.MaxHeld = defaultHeld
	}
	return c
}
