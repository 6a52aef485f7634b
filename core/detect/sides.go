package detect

import "github.com/sluicenet/sluice/parsers"

// Exchange swaps client and server after the caller has done so: directions, and Side, then
// refer to the new ones.
func (d *Ident) Exchange() {
	d.Meta = exchanged(&d.Meta)
	if d.flip = d.flip.Reverse(); d.flip != 0 {
		d.cands.views.of(d.flip) // the stream has a pointer to it
	}
	d.fed[0], d.fed[1] = d.fed[1], d.fed[0]
	swap(&d.spoke)
	swap(&d.probed)
	swap(&d.foreign)
	d.side = d.side.turn()
	d.cands.exchange()
}

// settleDirection probes the winner with the head of a direction that it has not claimed, and
// reports whether its match is final.
func (d *Ident) settleDirection(dir parsers.Dir, head []byte) bool {
	c := &d.cands.claims[d.winner]
	c.no[dir] = false
	d.cands.match(d.winner, dir, head, true)
	if was := d.flip; c.side != d.side && d.side == UnknownSide {
		if d.side, d.flip = c.side, c.flip(); d.flip != was {
			d.reopenStream()
		}
	}
	m := c.match[dir]
	if m == parsers.More && !d.Meta.Datagram() {
		return d.Follows() // its stream judges the beginning by itself
	}
	d.probed[dir] = m != parsers.More
	d.foreign[dir] = m == parsers.No && d.cands.views.midstream()
	d.Strength = max(d.Strength, c.strength())
	return true
}

// reopenStream opens the winner's stream again, with the sides exchanged, after they became known. What the first
// one consumed of a direction is gone, and the rest may begin within a message, so that the new stream does not
// read that direction: else the result would depend on how the bytes were cut.
func (d *Ident) reopenStream() {
	if d.Attrs.Len() > 0 {
		d.renamed++
		d.header.restore(&d.Attrs)
	}
	for dir, n := range d.fed {
		d.foreign[dir] = d.foreign[dir] || n > 0 && d.cands.views.midstream()
	}
	d.Close()
	d.stream = d.cands.reg.Entry(d.winner).Parser.Open(d.cands.views.of(d.flip), &d.sink)
}
