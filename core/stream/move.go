package stream

// Release detaches an assembler, with its contents, for another worker's pool to Adopt. It
// must not be used in between.
func (p *Pool) Release(a *Assembler) {
	p.charge(a.owner, -len(a.buf))
	a.pool = nil
}

// Adopt attaches an assembler that another pool released.
func (p *Pool) Adopt(a *Assembler) {
	p.charge(a.owner, len(a.buf))
	a.pool = p
	clear(a.seen[:]) // sums with another seed
}
