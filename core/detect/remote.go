package detect

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// News is the progress of a remote identification.
type News struct {
	Outcome Outcome
	Ended   bool // no more bytes are wanted
	// Lost reports that App is Unknown because a parser that might have identified it became
	// unavailable.
	Lost     bool
	Strength parsers.Match
	// App and Base are the application when the outcome is Decided. Before, they are what it would
	// be if identification ended now: app.Unknown without a claim.
	App, Base app.ID
	// Side is which end is the client, in terms of the session's Meta.
	Side Side
	// Renamed counts, modulo 4, the withdrawn names: attributes reported before are void.
	Renamed uint8
	// Seen is the number of calls of Data that this result covers.
	Seen uint32
	// Left is valid while the outcome is not Decided.
	Left Left
}

// MaxLeft is the maximum number of applications in a Left.
const MaxLeft = 8

// Left lists the parsers that have not rejected a session, by their applications. The zero
// Left is unknown: any application is possible.
type Left struct {
	Known bool
	N     uint8
	Apps  [MaxLeft]app.ID
}

// Add adds an application; too many make the list unknown.
func (l *Left) Add(a app.ID) {
	for _, b := range l.Apps[:l.N] {
		if a == b {
			return
		}
	}
	if !l.Known || l.N == MaxLeft {
		*l = Left{}
		return
	}
	l.Apps[l.N] = a
	l.N++
}

// Join adds the applications of another list.
func (l *Left) Join(m *Left) {
	if !m.Known {
		*l = Left{}
	}
	for _, a := range m.Apps[:m.N] {
		l.Add(a)
	}
}

// Could is Ident.Could for callers that have only the list.
func (l *Left) Could(a app.ID) bool {
	if !l.Known || a == app.Unknown {
		return true
	}
	if a >= app.FirstPlugin && a < app.None {
		return l.N > 0 // an application named by a plugin may run over any
	}
	for _, b := range l.Apps[:l.N] {
		if b == a || b == a.Base() {
			return true
		}
	}
	return false
}

// Answers receives the results of a Remote. Owner is the value passed to Open.
type Answers interface {
	// News reports the progress of a session.
	News(owner uint32, n News)
	// Found reports one attribute. Borrowed.
	Found(owner uint32, a parsers.Attr, value []byte)
	// Threat reports a threat.
	Threat(owner uint32, id uint16, text string)
	// Expect reports a connection that a named session announced.
	Expect(owner uint32, e parsers.Expectation)
}

// Remote identifies sessions elsewhere: in other processes, as plugins do. It belongs to one
// worker, whose goroutine alone calls it; only Wait blocks. A session's number is never 0.
type Remote interface {
	// Open begins a session; it returns 0 when no parser takes it. Lost reports that a parser
	// that might identify it is unavailable and will not be asked.
	Open(m *parsers.Meta, owner uint32) (session uint64, lost bool)
	// Data passes bytes of one direction that follow on those before (one whole datagram).
	// Borrowed.
	Data(session uint64, dir parsers.Dir, data []byte)
	// Gap reports that n bytes of a direction will never arrive.
	Gap(session uint64, dir parsers.Dir, n int)
	// End requests the result: no more bytes follow.
	End(session uint64)
	// Close discards a session. One whose News had Ended set is discarded already.
	Close(session uint64)
	// Flush sends the pending requests; once after each batch.
	Flush()
	// Poll delivers the results since the last call.
	Poll(to Answers)
	// Wait waits until all flushed requests have been answered, but at most d.
	Wait(d time.Duration)
	// Export detaches a session for another Remote of the same kind, which takes it over by
	// Adopt; nil and 0 when it cannot move.
	Export(session uint64) any
	Adopt(parcel any, owner uint32) uint64
	// Stop stops the Remote; no other call follows.
	Stop()
}

// Prompt is a Remote that knows when all bytes of a session have been processed, whether they
// brought news or not.
type Prompt interface {
	// Answered reports whether they have; true for an unknown session.
	Answered(session uint64) bool
}

// Shower is a Remote that knows which applications any datagram shows.
type Shower interface {
	// Shows is parsers.Registry.Shows for all of its parsers; false where some are unknown.
	Shows(a app.ID) bool
}

// Remotes creates the Remote of each worker.
type Remotes interface {
	// Remote creates one. Wake is called, from any goroutine, when there is something to Poll.
	Remote(wake func()) Remote
	// Counters adds the counts to m.
	Counters(m map[string]uint64)
}

// Learn applies an outcome from elsewhere; the Ident asks no parsers of its own after that.
func (d *Ident) Learn(n News) {
	d.Close()
	d.cands.list, d.winner = d.cands.list[:0], -1
	d.outcome, d.ended = n.Outcome, n.Ended
	d.Strength, d.side = n.Strength, n.Side
	if n.Renamed != d.renamed&3 {
		d.renamed = n.Renamed
		d.Attrs.reset()
	}
	if n.Outcome == Decided {
		d.App, d.Base = n.App, n.Base
	}
}

// News returns the progress of the Ident, for remote callers; they supply seen.
func (d *Ident) News(seen uint32) News {
	a, base := d.SoFar()
	return News{Outcome: d.outcome, Ended: d.ended, Strength: d.Strength, App: a, Base: base, Side: d.side, Renamed: d.renamed & 3,
		Seen: seen, Left: d.Left()}
}

// Left returns the parsers that remain.
func (d *Ident) Left() (l Left) {
	if d.outcome == Decided {
		return l
	}
	return d.cands.left()
}

// Waiting reports whether some parser may still claim the session and none has yet.
func (d *Ident) Waiting() bool { return !d.ended && d.winner < 0 && len(d.cands.list) > 0 }

// BothSpoke reports whether bytes of both directions have been read.
func (d *Ident) BothSpoke() bool { return d.spoke[0] && d.spoke[1] }
