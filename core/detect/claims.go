package detect

import "github.com/sluicenet/sluice/parsers"

// Side is the result of identification about which end is the client.
type Side uint8

// Sides.
const (
	// UnknownSide: undetermined by the bytes so far.
	UnknownSide Side = iota
	// AsAssumed: the client is Meta.Client.
	AsAssumed
	// Exchanged: Meta.Server acted as the client.
	Exchanged
)

// String returns "unknown", "as assumed" or "exchanged".
func (s Side) String() string { return [...]string{"unknown", "as assumed", "exchanged", ""}[s&3] }

// sideOf returns the side that follows from a role seen in a direction.
func sideOf(p parsers.Part, dir parsers.Dir) Side {
	switch {
	case p == parsers.EitherPart:
		return UnknownSide
	case (p == parsers.ServerPart) == (dir == parsers.ToClient):
		return AsAssumed
	}
	return Exchanged
}

// claim is one parser's match for a session, by direction.
type claim struct {
	match  [2]parsers.Match // No before its first probe
	no     [2]bool          // it returned No, which is final
	turned [2]bool          // it claimed that direction's head as the other side's
	side   Side
}

// strength returns how strong the claim is: certain once both sides are claimed.
func (c *claim) strength() parsers.Match {
	a, b := c.match[0], c.match[1]
	if a >= parsers.Likely && b >= parsers.Likely {
		return parsers.Certain
	}
	return max(a, b)
}

// flip returns 1 where the parser must be given each direction as the other.
func (c *claim) flip() parsers.Dir {
	switch {
	case c.side == Exchanged, c.side == UnknownSide && (c.turned[0] || c.turned[1]):
		return 1
	}
	return 0
}

// Side returns who the client is, as far as the session's parser is certain of it.
func (d *Ident) Side() Side { return d.side }

// Exchange swaps client and server after the caller has done so: directions, and Side, then
// refer to the new ones.
func (d *Ident) Exchange() {
	swap := func(b *[2]bool) { b[0], b[1] = b[1], b[0] }
	turnSide := func(s Side) Side { return [...]Side{UnknownSide, Exchanged, AsAssumed, UnknownSide}[s&3] }
	d.Meta = exchanged(&d.Meta)
	d.flip, d.first = d.flip.Reverse(), d.first.Reverse()
	if d.flip != 0 {
		d.turned = exchanged(&d.Meta)
	}
	d.fed[0], d.fed[1] = d.fed[1], d.fed[0]
	swap(&d.spoke)
	swap(&d.probed)
	swap(&d.foreign)
	d.side = turnSide(d.side)
	for _, i := range d.cand {
		c := &d.claims[i]
		c.match[0], c.match[1] = c.match[1], c.match[0]
		swap(&c.no)
		swap(&c.turned)
		for dir := range c.turned {
			c.turned[dir] = !c.turned[dir] && c.match[dir] >= parsers.Likely
		}
		c.side = turnSide(c.side)
	}
}

func exchanged(m *parsers.Meta) parsers.Meta {
	t := *m
	t.Client, t.Server, t.ClientPort, t.ServerPort = m.Server, m.Client, m.ServerPort, m.ClientPort
	return t
}

// meta returns the Meta a parser receives: the sides as they are, or exchanged.
func (d *Ident) meta(flip parsers.Dir) *parsers.Meta {
	if flip == 0 {
		return &d.Meta
	}
	d.turned = exchanged(&d.Meta)
	return &d.turned
}

// orient applies the side that a claim implies.
func (d *Ident) orient(s Side, flip parsers.Dir) { d.side, d.flip = s, flip }

// probe probes every candidate that is undecided about this direction.
func (d *Ident) probe(dir parsers.Dir, data []byte) {
	alive := d.cand[:0]
	waiting := false
	for _, i := range d.cand {
		if !d.probeParser(i, dir, data) {
			continue
		}
		alive = append(alive, i)
		c := &d.claims[i]
		waiting = waiting || c.match[0] < parsers.Likely && c.match[1] < parsers.Likely && !c.no[dir]
	}
	d.cand = alive
	if len(alive) == 0 {
		d.setUnknown()
		return
	}
	best, i := d.best()
	if best == parsers.Certain || best == parsers.Likely && !waiting {
		d.selectParser(i)
	}
}

// probeParser probes one parser with a head and reports whether it may still claim the
// session. In mid-stream a side may be in the middle of a message, so that both sides are
// needed to rule a protocol out.
func (d *Ident) probeParser(i int, dir parsers.Dir, head []byte) bool {
	c := &d.claims[i]
	if c.match[dir] < parsers.Likely && !c.no[dir] {
		d.match(c, i, dir, head)
	}
	if c.no[dir] && d.midstream() {
		return !c.no[dir.Reverse()]
	}
	return !c.no[dir]
}

// midstream reports whether a side's bytes may begin at any point of the protocol.
func (d *Ident) midstream() bool { return d.Meta.Midstream && !d.Meta.Datagram() }

// match probes a head. Where client and server are a guess, a parser that recognises the role
// of a head is also probed with it as the other side's.
func (d *Ident) match(c *claim, i int, dir parsers.Dir, head []byte) {
	p := d.reg.Entry(i).Parser
	m := p.Probe(d.meta(0), dir, head)
	if d.Meta.Midstream || d.Meta.Datagram() {
		if sided, ok := p.(parsers.Sided); ok {
			if m < parsers.Likely {
				m = max(m, p.Probe(d.meta(1), dir.Reverse(), head))
				c.turned[dir] = m >= parsers.Likely
			}
			if c.side == UnknownSide && (m >= parsers.Likely || m == parsers.More && d.winner == i) {
				c.side = sideOf(sided.Part(d.meta(0), head), dir)
			}
		}
	}
	c.match[dir], c.no[dir] = m, m == parsers.No
}

// settleDirection probes the winner with the head of a direction that it has not claimed, and
// reports whether its match is final.
func (d *Ident) settleDirection(dir parsers.Dir, head []byte) bool {
	c := &d.claims[d.winner]
	c.no[dir] = false
	d.match(c, d.winner, dir, head)
	if c.side != d.side && d.side == UnknownSide {
		d.reorient(c)
	}
	m := c.match[dir]
	if m == parsers.More && !d.Meta.Datagram() {
		return d.Follows() // its stream judges the beginning by itself
	}
	d.probed[dir] = m != parsers.More
	d.foreign[dir] = m == parsers.No && d.midstream()
	d.Strength = max(d.Strength, c.strength())
	return true
}

// reorient applies a side that became known after the stream was opened. A stream opened with
// the sides exchanged is opened again. What it consumed of a direction is gone, and the rest may
// begin within a message, so that the new stream does not read that direction: else the result
// would depend on how the bytes were cut.
func (d *Ident) reorient(c *claim) {
	was := d.flip
	if d.orient(c.side, c.flip()); d.flip == was {
		return
	}
	if d.Attrs.Len() > 0 {
		d.renamed++
		d.discardReports()
	}
	for dir, n := range d.fed {
		d.foreign[dir] = d.foreign[dir] || n > 0 && d.midstream()
	}
	d.Close()
	d.stream = d.reg.Entry(d.winner).Parser.Open(d.meta(d.flip), &d.sink)
}

// best returns the strongest claim; ties are broken by order.
func (d *Ident) best() (best parsers.Match, index int) {
	index = -1
	for _, i := range d.cand {
		if s := d.claims[i].strength(); s > best {
			best, index = s, i
		}
	}
	return best, index
}
