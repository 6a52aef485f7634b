package engine

import (
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
)

// Tolerances of a clock: what the wall clock and the monotonic one may differ between two readings. adjtime(3)
// changes the rate by 500 ppm; a reading of both may be interrupted.
const (
	clockJitter = int64(10 * time.Millisecond)
	clockRate   = 500 // one part of the time between readings: 2,000 ppm
)

// anchorEvery is how long a reading is the reference of later ones.
const anchorEvery = int64(time.Second)

// clock is the wall clock without its steps: every deadline is a time of it. Backends stamp frames by the wall
// clock, and records are reported by it; both differ from this clock by its step.
type clock struct {
	read   func() (wall, mono int64) // ns
	anchor atomic.Pointer[anchor]
}

// anchor is one reading. It is not changed.
type anchor struct {
	wall, mono int64
	step       int64 // sum of all steps of the wall clock, ns
}

// newClock returns the clock of two others; nil are those of the machine.
func newClock(read func() (wall, mono int64)) *clock {
	if read == nil {
		start := time.Now()
		read = func() (wall, mono int64) {
			t := time.Now()
			return t.UnixNano(), int64(t.Sub(start))
		}
	}
	c := &clock{read: read}
	wall, mono := read()
	c.anchor.Store(&anchor{wall: wall, mono: mono})
	return c
}

// now returns the time, ns since the epoch at the start. It may be called from any goroutine.
func (c *clock) now() int64 {
	wall, mono := c.read()
	a := c.anchor.Load()
	passed := mono - a.mono
	off := wall - a.wall - passed
	if limit := clockJitter + max(passed, 0)/clockRate; off > limit || off < -limit {
		c.anchor.CompareAndSwap(a, &anchor{wall, mono, a.step + off})
		return wall - a.step - off
	}
	if passed > anchorEvery {
		c.anchor.CompareAndSwap(a, &anchor{wall, mono, a.step})
	}
	return wall - a.step
}

// step returns by how much the wall clock was set forward since the start; negative for back.
func (c *clock) step() int64 { return c.anchor.Load().step }

// Now returns the engine's time, ns: the wall clock's at the start, which does not follow when that is set. It may
// be called from any goroutine.
func (e *Engine) Now() int64 { return e.cfg.Now() }

// step returns the difference of the wall clock to the engine's.
func (e *Engine) step() int64 {
	if e.clock == nil {
		return 0
	}
	return e.clock.step()
}

// longestWait is the longest time that a frame may have waited in a ring. A stamp that is older is of the clock
// before it was set.
const longestWait = int64(10 * time.Second)

// restamp converts the stamps of received frames, which are of the wall clock, to the engine's time.
func (e *Engine) restamp(frames []packet.Frame, now int64) {
	step := e.step()
	if step == 0 {
		return
	}
	for i := range frames {
		f := &frames[i]
		if f.Stamp == 0 {
			continue
		}
		if f.Stamp -= step; f.Stamp > now || f.Stamp < now-longestWait {
			f.Stamp = now
		}
	}
}

// wallRecord converts a record's times to the wall clock.
func wallRecord(step int64, fn func(*flow.Record)) func(*flow.Record) {
	if step == 0 {
		return fn
	}
	return func(r *flow.Record) {
		r.First, r.Last = r.First+step, r.Last+step
		fn(r)
	}
}

// wallThreat converts a threat's time to the wall clock.
func wallThreat(step int64, fn func(*report.Threat)) func(*report.Threat) {
	if step == 0 {
		return fn
	}
	return func(t *report.Threat) {
		t.Stamp += step
		fn(t)
	}
}
