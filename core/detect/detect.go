// Package detect decides which parser gets a session and when identification ends.
// It asks parsers, through their contract; which protocols there are is not its business,
// and it neither assembles streams nor knows policy.
package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Limits of identification: whichever comes first ends it.
const (
	MaxPackets = 16              // payload packets of a session
	MaxBytes   = parsers.MaxHead // bytes per direction
	MaxTime    = 10 * 1e9        // ns after the first packet
)

// Outcome says how far an identification is.
type Outcome uint8

// Outcomes.
const (
	// Undecided: more bytes are needed.
	Undecided Outcome = iota
	// Preamble: as Undecided, and what came so far must be delivered to go on.
	Preamble
	// Decided: App, Base and Strength are final, but for Strength growing to Certain.
	Decided
)

// Ident is the identification of one session. It is used by one goroutine and
// used again after Reset.
type Ident struct {
	Meta parsers.Meta
	// App and Base are valid when the outcome is Decided; App is app.Unknown where
	// nothing was recognised.
	App, Base app.ID
	Strength  parsers.Match
	// Attrs holds what the parser told.
	Attrs Attrs
	// OnThreat is called for threats that a parser tells; may be nil.
	OnThreat func(id uint16, text string)

	reg     *parsers.Registry
	cand    []int // registry indexes still alive, in order
	match   [parsers.MaxParsers][2]parsers.Match
	spoke   [2]bool
	first   parsers.Dir // direction that spoke first; valid if any spoke
	winner  int         // registry index, -1 before
	stream  parsers.Stream
	outcome Outcome
	probed  [2]bool // the winner's opinion of that direction is settled
	riding  app.ID
	pending bool // layered winner that has not named its application yet
	ended   bool
	sink    sink
}

// Reset prepares for a new session.
func (d *Ident) Reset(reg *parsers.Registry, m parsers.Meta) {
	d.Close()
	d.Meta, d.reg, d.sink.d = m, reg, d
	d.cand = append(d.cand[:0], reg.For(m.Proto)...)
	for _, i := range d.cand {
		d.match[i] = [2]parsers.Match{}
	}
	d.spoke, d.probed = [2]bool{}, [2]bool{}
	d.winner, d.outcome = -1, Undecided
	d.App, d.Base, d.Strength, d.riding = app.Undecided, app.Undecided, parsers.No, app.Unknown
	d.pending, d.ended, d.OnThreat = false, false, nil
	d.Attrs.reset()
}

// Close ends the parser's stream, if there is one.
func (d *Ident) Close() {
	if d.stream != nil {
		d.stream.Close()
		d.stream = nil
	}
}

// Outcome is the state so far.
func (d *Ident) Outcome() Outcome { return d.outcome }

// Wants says whether more bytes could tell anything.
func (d *Ident) Wants() bool { return !d.ended }

// Chosen says whether a parser has the session.
func (d *Ident) Chosen() bool { return d.winner >= 0 }

// Could says whether the session can still turn out to be of an application: one of a parser that
// has not refused it, or one that rides on that parser's protocol.
func (d *Ident) Could(a app.ID) bool {
	if d.outcome == Decided {
		return a == d.App || a == d.Base
	}
	if a == app.Unknown {
		return true
	}
	for _, i := range d.cand {
		e := d.reg.Entry(i)
		if e.ID == a || e.ID == a.Base() {
			return true
		}
		if _, layered := e.Parser.(parsers.Layered); layered && a >= app.FirstPlugin && a < app.None {
			return true // what a plugin names may ride on anything
		}
	}
	return false
}

// Data reads bytes of one direction that follow in order on those consumed before
// (for datagrams: one datagram). It says how many of them it is done with; the
// rest must come again with what follows.
func (d *Ident) Data(dir parsers.Dir, data []byte) (used int) {
	if d.ended || len(data) == 0 {
		return len(data)
	}
	d.turn(dir)
	if d.winner < 0 {
		d.probe(dir, data)
		if d.winner < 0 {
			if d.Meta.Datagram() {
				return len(data)
			}
			return 0
		}
	}
	return d.feed(dir, data)
}

// turn notes who speaks. Where one side has had its say and the other begins, the strongest
// claim so far wins, so that a parser that never makes up its mind delays nobody.
func (d *Ident) turn(dir parsers.Dir) {
	if d.spoke[dir] {
		return
	}
	if !d.spoke[dir.Reverse()] {
		d.first = dir
	}
	d.spoke[dir] = true
	if d.winner < 0 && d.spoke[dir.Reverse()] {
		if best, i := d.best(); best >= parsers.Likely {
			d.choose(i)
		}
	}
}

// probe asks every candidate that has not settled on this direction.
func (d *Ident) probe(dir parsers.Dir, data []byte) {
	alive := d.cand[:0]
	waiting := false
	for _, i := range d.cand {
		m := &d.match[i]
		if m[dir] < parsers.Likely {
			m[dir] = d.reg.Entry(i).Parser.Probe(&d.Meta, dir, data)
		}
		if m[dir] == parsers.No {
			continue
		}
		alive = append(alive, i)
		waiting = waiting || (m[0] < parsers.Likely && m[1] < parsers.Likely)
	}
	d.cand = alive
	if len(alive) == 0 {
		d.unknown()
		return
	}
	best, i := d.best()
	if best == parsers.Certain || best == parsers.Likely && !waiting {
		d.choose(i)
	}
}

