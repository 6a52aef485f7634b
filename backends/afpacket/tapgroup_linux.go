package afpacket

import (
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// tapGroup is the queue of all taps of one network namespace: the packets of a connection may come
// in by one interface and go out by another, so one worker receives the frames of all, in the order
// of their stamps. The kernel hands over the blocks of each ring at times of its own: a frame waits
// while the unfinished block of another ring may hold earlier ones.
type tapGroup struct {
	notify chan struct{} // room for one
	retire time.Duration

	mu    sync.Mutex    // guards the fields below
	taps  []*tap        // replaced, never changed
	ended bool          // Recv has returned io.EOF, or is about to
	past  backend.Stats // of taps that have ended

	// Used by the worker only.
	list  []*tap // those of the present Recv
	timer *time.Timer
	waits bool // frames wait for those of another ring
}

var (
	_ backend.Queue    = (*tapGroup)(nil)
	_ backend.Counter  = (*tapGroup)(nil)
	_ backend.Buffered = (*tapGroup)(nil)
	_ backend.Gauge    = (*tapGroup)(nil)
)

func newTapGroup(cfg Config) *tapGroup {
	g := &tapGroup{notify: make(chan struct{}, 1), retire: cfg.TapRetire, timer: time.NewTimer(time.Hour)}
	g.timer.Stop()
	return g
}

// add adds a tap; it returns false where the group has ended.
func (g *tapGroup) add(t *tap) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		return false
	}
	g.taps = append(slices.Clone(g.taps), t)
	return true
}

// remove removes a tap that has ended, and keeps its counters.
func (g *tapGroup) remove(t *tap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.taps = slices.DeleteFunc(slices.Clone(g.taps), func(x *tap) bool { return x == t })
	g.past.Add(t.Stats())
}

// over reports whether the group has ended.
func (g *tapGroup) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ended
}

// all returns the taps.
func (g *tapGroup) all() []*tap {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.taps
}

// enter begins a use of all taps by the worker; it returns false when there are none any more.
func (g *tapGroup) enter() bool {
	g.list = g.list[:0]
	for _, t := range g.all() {
		if t.enter() {
			g.list = append(g.list, t)
			continue
		}
		g.remove(t)
	}
	if len(g.list) > 0 {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = g.ended || len(g.taps) == 0
	return !g.ended // or one was added meanwhile
}

// leave ends a use by the worker.
func (g *tapGroup) leave() {
	for _, t := range g.list {
		t.sock.Load().giveBack()
		t.leave()
	}
	g.list = g.list[:0]
}

// Recv delivers the frames of full or retired blocks. It implements backend.Queue.
func (g *tapGroup) Recv(b *packet.Batch) error {
	b.Reset()
	if !g.enter() {
		return io.EOF
	}
	for _, t := range g.list {
		t.change()
	}
	g.fill(b)
	if b.N == 0 {
		g.dropEnded()
		if len(g.list) == 0 {
			return nil // the next call returns io.EOF, or the frames of a new tap
		}
		g.block()
		g.fill(b)
	}
	if b.N == 0 {
		g.leave()
	}
	return nil
}

// dropEnded closes the taps from which no more frames can arrive.
func (g *tapGroup) dropEnded() {
	g.list = slices.DeleteFunc(g.list, func(t *tap) bool {
		if !t.ended() {
			return false
		}
		t.leave()
		t.Close()
		g.remove(t)
		return true
	})
}

// block waits for a block, Wake or a tick.
func (g *tapGroup) block() {
	d := idleTick
	for _, t := range g.list {
		d = min(d, t.tick())
	}
	if g.waits {
		d = min(d, g.retire)
	}
	g.timer.Reset(d)
	select {
	case <-g.notify:
		g.timer.Stop()
		for _, t := range g.list {
			if t.signalled.Swap(false) && !t.sock.Load().ready() {
				t.checkLink()
			}
		}
	case <-g.timer.C:
		for _, t := range g.list {
			t.idle++
			t.checkLink() // going down wakes the socket, being deleted afterwards does not
		}
	}
}

// fill adds frames until the batch or half of a ring is full: in the order of their stamps where
// there are several rings.
func (g *tapGroup) fill(b *packet.Batch) {
	g.waits = false
	if len(g.list) == 1 {
		g.list[0].fill(b)
		return
	}
	for !b.Full() {
		var first *tap
		var stamp int64
		earlier := false // a ring without a finished block may hold earlier frames
		for _, t := range g.list {
			at, state := t.peek()
			switch {
			case state == ringTaken:
				return
			case state == ringPending:
				earlier = true
			case state == ringReady && (first == nil || at < stamp):
				first, stamp = t, at
			}
		}
		if first == nil {
			return
		}
		if earlier && !g.overdue(first, stamp) {
			g.waits = true
			return
		}
		first.takeFrame(b)
	}
}

// overdue reports whether a tap's next frame must not wait any longer: for the kernel's timer, which
// takes up to twice its interval, or because its ring fills up.
func (g *tapGroup) overdue(t *tap, stamp int64) bool {
	return t.sock.Load().crowded() || time.Now().UnixNano()-stamp > int64(2*g.retire+10*time.Millisecond)
}

// Settle returns the blocks; verdicts have no effect here. It implements backend.Queue.
func (g *tapGroup) Settle(b *packet.Batch) error {
	if b.N > 0 {
		b.Reset()
		g.leave()
	}
	return nil
}

// Wake ends a wait. It implements backend.Queue.
func (g *tapGroup) Wake() {
	select {
	case g.notify <- struct{}{}:
	default:
	}
}

// Close ends the capture of all taps. It implements backend.Queue.
func (g *tapGroup) Close() error {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	for _, t := range g.all() {
		t.Close()
	}
	g.Wake()
	return nil
}

// Waiting reports whether a block being filled by the kernel has frames, or frames wait for those of
// another ring. It implements backend.Buffered.
func (g *tapGroup) Waiting() bool {
	return slices.ContainsFunc(g.all(), (*tap).waiting)
}

// Stats implements backend.Counter.
func (g *tapGroup) Stats() backend.Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.past
	for _, t := range g.taps {
		s.Add(t.Stats())
	}
	return s
}

// Depth implements backend.Gauge: the content of the blocks that the kernel has handed over.
func (g *tapGroup) Depth() (d backend.Depth) {
	for _, t := range g.all() {
		x := t.depth()
		d.Waiting, d.Fill = d.Waiting+x.Waiting, max(d.Fill, x.Fill)
	}
	return d
}
