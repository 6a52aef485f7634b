package engine

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
	"github.com/sluicenet/sluice/core/stream"
)

// Sizes of a worker.
const (
	batchSize   = 256
	expireBatch = 4096 // timers that one batch may handle
	sweepBatch  = 8192 // sessions that one batch may judge again

	showEvery = int64(100e6) // ns between two publications of counters
)

// worker drives one queue. All but do, counters and out belongs to its goroutine.
type worker struct {
	e      *Engine
	q      backend.Queue
	sender backend.Sender
	holder backend.Holder    // nil: the engine sends copies of what it held
	origin backend.Origin    // nil: nothing was redirected
	kernel backend.Offloader // nil: every frame comes here
	batch  *packet.Batch
	out    report.Outbox
	ended  chan struct{}

	p     packet.Packet
	whole packet.Packet // a rebuilt datagram
	// rebuilding: the packet at hand was put together from fragments; there is no frame to
	// hold or to answer on.
	rebuilding bool
	// fragments are the frames of the packet at hand but for lastFragment; valid while rebuilding.
	fragments    []*packet.Frame
	lastFragment *packet.Frame
	table        *session.Table
	frags        *frag.Reassembler
	idents       identPool
	origins      sidecar.Destinations   // of sessions on lo
	flows        map[uint64]*kernelFlow // by session number, of those that may pass in the kernel
	asks         int                    // questions about them since the last batch
	remote       detect.Remote          // nil: every parser is in process
	ring         ringKey                // of its queue, for Stats
	sync         bool                   // captures: wait for each answer
	inner        packet.Packet          // what an ICMP error quotes, a rebuilt datagram, a held packet
	snap         *snapshot
	now          int64
	sweep        sweeper
	threats      threatGate
	ignore       map[uint32]bool // endpoints that were handed over from here, or will be to here
	joining      map[uint32]*joiner
	replaying    bool  // the frame at hand passed already
	since, until int64 // frames with a stamp outside are not this tap's, ns
	reached      bool  // one of until or later was seen
	late         map[uint32]latecomers
	buf          [2048]byte  // frames that the worker builds
	held         int         // bytes held of pending sessions
	alarm        *time.Timer // wakes the worker when held packets are due; nil before the first

	cause   cause             // why the frame at hand does not go on; valid when it does not
	tallies map[uint32]*tally // of endpoints that several workers share
	dirty   []*tally          // those to be published

	rejectSecond int64
	rejects      int

	count   counter.Set
	shown   counter.Shared // count, published between batches
	shownAt int64
	awake   int64 // when it went on after it had been stopped, perhaps
	tunnels bool  // judge what tunnels carry instead of the tunnels (captures)
	depth   int   // of tunnels within tunnels

	pending atomic.Bool
	mu      sync.Mutex
	cmds    []command // guarded by mu
}

// command is a piece of work for the worker's goroutine, between batches. One that
// drains waits until the queue has nothing left.
type command struct {
	fn  func()
	cut int64 // ns since the epoch until which it waits for everything from before the tap's cut; 0: it does not
	// after is the time from which on a batch that leaves the queue empty is waited for, ns since the epoch;
	// 0: none is. seen says that the next batch may be the one.
	after int64
	seen  bool
	tries int
	done  chan struct{}
}

// triesAtMost bounds the batches that a command waits for.
const triesAtMost = 4096

// waits says whether a command is not due yet. received is how many frames the last batch had.
func (c *command) waits(w *worker, now int64, received int) bool {
	if c.after != 0 {
		due := c.seen && received < unfilled
		c.seen = c.seen || now >= c.after
		c.tries++
		return !due && c.tries < triesAtMost
	}
	return c.cut > now && !w.allSeen(received)
}

