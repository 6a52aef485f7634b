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
	Result
	// Attrs holds the attributes that the parser reported.
	Attrs Attrs
	// OnThreat is called for threats that a parser reports; may be nil.
	OnThreat func(id uint16, text string)
	// OnExpect is called for connections that the session's parser announces; may be nil.
	OnExpect func(e parsers.Expectation)

	cands   candidates
	spoke   [2]bool
	fed     [2]int // bytes given to the winner or, of datagrams, to any parser
	stream  parsers.Stream
	probed  [2]bool // the winner's match for that direction is final
	foreign [2]bool // mid-stream: that direction's bytes begin with none of the winner's and are not read
	flip    parsers.Dir
	late    bool // a winner was withdrawn: the next is only named
	header  header
	carried carried
	nested  bool // it is another's carried
	sink    sink
}

// Reset prepares for a new session.
func (d *Ident) Reset(reg *parsers.Registry, m parsers.Meta) {
	d.Close()
	d.Meta, d.sink.d = m, d
	d.cands.reset(reg, &d.Meta)
	d.Result = undecided()
	d.spoke, d.probed, d.foreign, d.fed = [2]bool{}, [2]bool{}, [2]bool{}, [2]int{}
	d.late, d.flip, d.carried.on = false, 0, false
	d.OnThreat, d.OnExpect = nil, nil
	d.header = header{past: m.Midstream || m.Datagram()}
	d.Attrs.reset()
	d.Attrs.changed = false
}

// Close closes the parsers' streams, if there are any.
func (d *Ident) Close() {
	if d.stream != nil {
		d.stream.Close()
		d.stream = nil
	}
	if d.carried.on {
		d.carried.ident.Close()
	}
}

// Could reports whether the session can still turn out to be of an application: that of a
// parser that has not rejected it, or one that runs over that parser's protocol.
func (d *Ident) Could(a app.ID) bool {
	if d.outcome == Decided {
		return a == d.App || a == d.Base
	}
	if a == app.Unknown {
		return true
	}
	return d.cands.could(a)
}

// Data reads bytes of one direction that follow in order on those consumed before (for
// datagrams: one datagram). It returns how many it consumed; the rest must be passed again
// with the bytes that follow.
func (d *Ident) Data(dir parsers.Dir, data []byte) (used int) {
	if d.ended || len(data) == 0 {
		return len(data)
	}
	if d.carried.on {
		d.carried.ident.OnThreat = d.OnThreat
		used = d.carried.ident.Data(dir^d.flip, data)
		d.adopt()
		return used
	}
	if d.winner < 0 && d.outcome == Preamble {
		d.outcome = Undecided
	}
	if d.Meta.Datagram() {
		n := d.fed[dir]
		if n >= MaxBytes && !d.Follows() {
			d.End()
			return len(data)
		}
		d.bytes(dir, data)
		d.fed[dir] = n + len(data)
		return len(data)
	}
	skipped, wait := d.header.skip(dir, data, &d.Attrs)
	if wait || skipped == len(data) {
		if skipped > 0 {
			d.outcome = Preamble // a server that speaks first waits for it
		}
		return skipped
	}
	return skipped + d.bytes(dir, data[skipped:])
}

// bytes reads what is not a preamble.
func (d *Ident) bytes(dir parsers.Dir, data []byte) (used int) {
	if !d.spoke[dir] {
		d.spoke[dir] = true
		if d.winner < 0 && d.spoke[dir.Reverse()] {
			// When one side has sent and the other begins, the strongest claim so far wins, so that a parser
			// that never decides delays none of the others.
			d.selectBest()
		}
	}
	switch {
	case d.winner >= 0:
	case d.late && d.fed[dir] > 0:
		// Its beginning went to the withdrawn parser; but the other side has sent its message.
		d.selectBest()
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

// probe probes the candidates with a head, and selects the parser whose claim is final.
func (d *Ident) probe(dir parsers.Dir, head []byte) {
	selected := d.cands.probeAll(dir, head)
	if len(d.cands.list) == 0 {
		d.setUnknown()
		d.finish()
	} else if selected >= 0 {
		d.selectParser(selected)
	}
}

// selectBest selects the parser of the strongest claim so far, if there is one.
func (d *Ident) selectBest() bool {
	best, i := d.cands.best()
	if best < parsers.Likely {
		return false
	}
	d.selectParser(i)
	return true
}

// selectParser assigns the session to a parser.
func (d *Ident) selectParser(i int) {
	e := d.cands.reg.Entry(i)
	c := &d.cands.claims[i]
	d.winner = i
	d.Base, d.Strength = e.ID, c.strength()
	for dir := range d.probed {
		d.probed[dir] = c.match[dir] >= parsers.Likely
	}
	d.side, d.flip = c.side, c.flip()
	if d.late {
		d.setApp()
		d.finish()
		return
	}
	_, d.pending = e.Parser.(parsers.Layered)
	d.stream = e.Parser.Open(d.cands.views.of(d.flip), &d.sink)
	if !d.pending {
		d.setApp()
	}
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
			if !d.probed[dir] && d.fed[dir] == 0 && d.cands.views.midstream() { // as where its probe rejects the beginning
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
		d.apply(r.State)
		switch {
		case r.State == parsers.Upgraded && !d.nested:
			d.Close()
			d.carried.begin(d.cands.reg, *d.cands.views.of(d.flip))
			return used + d.Data(dir, data[used:])
		case r.State == parsers.Done, r.State == parsers.Upgraded:
			d.finish()
			return len(data)
		}
		if r.Used == 0 {
			break
		}
	}
	return used
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
		d.cands.refill()
	}
	d.cands.dropSelected(d.winner, dir)
	d.withdraw(d.Attrs.Len() > 0)
	d.header.restore(&d.Attrs)
	d.late = true
	if whole && !d.Meta.Datagram() {
		d.reopen()
		d.probe(dir, data)
		return !d.ended
	}
	if !d.selectBest() {
		d.setUnknown()
		d.finish()
	}
	return false
}

func (d *Ident) finish() {
	d.ended = true
	d.Close()
}

// adopt takes over what was found in a carried protocol.
func (d *Ident) adopt() {
	if d.carried.report(&d.Attrs) {
		d.finish()
	}
}

// Gap reports that bytes of a direction will never arrive (n < 0: unknown how many).
func (d *Ident) Gap(dir parsers.Dir, n int) {
	if d.ended {
		return
	}
	if d.carried.on {
		d.carried.ident.Gap(dir^d.flip, n)
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
	if d.carried.on {
		d.carried.ident.End()
		d.adopt()
		return
	}
	if d.winner < 0 {
		d.selectBest()
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
