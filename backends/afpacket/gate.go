package afpacket

import "sync"

// gate keeps a queue's memory alive while its worker holds frames: Close may come
// from anywhere at any time, and only the last one out releases.
type gate struct {
	release func() // called once, when closed and nobody is inside

	mu       sync.Mutex // guards what follows
	closed   bool
	busy     bool
	released bool
}

// enter is the worker's way in; false after close.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		g.finish()
		return false
	}
	g.busy = true
	return true
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

// close shuts the gate and says whether it was open.
func (g *gate) close() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := !g.closed
	g.closed = true
	if !g.busy {
		g.finish()
	}
	return was
}

// isOpen says whether the gate has not been closed.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

// unlessClosed runs fn unless close was called, and says whether it did.
func (g *gate) unlessClosed(fn func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		fn()
	}
	return !g.closed
}

// whileOpen runs fn unless the memory has been released.
func (g *gate) whileOpen(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.released {
		fn()
	}
}

// finish releases once; the lock is held.
func (g *gate) finish() {
	if !g.released {
		g.released = true
		g.release()
	}
}
