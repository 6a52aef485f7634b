package stream

// Release gives an assembler up, with what it holds, for another worker's pool to Adopt. It must
// not be used in between.
func (p *Pool) Release(a *Assembler) {
	p.used -= len(a.buf)
	a.pool = nil
}

// Adopt takes in an assembler that another pool released.
func (p *Pool) Adopt(a *Assembler) {
	p.used += len(a.buf)
	a.pool = p
	clear(a.seen[:]) // sums of another seed
}
