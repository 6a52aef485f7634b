package afpacket

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pulse is what a queue reports to the steering programs: that its worker runs, and how full its rings are. It is struct
// pulse of the control map.
type pulse struct {
	control []byte // the mapped map
	clock   monotonic
	out     uint64 // frames returned; the worker's

	beaten    atomic.Int64 // last heartbeat, ns since clock.at
	suspended atomic.Bool  // the port is unusable for now: the fail mode applies
}

// open maps the control map and sets the limits for the programs.
func (p *pulse) open(control mapped, cfg Config, room int) (err error) {
	if p.control, err = unix.Mmap(control.FD(), 0, unix.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	storeU64(p.control, pulseLimit, uint64(cfg.HeartbeatLimit))
	storeU64(p.control, pulseRoom, uint64(room))
	return nil
}

func (p *pulse) close() {
	if p.control != nil {
		_ = unix.Munmap(p.control)
		p.control = nil
	}
}

// beat writes the heartbeat for the steering programs. Only the worker and Activate call it:
// a hung worker must be detected, so no ticker does.
func (p *pulse) beat() {
	now := time.Since(p.clock.at)
	p.beaten.Store(int64(now))
	storeU64(p.control, pulseBeat, p.clock.base+uint64(now))
	if p.suspended.Load() { // after the store: suspend stores in the other order
		storeU64(p.control, pulseBeat, 0)
	}
}

// active reports whether a worker ran recently.
func (p *pulse) active() bool {
	last := p.beaten.Load()
	return last != 0 && time.Since(p.clock.at)-time.Duration(last) < 2*tick
}
