package engine

import (
	"time"

	"github.com/sluicenet/sluice/core/backend"
)

// command is work for a worker's goroutine, between batches.
type command struct {
	fn func()
	// patience is the time until which the command waits for everything that a tap saw of the
	// endpoint before its cut, ns since the epoch; 0: it does not wait.
	patience int64
	endpoint uint32 // valid with patience
	// after is the time from which on the command waits for a batch that empties the queue, ns
	// since the epoch; 0: it does not wait. seen reports that the next batch may be the one.
	after int64
	seen  bool
	tries int
	done  chan struct{}
}

// triesAtMost bounds the batches that a command waits for.
const triesAtMost = 4096

// waits reports whether a command is not due yet. received is the number of frames in the
// last batch.
func (c *command) waits(w *worker, now int64, received int) bool {
	switch {
	case c.after != 0:
		due := c.seen && received < unfilled
		c.seen = c.seen || now >= c.after
		c.tries++
		return !due && c.tries < triesAtMost
	case c.patience > now:
		w.path.Lock()
		defer w.path.Unlock()
		return !w.path.Gate().Drained(c.endpoint, received, w.path.Sessions().Now(), func() bool {
			b, ok := w.q.(backend.Buffered)
			return ok && b.Waiting()
		})
	}
	return false
}

// do runs fn on the worker's goroutine, with the path's lock, and waits for it; after the worker's
// end it runs fn on the caller's.
func (w *worker) do(fn func()) { w.stopped(func() { w.locked(fn) }) }

// locked runs fn with the path's lock.
func (w *worker) locked(fn func()) {
	w.path.Lock()
	defer w.path.Unlock()
	fn()
}

// stopped is do without the path's lock: the worker does nothing else meanwhile.
func (w *worker) stopped(fn func()) { w.enqueue(command{fn: fn, done: make(chan struct{})}) }

// emptied is stopped after every frame that another queue has passed until now was judged here.
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
		w.after.Lock()
		w.runCommands(ended)
		w.after.Unlock()
	}
}

// ended replaces the number of frames for a worker that no longer receives.
const ended = -1

// runCommands runs the commands that are due. received is the number of frames in the last
// batch.
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
	w.locked(func() { w.path.Sessions().Report().Flush() })
	if len(later) == 0 {
		if received >= 0 && len(cmds) > 0 {
			w.q.Wake() // sessions that came with them are judged by the next batch
		}
		return
	}
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