// best is the strongest claim, ties by order.
func (d *Ident) best() (best parsers.Match, index int) {
	index = -1
	for _, i := range d.cand {
		if s := d.strength(i); s > best {
			best, index = s, i
		}
	}
	return best, index
}

func (d *Ident) strength(i int) parsers.Match {
	a, b := d.match[i][0], d.match[i][1]
	if a >= parsers.Likely && b >= parsers.Likely {
		return parsers.Certain
	}
	return max(a, b)
}

// choose gives the session to a parser.
func (d *Ident) choose(i int) {
	e := d.reg.Entry(i)
	d.winner = i
	d.Base, d.Strength = e.ID, d.strength(i)
	for dir := range d.probed {
		d.probed[dir] = d.match[i][dir] >= parsers.Likely
	}
	_, d.pending = e.Parser.(parsers.Layered)
	d.stream = e.Parser.Open(&d.Meta, &d.sink)
	if !d.pending {
		d.name()
	}
}

// name makes the application final.
func (d *Ident) name() {
	d.pending = false
	d.App = d.Base
	if d.riding != app.Unknown {
		d.App = d.riding
	}
	d.outcome = Decided
}

// unknown ends identification without a name.
func (d *Ident) unknown() {
	d.App, d.Base, d.Strength = app.Unknown, app.Unknown, parsers.No
	d.outcome, d.pending, d.ended = Decided, false, true
	d.Close()
}

// feed gives bytes to the winner.
func (d *Ident) feed(dir parsers.Dir, data []byte) int {
	if !d.probed[dir] {
		m := d.reg.Entry(d.winner).Parser.Probe(&d.Meta, dir, data)
		if m == parsers.More && !d.Meta.Datagram() {
			return 0
		}
		d.probed[dir] = m != parsers.More
		d.match[d.winner][dir] = m
		d.Strength = max(d.Strength, d.strength(d.winner))
	}
	used := 0
	for used < len(data) {
		r := d.stream.Parse(dir, data[used:])
		r.Used = min(max(r.Used, 0), len(data)-used)
		used += r.Used
		if !d.state(r.State) {
			return len(data)
		}
		if r.Used == 0 {
			break
		}
	}
	if d.Meta.Datagram() {
		return len(data)
	}
	return used
}

// state takes a parser's word on how far it is; false when it wants no more.
func (d *Ident) state(s parsers.State) bool {
	switch s {
	case parsers.Preamble:
		if d.pending {
			d.outcome = Preamble
		}
	case parsers.Undecided:
		if d.pending {
			d.outcome = Undecided
		}
	case parsers.Named:
		if d.outcome != Decided {
			d.name()
		}
	case parsers.Done:
		if d.outcome != Decided {
			d.name()
		}
		d.finish()
		return false
	case parsers.Rejected:
		d.reject()
		return false
	}
	return true
}

// reject gives the session to the next claim. Bytes that the rejecting parser used are gone, so
// the next one is believed at its claim and not asked to parse.
func (d *Ident) reject() {
	d.Close()
	rest := d.cand[:0]
	for _, i := range d.cand {
		if i != d.winner {
			rest = append(rest, i)
		}
	}
	d.cand, d.winner, d.riding = rest, -1, app.Unknown
	best, i := d.best()
	if best < parsers.Likely {
		d.unknown()
		return
	}
	d.winner, d.Base, d.Strength = i, d.reg.Entry(i).ID, best
	d.name()
	d.finish()
}

func (d *Ident) finish() {
	d.ended = true
	d.Close()
}

// Gap says that bytes of a direction will never come (n < 0: unknown how many).
func (d *Ident) Gap(dir parsers.Dir, n int) {
	if d.ended {
		return
	}
	if d.stream != nil && d.stream.Gap(dir, n) {
		return
	}
	d.End()
}

// End ends identification at a limit: the strongest claim so far wins, else it is unknown.
func (d *Ident) End() {
	if d.ended {
		return
	}
	if d.winner < 0 {
		if best, i := d.best(); best >= parsers.Likely {
			d.choose(i)
		}
	}
	switch {
	case d.outcome == Decided:
	case d.winner < 0:
		d.unknown()
	default:
		d.name()
	}
	d.finish()
}

// sink is an Ident as its parser sees it.
type sink struct{ d *Ident }

// App implements parsers.Sink.
func (s *sink) App(id app.ID) {
	if s.d.outcome != Decided {
		s.d.riding = id
	}
}

// Attr implements parsers.Sink.
func (s *sink) Attr(a parsers.Attr, v []byte) { s.d.Attrs.set(a, v) }

// Threat implements parsers.Sink.
func (s *sink) Threat(id uint16, text string) {
	if s.d.OnThreat != nil {
		s.d.OnThreat(id, text)
	}
}

var _ parsers.Sink = (*sink)(nil)
