// Package detect decides which parser gets a session and when identification ends. It calls
// parsers through their contract; it has no list of protocols of its own, assembles no
// streams and does not know policy.
package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Limits of identification: whichever is reached first ends it. Bytes and time are the bound,
// so that the result does not depend on how the bytes were cut; packets are limited only
// against peers that send a byte at a time, since for each packet the parsers read the whole
// head again.
const (
	MaxPackets = 4096            // payload packets of a session
	MaxBytes   = parsers.MaxHead // bytes per direction
	MaxTime    = 10 * 1e9        // ns after the first packet
)

// Outcome is the progress of an identification.
type Outcome uint8

// Outcomes.
const (
	// Undecided: more bytes are needed.
	Undecided Outcome = iota
	// Preamble: as Undecided, and the bytes so far must be delivered for the session to
	// continue.
	Preamble
	// Decided: App, Base and Strength are final, except that Strength may grow to Certain.
	Decided
)

// Ident is the identification of one session. It is used by one goroutine and reused after
// Reset.
type Ident struct {
	Meta parsers.Meta
	// App and Base are valid when the outcome is Decided; App is app.Unknown where no parser
	// matched.
	App, Base app.ID
	Strength  parsers.Match
	// Attrs holds the attributes that the parser reported.
	Attrs Attrs
	// OnThreat is called for threats that a parser reports; may be nil.
	OnThreat func(id uint16, text string)
	// OnExpect is called for connections that the session's parser announces; may be nil.
	OnExpect func(e parsers.Expectation)

	reg     *parsers.Registry
	cand    []int // registry indexes still alive, in order
	claims  [parsers.MaxParsers]claim
	spoke   [2]bool
	fed     [2]int      // bytes given to the winner or, of datagrams, to any parser
	first   parsers.Dir // direction that spoke first; valid if any spoke
	winner  int         // registry index, -1 before
	stream  parsers.Stream
	outcome Outcome
	probed  [2]bool // the winner's match for that direction is final
	foreign [2]bool // mid-stream: that direction's bytes begin with none of the winner's and are not read
	flip    parsers.Dir
	turned  parsers.Meta // Meta with the sides exchanged; valid while flip is set
	side    Side
	renamed uint8 // names withdrawn after they were final
	riding  app.ID
	pending bool // layered winner that has not named the application yet
	begun   bool // a PROXY header is no longer possible
	proxied string
	late    bool // a winner was withdrawn: the next is only named
	ended   bool
	inner   *Ident // identifies what an upgraded session carries; kept for later sessions
	carries bool   // the session was upgraded: its bytes are inner's
	nested  bool   // it is another's inner
	sink    sink
}

// Reset prepares for a new session.
func (d *Ident) Reset(reg *parsers.Registry, m parsers.Meta) {
	d.Close()
	d.Meta, d.reg, d.sink.d = m, reg, d
	d.cand = append(d.cand[:0], reg.For(m.Proto)...)
	for _, i := range d.cand {
		d.claims[i] = claim{}
	}
	d.spoke, d.probed, d.foreign, d.fed = [2]bool{}, [2]bool{}, [2]bool{}, [2]int{}
	d.winner, d.outcome = -1, Undecided
	d.App, d.Base, d.Strength, d.riding = app.Undecided, app.Undecided, parsers.No, app.Unknown
	d.pending, d.late, d.ended, d.OnThreat, d.OnExpect = false, false, false, nil, nil
	d.flip, d.side, d.renamed, d.carries = 0, UnknownSide, 0, false
	d.begun, d.proxied = m.Midstream || m.Datagram(), ""
	d.Attrs.reset()
	d.Attrs.changed = false
}

// Close closes the parsers' streams, if there are any.
func (d *Ident) Close() {
	if d.stream != nil {
		d.stream.Close()
		d.stream = nil
	}
	if d.carries {
		d.inner.Close()
	}
}

// Outcome returns the state so far.
func (d *Ident) Outcome() Outcome { return d.outcome }

