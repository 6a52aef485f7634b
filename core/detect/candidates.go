package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// candidates are the parsers that have not rejected a session, with their claims.
type candidates struct {
	reg    *parsers.Registry
	list   []int // registry indexes, in order
	claims [parsers.MaxParsers]claim
	views  views
}

// reset makes all parsers of a session's protocol candidates without claims.
func (l *candidates) reset(reg *parsers.Registry, m *parsers.Meta) {
	l.reg, l.views.meta = reg, m
	l.refill()
	for _, i := range l.list {
		l.claims[i] = claim{}
	}
}

// refill makes all parsers of the session's protocol candidates again; their claims remain.
func (l *candidates) refill() { l.list = append(l.list[:0], l.reg.For(l.views.meta.Proto)...) }

// exchange swaps the directions of all claims after the ends of the session were exchanged.
func (l *candidates) exchange() {
	for _, i := range l.list {
		l.claims[i].exchange()
	}
}

// probeAll probes every candidate that is undecided about a direction, and drops those that reject the session.
// It returns the parser to select; -1 while another one may still claim more strongly.
func (l *candidates) probeAll(dir parsers.Dir, head []byte) (selected int) {
	alive := l.list[:0]
	waiting := false
	for _, i := range l.list {
		if !l.probe(i, dir, head) {
			continue
		}
		alive = append(alive, i)
		c := &l.claims[i]
		waiting = waiting || c.match[0] < parsers.Likely && c.match[1] < parsers.Likely && !c.no[dir]
	}
	l.list = alive
	if best, i := l.best(); best == parsers.Certain || best == parsers.Likely && !waiting {
		return i
	}
	return -1
}

// probe probes one parser with a head and reports whether it may still claim the
// session. In mid-stream a side may be in the middle of a message, so that both sides are
// needed to rule a protocol out.
func (l *candidates) probe(i int, dir parsers.Dir, head []byte) bool {
	c := &l.claims[i]
	if c.match[dir] < parsers.Likely && !c.no[dir] {
		l.match(i, dir, head, false)
	}
	if c.no[dir] && l.views.midstream() {
		return !c.no[dir.Reverse()]
	}
	return !c.no[dir]
}

// match probes a parser, which may be the selected one, with a head. Where client and server are a guess, a parser that recognises the role
// of a head is also probed with it as the other side's.
func (l *candidates) match(i int, dir parsers.Dir, head []byte, selected bool) {
	c, v := &l.claims[i], &l.views
	p := l.reg.Entry(i).Parser
	m := p.Probe(v.of(0), dir, head)
	if v.meta.Midstream || v.meta.Datagram() {
		if sided, ok := p.(parsers.Sided); ok {
			if m < parsers.Likely {
				m = max(m, p.Probe(v.of(1), dir.Reverse(), head))
				c.turned[dir] = m >= parsers.Likely
			}
			if c.side == UnknownSide && (m >= parsers.Likely || m == parsers.More && selected) {
				c.side = sideOf(sided.Part(v.of(0), head), dir)
			}
		}
	}
	c.match[dir], c.no[dir] = m, m == parsers.No
}

// best returns the strongest claim; ties are broken by order.
func (l *candidates) best() (best parsers.Match, index int) {
	index = -1
	for _, i := range l.list {
		if s := l.claims[i].strength(); s > best {
			best, index = s, i
		}
	}
	return best, index
}

// dropSelected drops the selected parser, which rejected the session, and those that cannot follow it: those that
// have rejected a direction, and those that must parse.
func (l *candidates) dropSelected(selected int, dir parsers.Dir) {
	rest := l.list[:0]
	for _, i := range l.list {
		_, layered := l.reg.Entry(i).Parser.(parsers.Layered)
		if i != selected && !layered && !l.claims[i].no[dir] {
			rest = append(rest, i)
		}
	}
	l.list = rest
}

// could reports whether the session can still turn out to be of an application: that of a candidate, or one that
// runs over a candidate's protocol.
func (l *candidates) could(a app.ID) bool {
	for _, i := range l.list {
		e := l.reg.Entry(i)
		if e.ID == a || e.ID == a.Base() {
			return true
		}
		if _, layered := e.Parser.(parsers.Layered); layered && a >= app.FirstPlugin && a < app.None {
			return true // an application named by a plugin may run over any
		}
	}
	return false
}

// left returns the candidates by their applications.
func (l *candidates) left() (out Left) {
	if len(l.list) > MaxLeft {
		return out
	}
	out.Known = true
	for _, i := range l.list {
		out.Add(l.reg.Entry(i).ID)
	}
	return out
}
