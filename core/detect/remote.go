package detect

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// News is how far an identification that happens elsewhere is.
type News struct {
	Outcome Outcome
	Ended   bool // no more bytes are wanted
	// Lost says that App is Unknown because somebody who might have told it went away.
	Lost      bool
	Strength  parsers.Match
	App, Base app.ID // valid when the outcome is Decided
	// Side is who the client is, by the sides of the session's Meta.
	Side Side
	// Renamed counts, modulo 4, the names that were withdrawn: attributes found before are void.
	Renamed uint8
	// Seen is how many calls of Data this answer knows of.
	Seen uint32
	// Left is valid while the outcome is not Decided.
	Left Left
}

// MaxLeft is how many applications a Left lists.
const MaxLeft = 8

// Left lists the parsers that have not refused a session, by their applications. The zero Left says nothing:
// it may be any.
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

// Join adds another list's.
func (l *Left) Join(m *Left) {
	if !m.Known {
		*l = Left{}
	}
	for _, a := range m.Apps[:m.N] {
		l.Add(a)
	}
}

// Could is Ident.Could for those who know no more than the list.
func (l *Left) Could(a app.ID) bool {
	if !l.Known || a == app.Unknown {
		return true
	}
	if a >= app.FirstPlugin && a < app.None {
		return l.N > 0 // what a plugin names may ride on anything
	}
	for _, b := range l.Apps[:l.N] {
		if b == a || b == a.Base() {
			return true
		}
	}
	return false
}

// Answers takes what is found elsewhere. Owner is what Open was given.
type Answers interface {
	// News says how far a session is.
	News(owner uint32, n News)
	// Found tells one attribute. Borrowed.
	Found(owner uint32, a parsers.Attr, value []byte)
	// Threat tells a threat.
	Threat(owner uint32, id uint16, text string)
}

// Remote identifies sessions elsewhere: in other processes, as plugins do. It belongs to one worker, whose goroutine
// alone calls it; nothing but Wait blocks. A session's number is not 0.
type Remote interface {
	// Open begins a session; 0 when nobody takes it. Lost says that somebody who might know it is away and
	// will not be asked.
	Open(m *parsers.Meta, owner uint32) (session uint64, lost bool)
	// Data gives bytes of one direction that follow on those before (for datagrams one, whole). Borrowed.
	Data(session uint64, dir parsers.Dir, data []byte)
	// Gap says that n bytes of a direction will never come.
	Gap(session uint64, dir parsers.Dir, n int)
	// End asks for the answer: nothing more comes.
	End(session uint64)
	// Close forgets a session. One whose News said Ended is forgotten already.
	Close(session uint64)
	// Flush sends what has come together; once after each batch.
	Flush()
	// Poll gives what was answered since the last call.
	Poll(to Answers)
	// Wait waits until everything that was flushed has been answered, and no longer than d.
	Wait(d time.Duration)
	// Export gives a session up for another Remote of the same kind, which takes it in
	// by Adopt; nil and 0 when it cannot move.
	Export(session uint64) any
	Adopt(parcel any, owner uint32) uint64
	// Stop ends everything; no other call follows.
	Stop()
}

// Prompt is a Remote that knows when everything that a session brought has been worked on, be there
// news or none.
type Prompt interface {
	// Answered says so; true for a session that is not there.
	Answered(session uint64) bool
}

// Remotes makes the Remote of each worker.
type Remotes interface {
	// Remote makes one. Wake is called, from any goroutine, when there is something to Poll.
	Remote(wake func()) Remote
	// Counters adds what was counted to m.
	Counters(m map[string]uint64)
}

// Learn takes an outcome from elsewhere; the Ident asks no parsers of its own after that.
func (d *Ident) Learn(n News) {
	d.Close()
	d.cand, d.winner = d.cand[:0], -1
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

// News is how far the Ident is, for those who wait elsewhere; seen is theirs to know.
func (d *Ident) News(seen uint32) News {
	return News{Outcome: d.outcome, Ended: d.ended, Strength: d.Strength, App: d.App, Base: d.Base, Side: d.side, Renamed: d.renamed & 3,
		Seen: seen, Left: d.left()}
}

// left lists who is left.
func (d *Ident) left() (l Left) {
	if d.outcome == Decided || len(d.cand) > MaxLeft {
		return l
	}
	l.Known = true
	for _, i := range d.cand {
		l.Add(d.reg.Entry(i).ID)
	}
	return l
}

// Waiting says whether some parser may still claim the session and none has it yet.
func (d *Ident) Waiting() bool { return !d.ended && d.winner < 0 && len(d.cand) > 0 }

// BothSpoke says whether bytes of both directions have been read.
func (d *Ident) BothSpoke() bool { return d.spoke[0] && d.spoke[1] }
