// Package afpacket captures and enforces through AF_PACKET rings. A tap is a TPACKET_V3 ring
// on the workload's own interface and changes nothing there. An inline endpoint's frames are
// steered by BPF programs on its hook to a service port, a veth pair, where a TPACKET_V2 ring
// delivers them to the engine and a TX ring sends those that pass. The caller decides which
// interfaces are attached; the package does not interpret frames.
package afpacket

import (
	"errors"
	"time"
)

// Config tunes the rings. The zero value is the production configuration, except for
// PortLinger.
type Config struct {
	// TapRing is the size of a tap's ring in bytes; 0 is 1 MiB. It is rounded up to whole
	// blocks, at least two.
	TapRing int
	// TapBusyRing is the size of the ring that replaces a tap's own once a quarter of it is
	// unread, until the tap has been idle for half a minute; 0 is 4 MiB where TapRing is 0, too,
	// and else TapRing, which disables the replacement.
	TapBusyRing int
	// TapSnap is how much of a frame a tap copies, in bytes, at most 128 KiB; 0 is all of it up
	// to 8 KiB and the first 512 bytes of a longer one, which is bulk data in the middle of a
	// stream. Frame.Wire is the real length.
	TapSnap int
	tapBulk int // of frames that are longer than TapSnap
	// TapRetire is how long a tap's frames may wait in a block that is not full; 0 is
	// 30 ms. The kernel runs a timer of this period for every tap, idle or not.
	TapRetire time.Duration
	// RxSmall and RxLarge are the frames that a service port buffers for its worker: small ones
	// of 2 KiB, in steps of 496, and large ones of 68 KiB, in steps of fifteen. TxSlots is the
	// number of small ones it buffers for sending. 0 is the default.
	RxSmall, RxLarge, TxSlots int
	// FirstPackets bounds the packets a second that begin something, for each inline interface and
	// direction: SYNs, and packets of flows of which none was passed yet. Those that are answered do
	// not count. One sender may have a quarter. What is beyond is dropped before the ring. 0 is
	// 10,000; less than 0: no bound.
	FirstPackets int
	// HeartbeatLimit is how long the worker of a service port may be silent
	// before its frames follow the fail mode of their endpoint; 0 is 500 ms.
	HeartbeatLimit time.Duration
	// PortLinger is how long a service port remains after its last endpoint was detached, so
	// that mode changes back and forth do not recreate it; 0 removes it at once.
	PortLinger time.Duration
	// Steering is how BPF programs are attached.
	Steering Steering
}

// Steering is the method of attaching BPF programs to interfaces.
type Steering uint8

// Methods of steering. TCX links end with their process; clsact filters remain when it is
// killed, and then follow the fail mode because there is no heartbeat.
const (
	// SteerAuto uses tcx where the kernel has it, else clsact.
	SteerAuto Steering = iota
	SteerTCX
	SteerClsact
)

// String returns "auto", "tcx" or "clsact".
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
	defaultFirst       = 10_000
	defaultHeartbeat   = 500 * time.Millisecond
)

// withDefaults replaces zero fields by their defaults.
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
	if c.FirstPackets == 0 {
		c.FirstPackets = defaultFirst
	}
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
	// ErrEndpoint reports that the endpoint's description is invalid.
	ErrEndpoint = errors.New("endpoint cannot be attached")
	// ErrPortInUse reports that another process has a service port in the hook's namespace.
	ErrPortInUse = errors.New("service port is in use by another process")
	// ErrClosed reports that the backend has been closed.
	ErrClosed = errors.New("backend is closed")
)

// Idle ticks of a queue: how long Recv waits for a frame before it returns an empty batch.
const (
	tick = 100 * time.Millisecond
	// A tap without frames for idleAfter ticks waits longer, so that hundreds of idle ones cost
	// nothing.
	idleTick  = time.Second
	idleAfter = 10
)
