// Package handover holds, for one worker, the state of endpoints that move between two
// datapaths: which of an endpoint's frames are judged here, which belong to the other
// datapath, and the copies kept until the sessions have arrived. The packet path calls it
// once per frame. The package moves no session and never blocks; core/engine does.
package handover

import (
	"math"

	"github.com/sluicenet/sluice/core/packet"
)

// State is an endpoint's state at one worker.
type State uint8

// States. An endpoint unknown to the Gate is Live.
const (
	// Live: its frames are judged here.
	Live State = iota
	// Shadow: another datapath judges; frames pass here, and may be kept for later.
	Shadow
	// Draining: frames from before the cut are judged here, later ones belong to the next
	// datapath.
	Draining
	// Moved: its sessions are elsewhere; late frames pass.
	Moved
)

var stateNames = [...]string{"live", "shadow", "draining", "moved"}

// String returns the state's name.
func (s State) String() string { return stateNames[s&3] }

// Answer is how to handle one frame.
type Answer uint8

// Answers.
const (
	// Judge: this worker judges it.
	Judge Answer = iota
	// Skip: it passes uncounted: the other datapath counts it, or a copy is kept.
	Skip
	// Stranger: it passes unjudged.
	Stranger
	// Late: as Stranger, but the new datapath may have passed it before it judged: a connection
	// that begins with it is checked.
	Late
	// Judged: the other datapath judged it already; it passes.
	Judged
)

// Bounds and times.
const (
	maxKept = 16 << 20 // bytes of frames kept of one endpoint
	snap    = 2048     // bytes kept of one frame
	// ordered is how much earlier than another a frame of one queue may be stamped that comes later, ns.
	ordered = int64(1e6)
	// settled is how long after a cut a tap's frames may arrive out of order, ns.
	settled = int64(10e9)
)

// Gate is the state of the endpoints of one worker. In the zero value all are live. Only the
// worker's goroutine uses it.
type Gate struct {
	ends map[uint32]*endpoint // those that are not simply live; nearly always empty
}

// endpoint is one endpoint that is not simply live.
type endpoint struct {
	state     State
	cut       int64 // Draining, Moved: frames stamped from then on are the other datapath's; ns
	reached   bool  // Draining: one of those was seen
	since     int64 // Live: frames stamped before are the other datapath's
	skim      packet.Direction
	late      packet.Direction // Moved: valid until lateUntil
	lateUntil int64
	keep      bool // Shadow
	kept      []packet.Frame
	bytes     int
}

// Ask returns how to handle a frame.
func (g *Gate) Ask(f *packet.Frame, now int64) Answer {
	if len(g.ends) == 0 {
		return Judge
	}
	return g.ask(f, now)
}

func (g *Gate) ask(f *packet.Frame, now int64) Answer {
	stamp := f.Stamp
	if stamp == 0 {
		stamp = now
	}
	for id, e := range g.ends {
		// A queue of several taps delivers their frames in order.
		if id != f.Endpoint && e.state == Draining && stamp >= e.cut+ordered {
			e.reached = true
		}
	}
	e := g.ends[f.Endpoint]
	if e == nil {
		return Judge
	}
	switch e.state {
	case Shadow:
		if e.keep && e.add(f) {
			return Skip
		}
		return Stranger
	case Draining:
		if stamp >= e.cut {
			e.reached = true
			return Skip
		}
	case Moved:
		switch {
		case stamp >= e.cut:
			return Skip
		case f.Dir == e.late && e.late != packet.NoDirection && now <= e.lateUntil:
			return Late
		}
		return Stranger
	default:
		switch {
		case f.Dir == e.skim && e.skim != packet.NoDirection:
			return Judged
		case stamp < e.since:
			return Skip
		case e.skim == packet.NoDirection && stamp > e.since+settled:
			delete(g.ends, f.Endpoint)
		}
	}
	return Judge
}

// add keeps a copy of a frame; it returns false when there is no room for it.
func (e *endpoint) add(f *packet.Frame) bool {
	n := min(len(f.Data), snap)
	if e.bytes+n > maxKept {
		return false
	}
	c := *f
	c.Data = append([]byte(nil), f.Data[:n]...)
	if n < len(f.Data) {
		c.Flags |= packet.Truncated
	}
	e.bytes += n
	e.kept = append(e.kept, c)
	return true
}

// State returns an endpoint's state.
func (g *Gate) State(id uint32) State {
	if e := g.ends[id]; e != nil {
		return e.state
	}
	return Live
}

func (g *Gate) set(id uint32, e *endpoint) {
	if g.ends == nil {
		g.ends = map[uint32]*endpoint{}
	}
	g.ends[id] = e
}

// Shadow marks an endpoint whose sessions have not arrived yet: its frames pass. With keep,
// copies of them are kept for Begin.
func (g *Gate) Shadow(id uint32, keep bool) { g.set(id, &endpoint{state: Shadow, keep: keep}) }

// Forget makes an endpoint live again; nothing has moved.
func (g *Gate) Forget(id uint32) { delete(g.ends, id) }

// Cut sets the end of the endpoint's time here: frames from the stamp cut on belong to the
// next datapath.
func (g *Gate) Cut(id uint32, cut int64) { g.set(id, &endpoint{state: Draining, cut: cut}) }

// Drained reports whether everything from before the cut has been seen. The last batch had
// received frames; waiting reports whether the queue may have more that Recv did not find.
func (g *Gate) Drained(id uint32, received int, now int64, waiting func() bool) bool {
	e := g.ends[id]
	if e == nil || e.state != Draining || e.reached {
		return true
	}
	if received > 0 || now < e.cut {
		return false
	}
	return !waiting()
}

// Move records that the endpoint's sessions have left.
func (g *Gate) Move(id uint32) {
	cut := int64(math.MaxInt64)
	if e := g.ends[id]; e != nil && e.state == Draining {
		cut = e.cut
	}
	g.set(id, &endpoint{state: Moved, cut: cut})
}

// Expect makes frames of one direction that still arrive at a Moved endpoint be checked until
// a time, ns: the new datapath passed them before it judged.
func (g *Gate) Expect(id uint32, dir packet.Direction, until int64) {
	if e := g.ends[id]; e != nil && e.state == Moved {
		e.late, e.lateUntil = dir, until
	}
}

// Begin makes an endpoint live after its sessions arrived, and returns the copies of frames
// that passed during Shadow, in order.
func (g *Gate) Begin(id uint32) (kept []packet.Frame) {
	if e := g.ends[id]; e != nil {
		kept = e.kept
		delete(g.ends, id)
	}
	return kept
}

// Since makes a live endpoint ignore frames from before a stamp: the previous datapath judged
// them.
func (g *Gate) Since(id uint32, stamp int64) { g.set(id, &endpoint{since: stamp}) }

// Skim passes the frames of a live endpoint in one direction, until EndSkim: the previous
// datapath judged them, and they are still in the queue.
func (g *Gate) Skim(id uint32, judged packet.Direction) { g.set(id, &endpoint{skim: judged}) }

// EndSkim ends Skim.
func (g *Gate) EndSkim(id uint32) {
	if e := g.ends[id]; e != nil && e.state == Live && e.skim != packet.NoDirection {
		delete(g.ends, id)
	}
}
