package afpacket

import "sync"

// gate keeps a queue's memory mapped while its worker holds frames: Close may be called from
// any goroutine at any time, and the last user releases the memory.
type gate struct {
	release func() // called once, when closed and unused

	mu       sync.Mutex // guards the fields below
	closed   bool
	busy     bool
	released bool
}

// enter begins a use by the worker; it returns false after close.
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

// leave ends a use by the worker.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
	if g.closed {
		g.finish()
	}
}

// close shuts the gate and reports whether it was open.
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

// isOpen reports whether the gate has not been closed.
func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

// unlessClosed runs fn unless close was called, and reports whether it did.
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
