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
	a.refit()
	for _, k := range a.links {
		st := k.stream.Load()
		if st == nil {
			continue
		}
		k.clock(&a.h.count)
		for _, b := range st.takeAnswers() {
			st.drained.Add(uint64(len(b)))
			if err := a.read(k, st.live, b, to); err != nil {
				_ = st.violation(err)
				break
			}
		}
		if st.dead.Load() {
			a.lost(k, to)
		}
	}
	a.connect()
	a.unpark(to)
	a.links = a.links.withoutLeft(&a.sessions)
	for e := range a.sessions.open {
		a.merge(e, to)
	}
	for _, k := range a.links {
		k.push(&a.h.count)
	}
}

// lost ends the sessions of a dead stream.
func (a *asker) lost(k *link, to detect.Answers) {
	for _, e := range a.sessions.by {
		pt := e.of(k)
		if pt == nil || pt.state != asking {
			continue
		}
		if pt.news.Outcome != detect.Decided {
			a.h.count.lost.Add(1)
			pt.news = unknown()
		}
		pt.news.Ended = true
		a.sessions.settlePart(pt)
		a.merge(e, to)
	}
}

// unpark sends waiting sessions to a started plugin, or ends the wait.
func (a *asker) unpark(to detect.Answers) {
	if a.sessions.parked == 0 {
		return
	}
	for _, k := range a.links {
		if !k.up() && k.p.soon.Load() || k.up() && k.behind() {
			continue
		}
		for _, e := range a.sessions.by {
			pt := e.of(k)
			if pt == nil || pt.state != parked {
				continue
			}
			if !k.up() || e.gone {
				a.h.count.lost.Add(1)
				pt.news = unknown()
				a.sessions.settlePart(pt)
				a.merge(e, to)
				continue
			}
			a.sessions.parked--
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

// read handles one message of answers.
func (a *asker) read(k *link, l *live, b []byte, to detect.Answers) error {
	for len(b) > 0 {
		r, rest, err := wire.Next(b)
		if err != nil {
			return err
		}
		if r.Kind < wire.State {
			return fmt.Errorf("%w: a plugin sends %v", wire.ErrMalformed, r.Kind)
		}
		b = rest
		if r.Session == 0 || r.Session > a.sessions.last {
			return fmt.Errorf("%w: session %d is none", wire.ErrMalformed, r.Session)
		}
		e := a.sessions.by[r.Session]
		if e == nil {
			continue // closed meanwhile
		}
		pt := e.of(k)
		if pt == nil || pt.state != asking {
			continue
		}
		if r.Kind != wire.State {
			a.forwardFinding(e, pt, &r, to)
			continue
		}
		n := r.News()
		if !l.translate(&n) {
			return fmt.Errorf("%w: application %d on %d of strength %v", wire.ErrMalformed, n.App, n.Base, n.Strength)
		}
		if n.Lost && !pt.news.Lost {
			a.h.count.lost.Add(1)
		}
		if n.Renamed != pt.news.Renamed {
			pt.kept = nil // a name was withdrawn
		}
		if pt.news = n; n.Ended {
			a.sessions.settlePart(pt)
		}
		a.merge(e, to)
	}
	return nil
}

// forwardFinding forwards an attribute or a threat, or keeps it until the plugin's claim has won.
func (a *asker) forwardFinding(e *entry, pt *part, r *wire.Record, to detect.Answers) {
	if len(e.parts) == 1 || e.winner >= 0 && pt == &e.parts[e.winner] {
		deliver(e.owner, r.Kind, r.Arg, r.Body, to)
		return
	}
	if e.winner < 0 && len(pt.kept) < 32 {
		pt.kept = append(pt.kept, finding{r.Kind, r.Arg, append([]byte(nil), r.Body...)})
	}
}

func deliver(owner uint32, k wire.Kind, arg uint8, body []byte, to detect.Answers) {
	r := wire.Record{Kind: k, Arg: arg, Body: body}
	switch k {
	case wire.Attr:
		to.Found(owner, parsers.Attr(arg), body)
	case wire.Threat:
		id, text := r.Threat()
		to.Threat(owner, id, string(text))
	case wire.Expect:
		to.Expect(owner, r.Expectation())
	}
}

// merge merges the answers of the plugins. The first certain claim wins; else the strongest, the earlier
// plugin's between equals, after all final answers, or after both sides have sent data and all have answered
// to that.
func (a *asker) merge(e *entry, to detect.Answers) {
	if e.winner < 0 && len(e.parts) == 1 {
		e.winner = 0
	}
	if e.winner < 0 {
		e.winner = e.choose()
	}
	if e.winner < 0 {
		a.undecided(e, to)
		return
	}
	delete(a.sessions.open, e)
	w := &e.parts[e.winner]
	for _, f := range w.kept {
		deliver(e.owner, f.kind, f.arg, f.body, to)
	}
	w.kept = nil
	n, owner := w.news, e.owner
	n.Lost = n.App == app.Unknown && e.lost()
	if len(e.parts) > 1 {
		a.dismiss(e)
	}
	if n.Ended {
		a.sessions.drop(e)
	}
	to.News(owner, n)
}

// lost reports whether a plugin ended before it identified the session.
func (e *entry) lost() bool {
	for i := range e.parts {
		if e.parts[i].news.Lost {
			return true
		}
	}
	return false
}

// choose returns the index of the winning claim; -1 while undecided.
func (e *entry) choose() int {
	best, strength := -1, parsers.No
	silent, slow := false, false
	for i := range e.parts {
		pt := &e.parts[i]
		switch {
		case pt.news.Outcome != detect.Decided:
			silent = true
			// Claims do not wait for a plugin that is starting, or has not answered for long.
			slow = slow || pt.state == asking && !e.turned(pt) && !pt.link.late
		case pt.news.App != app.Unknown && pt.news.Strength > strength:
			best, strength = i, pt.news.Strength
		}
	}
	switch {
	case strength == parsers.Certain || best >= 0 && !slow:
		return best
	case best < 0 && !silent:
		return 0 // all answered unknown
	}
	return -1
}

// turned reports whether both sides have sent data and the plugin has answered to that.
func (e *entry) turned(pt *part) bool {
	return e.spoke[0] && e.spoke[1] && pt.link.answered(pt.at)
}

// undecided forwards a preamble and the remaining candidates, and is repeated later if there is a claim.
func (a *asker) undecided(e *entry, to detect.Answers) {
	n := detect.News{Left: detect.Left{Known: true}, App: app.Unknown, Base: app.Unknown, Lost: e.lost()}
	claimed := parsers.No
	for i := range e.parts {
		pt := &e.parts[i]
		strength := parsers.Likely // of what is not decided, if it ended now
		if pt.news.Outcome == detect.Decided {
			strength = pt.news.Strength
		}
		if a := pt.news.App; a != app.Unknown && a != app.Undecided && strength > claimed {
			claimed, n.App, n.Base = strength, a, pt.news.Base
		}
		switch {
		case pt.news.Outcome == detect.Decided:
			a.sessions.open[e] = true
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
	if n != e.forwarded {
		e.forwarded = n
		to.News(e.owner, n)
	}
}

// dismiss closes the session at the losing plugins.
func (a *asker) dismiss(e *entry) {
	for i := range e.parts {
		pt := &e.parts[i]
		if i == e.winner {
			continue
		}
		if pt.state == asking {
			pt.link.write(wire.Append(a.scratch[:0], wire.Close, 0, e.number, nil))
		}
		a.sessions.settlePart(pt)
		pt.kept = nil
	}
}
