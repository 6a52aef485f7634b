package policy

import (
	"encoding/binary"
	"slices"
)

// The port space is one line of 2^24 points, protocol << 16 | port, so that `any` is one
// segment and a range of ports is never split.
const portSpace = 1 << 24

// segment extends from a point to the next segment's.
type segment struct {
	start uint32
	list  uint32 // index of its first candidate
}

// portTable holds the rules of one or more pairs of groups.
type portTable struct {
	first, n uint32 // in Table.segments
	hasExact bool
	// portOnly tables hold the rules for certain ports of every protocol; the protocol is not
	// part of their points.
	portOnly bool
}

// list returns the first candidate of a port table for a point: exact first, range second.
func (t *Table) list(n, x uint32) uint32 {
	p := &t.tables[n]
	if p.portOnly {
		x &= 0xffff
	}
	if p.hasExact {
		if l, ok := t.exact.find(exactKey(n, x)); ok {
			return l
		}
	}
	s := t.segments[p.first : p.first+p.n]
	lo, hi := 0, len(s)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s[mid].start <= x {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return 0
	}
	return s[lo-1].list
}

// interval is a part of the port space, from lo up to but without end, of the rule at pos.
type interval struct{ lo, end, pos uint32 }

// painter builds port tables. Rules are applied to the segments in order; a segment that a
// rule without applications covers is closed, and takes no more candidates. Work and
// candidates are bounded by segments times applications, however rules overlap.
type painter struct {
	t     *Table
	lists map[string]uint32 // existing candidate lists, by their bytes
	exact []exactSlot

	// Of the table being built; reused for the next.
	plain, portOnly []interval
	bounds          []uint32
	cands           [][]candidate
	closed          []uint32            // union-find: the next segment that is not closed
	covered         map[uint32][]uint32 // the same for each application and action of wide intervals
	key             []byte
}

// small is the number of segments up to which a table keeps its single points among them: a
// search in a few cache lines is quicker than a probe of the big map (at 100,000 rules 341
// against 378 ns a look-up with 16).
const small = 64

// wide is the number of segments from which on an interval of a rule that names applications
// is worth its own union-find.
const wide = 16

// build makes the port tables of an ordered list of rules, two at most, and appends their
// numbers to out.
func (p *painter) build(positions []uint32, out []uint32) []uint32 {
	p.plain, p.portOnly = p.plain[:0], p.portOnly[:0]
	for _, pos := range positions {
		ports := p.t.rules[pos].Ports
		if len(ports) == 0 {
			p.plain = append(p.plain, interval{0, portSpace, pos})
		}
		for _, s := range ports {
			p.add(s, pos)
		}
	}
	if len(p.plain) > 0 {
		out = append(out, p.paint(p.plain, false))
	}
	if len(p.portOnly) > 0 {
		out = append(out, p.paint(p.portOnly, true))
	}
	return out
}

// add adds one port specification to the table it belongs to.
func (p *painter) add(s PortSpec, pos uint32) {
	base := uint32(s.Proto) << 16
	switch {
	case s.Proto != 0:
		p.plain = append(p.plain, interval{base + uint32(s.Lo), base + uint32(s.Hi) + 1, pos})
	case s.Lo == 0 && s.Hi == 65535:
		p.plain = append(p.plain, interval{0, portSpace, pos})
	default:
		p.portOnly = append(p.portOnly, interval{uint32(s.Lo), uint32(s.Hi) + 1, pos})
	}
}

// paint builds one port table of intervals in rule order.
func (p *painter) paint(in []interval, portOnly bool) uint32 {
	p.bounds = p.bounds[:0]
	for _, iv := range in {
		p.bounds = append(p.bounds, iv.lo, iv.end)
	}
	slices.Sort(p.bounds)
	p.bounds = slices.Compact(p.bounds)
	n := len(p.bounds) - 1
	for len(p.cands) < n {
		p.cands = append(p.cands, nil)
	}
	p.closed = unions(p.closed, n)
	clear(p.covered)
	for i := range n {
		p.cands[i] = p.cands[i][:0]
	}
	for _, iv := range in {
		a, _ := slices.BinarySearch(p.bounds, iv.lo)
		b, _ := slices.BinarySearch(p.bounds, iv.end)
		p.cover(uint32(a), uint32(b), iv.pos)
	}
	return p.finish(n, portOnly)
}