func newWorker(e *Engine, q backend.Queue) *worker {
	w := &worker{e: e, q: q, batch: packet.NewBatch(batchSize), ended: make(chan struct{}), ignore: map[uint32]bool{}, until: never, tallies: map[uint32]*tally{}}
	w.sender, _ = q.(backend.Sender)
	w.holder, _ = q.(backend.Holder)
	w.origin, _ = q.(backend.Origin)
	w.kernel, _ = q.(backend.Offloader)
	w.table = session.New(session.Config{Max: e.cfg.MaxSessions, Evict: w.evicted})
	w.frags = frag.New(frag.Config{KeepFrames: w.sender != nil})
	w.now = e.cfg.Now()
	w.snap = e.snap.Load()
	w.idents.streams = stream.NewPool(stream.Config{})
	if e.cfg.Remote != nil {
		wake := func() {}
		if q != nil {
			wake = q.Wake
		}
		w.remote = e.cfg.Remote.Remote(wake)
	}
	return w
}

// run is the worker's goroutine: receive, judge, settle, until the queue ends.
func (w *worker) run() {
	defer close(w.ended)
	defer w.quiet()
	for {
		w.batch.Reset()
		err := w.q.Recv(w.batch)
		before := w.now
		if w.now = w.e.cfg.Now(); w.now-before > unseenAfter {
			w.awake = w.now
		}
		w.refresh()
		frames := w.batch.All()
		for i := range frames {
			w.frame(&frames[i])
		}
		if w.remote != nil {
			w.remote.Flush()
		}
		if serr := w.q.Settle(w.batch); serr != nil && err == nil {
			err = serr
		}
		w.between(len(frames))
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.e.cfg.Logger.Warn("queue ended", "error", err)
			}
			w.runCommands(ended)
			return
		}
	}
}

// between is what a worker does after each batch: time-outs, the sweep, commands, reports.
func (w *worker) between(received int) {
	w.poll()
	w.asks = 0
	w.table.Expire(w.now, expireBatch, w.expire)
	w.frags.Expire(w.now)
	w.sweepSome()
	w.out.Flush()
	if w.now-w.shownAt >= showEvery {
		w.shownAt = w.now
		w.publishCounters()
	}
	if w.pending.Load() {
		w.runCommands(received)
	}
}

// refresh takes the newest policy and endpoints.
func (w *worker) refresh() {
	s := w.e.snap.Load()
	if s == w.snap {
		return
	}
	if s.version != w.snap.version {
		w.sweep.begin()
	}
	w.snap = s
}

// do runs fn on the worker's goroutine and waits for it; after the worker's end it
// runs here.
func (w *worker) do(fn func()) { w.enqueue(command{fn: fn, done: make(chan struct{})}) }

// emptied is do, after every frame that another queue let pass until now was judged here.
func (w *worker) emptied(fn func()) {
	w.enqueue(command{fn: fn, after: w.e.cfg.Now() + underWay, done: make(chan struct{})})
}

func (w *worker) enqueue(c command) {
	w.mu.Lock()
	w.cmds = append(w.cmds, c)
	w.pending.Store(true)
	w.mu.Unlock()
	w.q.Wake()
	select {
	case <-c.done:
	case <-w.ended:
		w.runCommands(ended)
	}
}

// ended stands for the number of frames of a worker that receives no more.
const ended = -1

// runCommands runs what waits. received is how many frames the last batch had.
func (w *worker) runCommands(received int) {
	w.mu.Lock()
	cmds := w.cmds
	w.cmds = nil
	w.pending.Store(false)
	w.mu.Unlock()
	var later []command
	for _, c := range cmds {
		if received >= 0 && c.waits(w, w.e.cfg.Now(), received) {
			later = append(later, c)
			continue
		}
		c.fn()
		close(c.done)
	}
	w.out.Flush()
	if len(later) > 0 {
		w.mu.Lock()
		w.cmds = append(later, w.cmds...)
		w.pending.Store(true)
		w.mu.Unlock()
		if received == 0 {
			time.AfterFunc(tapAgain, w.q.Wake)
			return
		}
		w.q.Wake()
	}
}

// view is the endpoint of a frame, nil if the worker has none of that number.
func (w *worker) view(id uint32) *view {
	v := w.snap.endpoints[id]
	if v == nil || len(w.ignore) > 0 && w.ignore[id] {
		return nil
	}
	return v
}
