package engine

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
)

// hands are the two clocks of a machine.
type hands struct{ wall, mono int64 }

func (h *hands) read() (wall, mono int64) { return h.wall, h.mono }

// pass lets time pass, and the wall clock be fast by a rate in ppm.
func (h *hands) pass(d time.Duration, ppm int64) {
	h.mono += int64(d)
	h.wall += int64(d) + int64(d)/1_000_000*ppm
}

// TestClock sets the wall clock while time passes: the engine's continues at the rate of the monotonic one, and is
// the wall clock while that is only adjusted.
func TestClock(t *testing.T) {
	const begin = int64(1_700_000_000_000_000_000)
	for _, step := range []time.Duration{-time.Hour, -50 * time.Millisecond, 0, 50 * time.Millisecond, 24 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			h := &hands{wall: begin, mono: 5}
			c := newClock(h.read)
			last := c.now()
			read := func(d time.Duration) {
				t.Helper()
				now := c.now()
				if passed := time.Duration(now - last); passed < d*9/10 || passed > d*11/10+time.Microsecond {
					t.Fatalf("%s passed on the clock within %s", passed, d)
				}
				last = now
			}
			for range 5000 { // NTP adjusts the rate
				h.pass(time.Millisecond, 400)
				read(time.Millisecond)
			}
			if last != h.wall || c.step() != 0 {
				t.Errorf("the clock is %s from the wall clock, whose rate was adjusted, step %d", time.Duration(last-h.wall), c.step())
			}
			h.wall += int64(step)
			for range 100 {
				h.pass(10*time.Millisecond, 0)
				read(10 * time.Millisecond)
			}
			if got := time.Duration(c.step()); (got - step).Abs() > time.Millisecond {
				t.Errorf("step %s, want %s", got, step)
			}
			h.wall -= int64(step) // and back
			h.pass(time.Minute, 0)
			read(time.Minute)
			if off := time.Duration(last - h.wall).Abs(); off > 100*time.Millisecond { // less in a minute is no step
				t.Errorf("%s from the wall clock, after it was set back again", off)
			}
		})
	}
}

// TestRestamp: frames are stamped by the wall clock, some before it was set, and their records have its times.
func TestRestamp(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		h := &hands{wall: 1_700_000_000_000_000_000}
		e := &Engine{clock: newClock(h.read)}
		early := h.wall
		h.wall += int64(step)
		h.pass(time.Second, 0)
		now := e.clock.now()
		frames := []packet.Frame{{Stamp: h.wall}, {Stamp: h.wall - int64(time.Millisecond)}, {Stamp: early}, {}}
		e.restamp(frames, now)
		for i, want := range []int64{now, now - int64(time.Millisecond), now, 0} {
			if frames[i].Stamp != want {
				t.Errorf("step %s, frame %d: stamp %s from now, want %s", step, i, time.Duration(frames[i].Stamp-now), time.Duration(want-now))
			}
		}
		wallRecord(e.step(), func(r *flow.Record) {
			if r.First != h.wall-5 || r.Last != h.wall {
				t.Errorf("record from %d to %d, want the wall clock's %d", r.First, r.Last, h.wall)
			}
		})(&flow.Record{First: now - 5, Last: now})
		wallThreat(e.step(), func(r *report.Threat) {
			if r.Stamp != h.wall {
				t.Errorf("threat at %d, want %d", r.Stamp, h.wall)
			}
		})(&report.Threat{Stamp: now})
	}
}

// TestClockOfMachine: the real clock is the wall clock while it is not set.
func TestClockOfMachine(t *testing.T) {
	c := newClock(nil)
	for range 1000 {
		before := time.Now().UnixNano()
		now := c.now()
		if after := time.Now().UnixNano(); c.step() == 0 && (now < before || now > after) {
			t.Fatalf("%d is not between %d and %d", now, before, after)
		}
	}
	if n := testing.AllocsPerRun(1000, func() { c.now() }); n > 0 {
		t.Errorf("%v allocations for a reading", n)
	}
}