// cover applies the rule at pos to segments a up to b.
func (p *painter) cover(a, b, pos uint32) {
	r := &p.t.rules[pos]
	c := candidate{rule: r.ID, pos: pos}
	if r.Deny {
		c.bits = candDeny
	}
	if len(r.Apps) == 0 {
		for i := next(p.closed, a); i < b; i = next(p.closed, i) {
			p.cands[i] = append(p.cands[i], c)
			p.closed[i] = i + 1
		}
		return
	}
	c.bits |= candApp
	for _, c.app = range r.Apps {
		if b-a < wide {
			for i := a; i < b; i++ {
				p.addCandidate(i, c)
			}
			continue
		}
		k := uint32(c.app)<<8 | uint32(c.bits)
		u := p.covered[k]
		if u == nil {
			u = unions(nil, len(p.bounds)-1)
			p.covered[k] = u
		}
		for i := next(u, a); i < b; i = next(u, i) {
			p.addCandidate(i, c)
			u[i] = i + 1
		}
	}
}

// addCandidate adds a candidate that names an application to a segment, unless it is closed
// or an earlier rule has the same decision for the same application.
func (p *painter) addCandidate(i uint32, c candidate) {
	if p.closed[i] != i {
		return
	}
	for _, have := range p.cands[i] {
		if have.app == c.app && have.bits == c.bits {
			return
		}
	}
	p.cands[i] = append(p.cands[i], c)
}

// finish stores the painted segments. In large tables those of one point go into the exact
// map, which is searched first; the others may then extend over the points between them.
func (p *painter) finish(n int, portOnly bool) uint32 {
	t := p.t
	number := uint32(len(t.tables))
	pt := portTable{first: uint32(len(t.segments)), portOnly: portOnly}
	last := uint32(0)
	for i := range n {
		list := p.intern(p.cands[i])
		if n > small && p.bounds[i+1]-p.bounds[i] == 1 {
			p.exact = append(p.exact, exactSlot{exactKey(number, p.bounds[i]), list})
			pt.hasExact = true
		} else if list != last {
			t.segments = append(t.segments, segment{p.bounds[i], list})
			last = list
		}
	}
	if last != 0 {
		t.segments = append(t.segments, segment{p.bounds[n], 0})
	}
	pt.n = uint32(len(t.segments)) - pt.first
	t.tables = append(t.tables, pt)
	return number
}

// intern returns the position of a list of candidates, which is stored once.
func (p *painter) intern(list []candidate) uint32 {
	if len(list) == 0 {
		return 0
	}
	list[len(list)-1].bits |= candLast
	p.key = p.key[:0]
	for _, c := range list {
		p.key = binary.LittleEndian.AppendUint32(p.key, c.pos)
		p.key = append(p.key, byte(c.app), byte(c.app>>8), c.bits)
	}
	if at, ok := p.lists[string(p.key)]; ok {
		return at
	}
	at := uint32(len(p.t.candidates))
	p.t.candidates = append(p.t.candidates, list...)
	p.lists[string(p.key)] = at
	return at
}

// unions returns n segments and an end, each its own root, in u's memory where it fits.
func unions(u []uint32, n int) []uint32 {
	u = slices.Grow(u[:0], n+1)[:n+1]
	for i := range u {
		u[i] = uint32(i)
	}
	return u
}

// next returns the first segment from i on that is its own root, halving paths on its way.
func next(u []uint32, i uint32) uint32 {
	for u[i] != i {
		u[i] = u[u[i]]
		i = u[i]
	}
	return i
}
