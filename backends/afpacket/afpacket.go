// Package afpacket captures and enforces through AF_PACKET rings. A tap is a
// TPACKET_V3 ring on the workload's own interface and changes nothing there. An
// inline endpoint's frames are steered by BPF programs on its hook to a service
// port, a veth pair of ours, where a TPACKET_V2 ring hands them to the engine and a
// TX ring takes back what passes. The package attaches what it is told to; which
// interfaces those are and what their frames mean is decided elsewhere.
package afpacket

import (
	"errors"
	"time"
)

// Config tunes the rings. The zero value is what production uses, but for PortLinger.
type Config struct {
	// TapRing is the size of a tap's ring in bytes; 0 is 1 MiB. It is rounded up to
	// whole blocks, and two at least.
	TapRing int
	// TapBusyRing is the size of the ring that a tap gets instead once a quarter of its own waits to
	// be read, until nothing has come for half a minute; 0 is 4 MiB where TapRing is 0, too,
	// and else as TapRing, which is no other ring.
	TapBusyRing int
	// TapSnap is how much of a frame a tap copies, in bytes, at most 128 KiB; 0 is all of
	// it up to 8 KiB and the first 512 bytes of a longer one, which is bulk data in
	// the middle of a stream. Frame.Wire keeps the real length.
	TapSnap int
	tapBulk int // of frames that are longer than TapSnap
	// TapRetire is how long a tap's frames may wait in a block that is not full; 0 is
	// 30 ms. The kernel runs a timer of this period for every tap, idle or not.
	TapRetire time.Duration
	// RxSmall and RxLarge are the frames that a service port holds until its worker comes:
	// small ones of 2 KiB, by 496, and large ones of 68 KiB, by fifteen. TxSlots are
	// the small ones that it holds until they are sent. 0 is the default.
	RxSmall, RxLarge, TxSlots int
	// HeartbeatLimit is how long the worker of a service port may be silent
	// before its frames follow the fail mode of their endpoint; 0 is 500 ms.
	HeartbeatLimit time.Duration
	// PortLinger is how long a service port stays when nothing is attached to it any more,
	// so that changing modes to and fro does not make it anew; 0 removes it at once.
	PortLinger time.Duration
	// Steering is how programs are attached.
	Steering Steering
}

// Steering is the way in which BPF programs are attached to interfaces.
type Steering uint8

// Ways of steering. TCX links vanish with their process; clsact filters stay behind
// when it is killed and then follow the fail mode for want of a heartbeat.
const (
	// SteerAuto takes tcx where the kernel has it, else clsact.
	SteerAuto Steering = iota
	SteerTCX
	SteerClsact
)

// String is "auto", "tcx" or "clsact".
func (s Steering) String() string {
	switch s {
	case SteerTCX:
		return "tcx"
	case SteerClsact:
		return "clsact"
	}
	return "auto"
}

// Defaults of Config.
const (
	defaultTapRing     = 1 << 20
	defaultTapBusyRing = 4 << 20
	defaultTapSnap     = 8 << 10
	defaultTapBulk     = 512
	maxTapSnap         = 128 << 10
	defaultTapRetire   = 30 * time.Millisecond
	defaultRxSmall     = 8 * 496
	defaultRxLarge     = 16 * 15
	defaultTxSlots     = 496
	defaultHeartbeat   = 500 * time.Millisecond
)

// withDefaults fills in what is zero.
func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	if c.TapRing <= 0 {
		def(&c.TapBusyRing, defaultTapBusyRing)
	}
	def(&c.TapRing, defaultTapRing)
	if c.tapBulk = c.TapSnap; c.TapSnap <= 0 {
		c.TapSnap, c.tapBulk = defaultTapSnap, defaultTapBulk
	}
	def(&c.RxSmall, defaultRxSmall)
	def(&c.RxLarge, defaultRxLarge)
	def(&c.TxSlots, defaultTxSlots)
	c.TapSnap, c.tapBulk = min(c.TapSnap, maxTapSnap), min(c.tapBulk, maxTapSnap)
	if c.TapRetire <= 0 {
		c.TapRetire = defaultTapRetire
	}
	if c.HeartbeatLimit <= 0 {
		c.HeartbeatLimit = defaultHeartbeat
	}
	return c
}

// Errors of Attach.
var (
	// ErrEndpoint says that the endpoint's description cannot be used.
	ErrEndpoint = errors.New("endpoint cannot be attached")
	// ErrPortInUse says that another process has a service port in the hook's namespace.
	ErrPortInUse = errors.New("service port is in use by another process")
	// ErrClosed says that the backend has been closed.
	ErrClosed = errors.New("backend is closed")
)

// Idle ticks of a queue: what Recv waits for a frame before it returns empty.
const (
	tick = 100 * time.Millisecond
	// A tap that saw nothing for idleAfter ticks waits longer, so that
	// hundreds of them cost nothing.
	idleTick  = time.Second
	idleAfter = 10
)
