package stream

import (
	"hash/maphash"
	"math/bits"
)

// Buffer sizes are powers of two, from minBuffer on.
const (
	minBuffer = 2048
	// idleBytes bounds the free buffers that are kept.
	idleBytes = 2 << 20
	// idleAssemblers bounds the free assemblers that are kept.
	idleAssemblers = 1024
)

// Pool allocates the assemblers of one worker and their memory. It is not safe for concurrent
// use.
type Pool struct {
	cfg  Config
	seed maphash.Seed
	used int // bytes in use, by capacity
	idle int // bytes in free
	free [32][][]byte
	out  []*Assembler
}

// NewPool returns an empty pool.
func NewPool(c Config) *Pool {
	set := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	set(&c.Budget, 64<<20)
	set(&c.Window, 128<<10)
	set(&c.Segments, 64)
	return &Pool{cfg: c, seed: maphash.MakeSeed()}
}

// Get returns an assembler; call Init before the first Push.
func (p *Pool) Get() *Assembler {
	n := len(p.out)
	if n == 0 {
		return &Assembler{pool: p}
	}
	a := p.out[n-1]
	p.out = p.out[:n-1]
	return a
}

// Put frees an assembler and its memory. It must not be used afterwards.
func (p *Pool) Put(a *Assembler) {
	a.Init(0)
	if len(p.out) < idleAssemblers {
		p.out = append(p.out, a)
	}
}

// Used returns the number of bytes buffered at present, by capacity.
func (p *Pool) Used() int { return p.used }

// class returns the power of two, counted from minBuffer, that holds n bytes.
func class(n int) int { return bits.Len(uint(max(n, minBuffer)-1)) - bits.Len(uint(minBuffer-1)) }

// buffer returns at least n bytes; nil when the budget is exhausted.
func (p *Pool) buffer(n int) []byte {
	c := class(n)
	size := minBuffer << c
	if p.used+size > p.cfg.Budget {
		return nil
	}
	p.used += size
	if have := len(p.free[c]); have > 0 {
		b := p.free[c][have-1]
		p.free[c] = p.free[c][:have-1]
		p.idle -= size
		return b
	}
	return make([]byte, size)
}

func (p *Pool) recycle(b []byte) {
	p.used -= len(b)
	if p.idle+len(b) <= idleBytes {
		p.idle += len(b)
		c := class(len(b))
		p.free[c] = append(p.free[c], b)
	}
}