// Wants reports whether more bytes could change the result.
func (d *Ident) Wants() bool { return !d.ended }

// Chosen reports whether a parser was selected for the session.
func (d *Ident) Chosen() bool { return d.winner >= 0 }

// Could reports whether the session can still turn out to be of an application: that of a
// parser that has not rejected it, or one that runs over that parser's protocol.
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
			return true // an application named by a plugin may run over any
		}
	}
	return false
}

// Data reads bytes of one direction that follow in order on those consumed before (for
// datagrams: one datagram). It returns how many it consumed; the rest must be passed again
// with the bytes that follow.
func (d *Ident) Data(dir parsers.Dir, data []byte) (used int) {
	if d.ended || len(data) == 0 {
		return len(data)
	}
	if d.carries {
		return d.carried(dir, data)
	}
	if d.winner < 0 && d.outcome == Preamble {
		d.outcome = Undecided
	}
	if d.Meta.Datagram() {
		return d.datagram(dir, data)
	}
	skipped, wait := d.skipPreamble(dir, data)
	if wait || skipped == len(data) {
		return skipped
	}
	return skipped + d.bytes(dir, data[skipped:])
}

// datagram reads one datagram, or ends identification when its side has reached the limit.
func (d *Ident) datagram(dir parsers.Dir, data []byte) (used int) {
	n := d.fed[dir]
	if n >= MaxBytes && !d.Follows() {
		d.End()
		return len(data)
	}
	d.bytes(dir, data)
	d.fed[dir] = n + len(data)
	return len(data)
}

// bytes reads what is not a preamble.
func (d *Ident) bytes(dir parsers.Dir, data []byte) (used int) {
	d.recordTurn(dir)
	switch {
	case d.winner >= 0:
	case d.late && d.fed[dir] > 0:
		// Its beginning went to the withdrawn parser; but the other side has sent its message.
		if best, i := d.best(); best >= parsers.Likely {
			d.selectParser(i)
		}
		return len(data)
	default:
		d.probe(dir, data)
		if d.winner < 0 {
			return 0
		}
	}
	if d.ended {
		return len(data)
	}
	return d.feed(dir, data)
}

// recordTurn records which side sends. When one side has sent and the other begins, the
// strongest claim so far wins, so that a parser that never decides delays none of the others.
func (d *Ident) recordTurn(dir parsers.Dir) {
	if d.spoke[dir] {
		return
	}
	if !d.spoke[dir.Reverse()] {
		d.first = dir
	}
	d.spoke[dir] = true
	if d.winner < 0 && d.spoke[dir.Reverse()] {
		if best, i := d.best(); best >= parsers.Likely {
			d.selectParser(i)
		}
	}
}

// selectParser assigns the session to a parser.
func (d *Ident) selectParser(i int) {
	e := d.reg.Entry(i)
	c := &d.claims[i]
	d.winner = i
	d.Base, d.Strength = e.ID, c.strength()
	for dir := range d.probed {
		d.probed[dir] = c.match[dir] >= parsers.Likely
	}
	d.orient(c.side, c.flip())
	if d.late {
		d.setApp()
		d.finish()
		return
	}
	_, d.pending = e.Parser.(parsers.Layered)
	d.stream = e.Parser.Open(d.meta(d.flip), &d.sink)
	if !d.pending {
		d.setApp()
	}
}

// setApp makes the application final.
func (d *Ident) setApp() {
	d.pending = false
	d.App = d.Base
	if d.riding != app.Unknown {
		d.App = d.riding
	}
	d.outcome = Decided
}

// setUnknown ends identification without an application.
func (d *Ident) setUnknown() {
	d.App, d.Base, d.Strength = app.Unknown, app.Unknown, parsers.No
	d.outcome, d.pending, d.ended = Decided, false, true
	d.Close()
}

