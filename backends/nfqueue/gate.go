package nfqueue

import "sync"

// gate keeps a queue's memory alive while its worker holds packets: Close may be called from
// any goroutine at any time, and the last user closes the queue.
type gate struct {
	down func() // called once, when closed and unused

	mu     sync.Mutex // guards the fields below
	closed bool
	busy   bool
	gone   bool
}

// enter begins a use by the worker; it returns false after close.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = !g.closed
	if g.closed {
		g.finish()
	}
	return g.busy
}

// leave ends a use by the worker.
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

// finish closes the queue once; the lock is held.
func (g *gate) finish() {
	if !g.gone {
		g.gone = true
		g.down()
	}
}

// borrow keeps the queue open until the lock is released; it returns false where the queue is
// closed already.
func (g *gate) borrow() bool {
	g.mu.Lock()
	return !g.gone
}

func (g *gate) giveBack() { g.mu.Unlock() }
