package host

import (
	"fmt"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// Poll implements detect.Remote.
func (a *asker) Poll(to detect.Answers) {
	for i, k := range a.links {
		st := k.stream.Load()
		if st == nil {
			continue
		}
		k.clock(&a.h.count)
		for _, b := range st.take() {
			st.drained.Add(uint64(len(b)))
			if err := a.read(i, st.live, b, to); err != nil {
				_ = st.garbage(err) // its supervisor is told
				break
			}
		}
		if st.dead.Load() {
			a.lost(i, to)
		}
	}
	a.connect()
	a.unpark(to)
	for e := range a.open {
		a.merge(e, to)
	}
	for _, k := range a.links {
		k.push(&a.h.count)
	}
}

// connect opens streams to plugins that have come up.
func (a *asker) connect() {
	for i, k := range a.links {
		st, l := k.stream.Load(), k.p.live.Load()
		if l == nil || st != nil && (!st.dead.Load() || st.live == l) {
			continue
		}
		if st != nil && a.holds(i) {
			continue // Poll tells of the old life's sessions first
		}
		k.reset(l.open(a.nudge))
	}
}

// holds says whether sessions are with the dead stream of a link still.
func (a *asker) holds(i int) bool {
	for _, e := range a.sessions {
		if e.parts[i].state == asking {
			return true
		}
	}
	return false
}

// lost ends the sessions that a dead stream had.
func (a *asker) lost(i int, to detect.Answers) {
	for _, e := range a.sessions {
		if e.parts[i].state != asking {
			continue
		}
		pt := &e.parts[i]
		if pt.news.Outcome != detect.Decided {
			a.h.count.lost.Add(1)
			pt.news = unknown()
		}
		pt.news.Ended = true
		a.settle(e, i)
		a.merge(e, to)
	}
}

// unpark gives waiting sessions to a plugin that has come up, or gives up waiting.
func (a *asker) unpark(to detect.Answers) {
	if a.parked == 0 {
		return
	}
	for i, k := range a.links {
		if !k.up() && k.p.soon.Load() {
			continue
		}
		for _, e := range a.sessions {
			pt := &e.parts[i]
			if pt.state != parked {
				continue
			}
			if !k.up() || e.gone {
				a.h.count.lost.Add(1)
				pt.news = unknown()
				a.settle(e, i)
				a.merge(e, to)
				continue
			}
			a.parked--
			pt.state = asking
			if !e.begun {
				continue
			}
			for b := e.log; len(b) > 0; {
				next := wire.SetSession(b, e.number)
				k.write(b[:len(b)-len(next)])
				b = next
			}
			pt.at = k.pos
		}
		if k.up() {
			k.seal()
		}
	}
}

// read takes one message of answers.
func (a *asker) read(i int, l *live, b []byte, to detect.Answers) error {
	for len(b) > 0 {
		r, rest, err := wire.Next(b)
		if err != nil {
			return err
		}
		if r.Kind < wire.State {
			return fmt.Errorf("%w: a plugin says %v", wire.ErrMalformed, r.Kind)
		}
		b = rest
		if r.Session == 0 || r.Session > a.last {
			return fmt.Errorf("%w: session %d is none", wire.ErrMalformed, r.Session)
		}
		e := a.sessions[r.Session]
		if e == nil || e.parts[i].state != asking {
			continue // closed meanwhile
		}
		if r.Kind != wire.State {
			a.found(e, i, &r, to)
			continue
		}
		n := r.News()
		if !l.translate(&n) {
			return fmt.Errorf("%w: application %d on %d of strength %v", wire.ErrMalformed, n.App, n.Base, n.Strength)
		}
		if n.Renamed != e.parts[i].news.Renamed {
			e.parts[i].found = nil // a name was withdrawn
		}
		e.parts[i].news = n
		if n.Ended {
			a.settle(e, i)
		}
		a.merge(e, to)
	}
	return nil
}

// found passes an attribute or a threat on, or keeps it until the plugin's claim has won.
func (a *asker) found(e *entry, i int, r *wire.Record, to detect.Answers) {
	if e.asked == 1 || e.winner == i {
		tell(e.owner, r.Kind, r.Arg, r.Body, to)
		return
	}
	if pt := &e.parts[i]; e.winner < 0 && len(pt.found) < 32 {
		pt.found = append(pt.found, found{r.Kind, r.Arg, append([]byte(nil), r.Body...)})
	}
}

func tell(owner uint32, k wire.Kind, arg uint8, body []byte, to detect.Answers) {
	if k == wire.Attr {
		to.Found(owner, parsers.Attr(arg), body)
		return
	}
	r := wire.Record{Kind: k, Body: body}
	id, text := r.Threat()
	to.Threat(owner, id, string(text))
}

// merge makes one answer of what the plugins say. The first certain claim wins; else the strongest, the
// earlier plugin's between equals, when all have answered for good, or when both sides have spoken and
// all have answered to that.
func (a *asker) merge(e *entry, to detect.Answers) {
	if e.winner < 0 && e.asked == 1 {
		e.winner = e.sole()
	}
	if e.winner < 0 {
		e.winner = a.choose(e)
	}
	if e.winner < 0 {
		a.undecided(e, to)
		return
	}
	delete(a.open, e)
	w := &e.parts[e.winner]
	for _, f := range w.found {
		tell(e.owner, f.kind, f.arg, f.body, to)
	}
	w.found = nil
	n, owner := w.news, e.owner
	n.Lost = n.App == app.Unknown && e.lost()
	if e.asked > 1 {
		a.dismiss(e)
	}
	if n.Ended {
		a.drop(e)
	}
	to.News(owner, n)
}

// sole is the index of the only plugin that is asked.
func (e *entry) sole() int {
	for i := range e.parts {
		if e.parts[i].state != absent {
			return i
		}
	}
	return -1
}

// lost says whether somebody went away before saying what the session is.
func (e *entry) lost() bool {
	for i := range e.parts {
		if e.parts[i].news.Lost {
			return true
		}
	}
	return false
}

// choose is the index of the claim that wins; -1 while it is open.
func (a *asker) choose(e *entry) int {
	best, strength := -1, parsers.No
	first, silent, slow := -1, false, false
	for i := range e.parts {
		pt := &e.parts[i]
		switch {
		case pt.state == absent:
			continue
		case pt.news.Outcome != detect.Decided:
			silent = true
			// One that is only being started, or has not answered for long, keeps no claim waiting.
			slow = slow || pt.state == asking && !a.turned(e, i) && !a.links[i].late
		case pt.news.App != app.Unknown && pt.news.Strength > strength:
			best, strength = i, pt.news.Strength
		}
		if first < 0 {
			first = i
		}
	}
	switch {
	case strength == parsers.Certain || best >= 0 && !slow:
		return best
	case best < 0 && !silent:
		return first // all say that they do not know it
	}
	return -1
}

// turned says whether a plugin has had its turn: both sides have spoken and it has answered.
func (a *asker) turned(e *entry, i int) bool {
	return e.spoke[0] && e.spoke[1] && a.links[i].answered(e.parts[i].at)
}

// undecided passes on a preamble and who is left, and looks again later if there is a claim.
func (a *asker) undecided(e *entry, to detect.Answers) {
	n := detect.News{Left: detect.Left{Known: true}}
	for i := range e.parts {
		pt := &e.parts[i]
		switch {
		case pt.state == absent:
		case pt.news.Outcome == detect.Decided:
			a.open[e] = true
			if pt.news.App != app.Unknown {
				n.Left.Add(pt.news.Base)
			}
		case pt.news.Outcome == detect.Preamble:
			preamble := pt.news
			preamble.Left = detect.Left{} // of one plugin alone
			to.News(e.owner, preamble)
			return
		default:
			n.Left.Join(&pt.news.Left)
		}
	}
	if n.Left != e.left {
		e.left = n.Left
		to.News(e.owner, n)
	}
}

// dismiss tells the plugins that did not win that nobody waits for them.
func (a *asker) dismiss(e *entry) {
	for i := range e.parts {
		pt := &e.parts[i]
		if i == e.winner {
			continue
		}
		if pt.state == asking {
			k := a.links[i]
			k.write(wire.Append(a.scratch[:0], wire.Close, 0, e.number, nil))
		}
		a.settle(e, i)
		pt.found = nil
	}
}