// feed passes bytes to the winner.
func (d *Ident) feed(dir parsers.Dir, data []byte) int {
	if !d.probed[dir] && !d.settleDirection(dir, data) {
		return 0
	}
	if d.foreign[dir] {
		d.fed[dir] += len(data)
		return len(data)
	}
	used := 0
	for used < len(data) {
		r := d.stream.Parse(dir^d.flip, data[used:])
		r.Used = min(max(r.Used, 0), len(data)-used)
		if r.State == parsers.Rejected {
			if !d.probed[dir] && d.fed[dir] == 0 && d.midstream() { // as where its probe rejects the beginning
				d.foreign[dir] = true
				d.fed[dir] += len(data)
				return len(data)
			}
			if d.reject(dir, data, d.fed[dir] == 0) {
				return 0
			}
			return len(data)
		}
		used += r.Used
		d.fed[dir] += r.Used
		d.probed[dir] = d.probed[dir] || r.Used > 0
		if !d.applyState(r.State) {
			return len(data)
		}
		if d.carries {
			return used + d.Data(dir, data[used:])
		}
		if r.Used == 0 {
			break
		}
	}
	return used
}

// applyState handles the state a parser returned; it returns false when the parser needs no
// more.
func (d *Ident) applyState(s parsers.State) bool {
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
			d.setApp()
		}
	case parsers.Done, parsers.Upgraded:
		if d.outcome != Decided {
			d.setApp()
		}
		if s == parsers.Upgraded && !d.nested {
			d.upgrade()
			return true
		}
		d.finish()
		return false
	}
	return true
}

// reject withdraws the winner's claim: its reports about the session are void, and the other
// parsers may claim it. Where the winner consumed nothing of a direction (whole) they may
// still probe it, including those that had yielded to the winner because of the other side's
// bytes; reject then reports whether they need more of it. What the winner consumed is gone,
// so the next parser is accepted by its claim and not asked to parse, which rules out those
// that must parse.
func (d *Ident) reject(dir parsers.Dir, data []byte, whole bool) (more bool) {
	d.Close()
	if whole {
		d.cand = append(d.cand[:0], d.reg.For(d.Meta.Proto)...)
	}
	rest := d.cand[:0]
	for _, i := range d.cand {
		_, layered := d.reg.Entry(i).Parser.(parsers.Layered)
		if i != d.winner && !layered && !d.claims[i].no[dir] {
			rest = append(rest, i)
		}
	}
	if d.Attrs.Len() > 0 || d.outcome == Decided {
		d.renamed++
	}
	d.discardReports()
	d.cand, d.winner, d.riding, d.side, d.late = rest, -1, app.Unknown, UnknownSide, true
	if whole && !d.Meta.Datagram() {
		d.outcome, d.pending, d.Strength = Undecided, false, parsers.No
		d.App, d.Base = app.Undecided, app.Undecided
		d.probe(dir, data)
		return !d.ended
	}
	if best, i := d.best(); best >= parsers.Likely {
		d.selectParser(i)
	} else {
		d.setUnknown()
	}
	return false
}

func (d *Ident) finish() {
	d.ended = true
	d.Close()
}

// Gap reports that bytes of a direction will never arrive (n < 0: unknown how many).
func (d *Ident) Gap(dir parsers.Dir, n int) {
	if d.ended {
		return
	}
	if d.carries {
		d.inner.Gap(dir^d.flip, n)
		d.adopt()
		return
	}
	if d.stream != nil && d.stream.Gap(dir, n) {
		return
	}
	d.End()
}

// End ends identification at a limit: the strongest claim so far wins, else it is unknown. A
// protocol whose application was still undetermined is no more than likely then: the
// application over it was not seen.
func (d *Ident) End() {
	if d.ended {
		return
	}
	if d.carries {
		d.inner.End()
		d.adopt()
		return
	}
	if d.winner < 0 {
		if best, i := d.best(); best >= parsers.Likely {
			d.selectParser(i)
		}
	}
	switch {
	case d.outcome == Decided:
	case d.winner < 0:
		d.setUnknown()
	default:
		d.Strength = min(d.Strength, parsers.Likely)
		d.setApp()
	}
	d.finish()
}
