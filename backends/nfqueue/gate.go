package nfqueue

import "sync"

// gate keeps a queue's memory alive while its worker holds packets: Close may come from
// anywhere at any time, and only the last one out takes the queue down.
type gate struct {
	down func() // called once, when closed and nobody is inside

	mu     sync.Mutex // guards what follows
	closed bool
	busy   bool
	gone   bool
}

// enter is the worker's way in; false after close.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = !g.closed
	if g.closed {
		g.finish()
	}
	return g.busy
}

// leave is the worker's way out.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
	if g.closed {
		g.finish()
	}
}

// close shuts the gate.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if !g.busy {
		g.finish()
	}
}

// finish takes the queue down once; the lock is held.
func (g *gate) finish() {
	if !g.gone {
		g.gone = true
		g.down()
	}
}

// borrow keeps the queue up until the lock is given back; false where it is down already.
func (g *gate) borrow() bool {
	g.mu.Lock()
	return !g.gone
}

func (g *gate) giveBack() { g.mu.Unlock() }
