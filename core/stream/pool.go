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
	shares
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
	return &Pool{cfg: c, seed: maphash.MakeSeed(), shares: newShares()}
}

// Get returns an assembler, whose memory is charged to an owner; call Init before the first Push.
func (p *Pool) Get(o Owner) *Assembler {
	n := len(p.out)
	if n == 0 {
		return &Assembler{pool: p, owner: o}
	}
	a := p.out[n-1]
	p.out = p.out[:n-1]
	a.owner = o
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

// Refused returns how often an assembler stopped because its owner's share, or the budget, was used up.
func (p *Pool) Refused() uint64 { return p.refused }

// buffer returns at least n bytes for an owner; nil when the budget or the owner's share of it is
// exhausted.
func (p *Pool) buffer(o Owner, n int) []byte {
	c := class(n)
	size := minBuffer << c
	if !p.fits(o, size, p.cfg.Budget-p.used) {
		p.refused++
		return nil
	}
	p.charge(o, size)
	if have := len(p.free[c]); have > 0 {
		b := p.free[c][have-1]
		p.free[c] = p.free[c][:have-1]
		p.idle -= size
		return b
	}
	return make([]byte, size)
}

// charge adds bytes to what an owner has in use, or subtracts them.
func (p *Pool) charge(o Owner, n int) {
	p.used += n
	p.count(o, n)
}

func (p *Pool) recycle(o Owner, b []byte) {
	p.charge(o, -len(b))
	if p.idle+len(b) <= idleBytes {
		p.idle += len(b)
		c := class(len(b))
		p.free[c] = append(p.free[c], b)
	}
}
