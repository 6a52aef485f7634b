// Package identify determines the application of a session from its bytes, by the parsers in
// this process, by those of other processes, or by both, transparently to the caller. It
// reassembles streams (core/stream), runs parsers (core/detect) and keeps their results. It
// knows neither sessions nor policy and decides nothing about packets.
package identify

import (
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/stream"
	"github.com/sluicenet/sluice/parsers"
)

// How long a Pool waits for answers where it must: when sessions end or move all at once.
const (
	LastAnswers = 200 * time.Millisecond
	syncAnswers = 5 * time.Second    // of a capture: its results must be reproducible
	closeWait   = int64(time.Second) // ns that a closed session's last record waits
	lastSecond  = int64(time.Second) // ns that are read after a packet beyond detect.MaxTime
)

// Preamble is detect.Preamble.
const Preamble = detect.Preamble

// Flow is one session being identified. It is pooled; a Pool creates it.
type Flow struct {
	detect.Ident
	// Owner is the argument of Begin; 0 while the flow is unused.
	Owner uint32
	// Since is when the first payload arrived, ns since the epoch. The caller sets it.
	Since int64
	// Share is who the memory of its stream is charged to. The caller sets it after Begin.
	Share stream.Owner

	number   uint32 // in its Pool
	dirs     [2]*stream.Assembler
	packets  int
	overdue  int64 // age at the first copy of a packet after detect.MaxTime, ns; 0: none came
	later    bool  // bytes wait to be read
	far      far
	limited  bool                         // a limit ended it while it was undecided
	leftover detect.Left                  // what it could have been then
	packet   []byte                       // the packet whose payload is being fed
	latest   []byte                       // the beginning of the last packet whose payload was sent to the remote
	report   func(id uint16, text string) // created once, so that a session costs no closure
	expect   func(e parsers.Expectation)  // the same
	follows  bool                         // it is read beyond the limits
}

// far is the remote part of a flow's identification, beside the results of the local registry
// (DNS, whose answers must be known before they are delivered).
type far struct {
	number   uint64      // with the Pool's Remote; 0: it is identified locally only
	sent     [2]uint64   // stream offsets up to which bytes were sent
	flip     parsers.Dir // 1 after client and server were exchanged: the remote keeps the old sides
	asked    uint32      // calls of Data
	seen     uint32      // calls of Data covered by an answer of detect.Preamble
	received bool        // news is valid
	learned  bool        // news is the flow's outcome
	lost     bool        // a plugin that might have known it was unavailable
	ending   bool        // the answer was requested, no more bytes are sent
	listed   bool        // it is on the Pool's list of those with news
	endBy    int64       // when a closed session stops waiting for it
	news     detect.News // the newest
	parcel   any         // while the flow moves between Pools
}

// shown returns the packet with the bytes that a parser reads now: the one being fed, or the
// last one sent to the remote.
func (f *Flow) shown() []byte {
	if f.packet != nil {
		return f.packet
	}
	return f.latest
}

// Number is the flow's number in its Pool.
func (f *Flow) Number() uint32 { return f.number }

// Later reports whether none of its bytes were read yet, as Bytes.Later asked for.
func (f *Flow) Later() bool { return f.later }

// Expired reports whether a flow of an age, ns, has reached the limit of time.
func (f *Flow) Expired(age int64) bool {
	if f.overdue > 0 {
		return age > f.overdue+lastSecond
	}
	return age >= detect.MaxTime
}

// Outcome returns the progress of identification, local or remote.
func (f *Flow) Outcome() detect.Outcome {
	if f.far.number != 0 && !f.far.learned {
		return detect.Undecided
	}
	return f.Ident.Outcome()
}

// Next returns the sequence number behind the bytes of a direction that were read in order; ok
// is false before the first.
func (f *Flow) Next(dir parsers.Dir) (seq uint32, ok bool) {
	a := f.dirs[dir]
	if a == nil {
		return 0, false
	}
	return a.Next(), true
}

// SoFar returns the application that the session would have if identification ended now.
func (f *Flow) SoFar() (a, base app.ID) {
	if f.far.number == 0 || f.far.learned {
		return f.Ident.SoFar()
	}
	if n := &f.far.news; f.far.received && n.App != app.Undecided && n.App != app.Unknown {
		return n.App, n.Base
	}
	if f.Waiting() {
		return f.Ident.SoFar()
	}
	return app.Unknown, app.Unknown
}

// Could reports whether the session can still turn out to be of an application, by local or
// remote parsers. It implements policy.Openness.
func (f *Flow) Could(a app.ID) bool {
	if f.far.number == 0 || f.far.learned {
		return f.Ident.Could(a)
	}
	return f.far.news.Left.Could(a) || f.Waiting() && f.Ident.Could(a)
}

// left returns the applications that the session can still turn out to be.
func (f *Flow) left() detect.Left {
	if f.far.number == 0 || f.far.learned {
		return f.Left()
	}
	l := f.far.news.Left
	if f.Waiting() {
		local := f.Left()
		l.Join(&local)
	}
	return l
}

// Limited reports whether a limit ended identification while the session could still have
// turned out to be of an application.
func (f *Flow) Limited(a app.ID) bool { return f.limited && f.leftover.Could(a) }

// Wants reports whether more bytes could change the result.
func (f *Flow) Wants() bool {
	if f.far.number != 0 && !f.far.learned {
		return !f.far.ending
	}
	return f.Ident.Wants() && !f.far.ending
}

// Over reports whether the flow is complete: it can be dropped.
func (f *Flow) Over() bool {
	return !f.Wants() && (f.far.number == 0 || f.far.learned && f.far.news.Ended)
}

// Open reports whether the flow is undecided and bytes or answers may still decide it.
func (f *Flow) Open() bool {
	return f.Outcome() != detect.Decided && !f.far.ending
}

// Elsewhere reports whether the flow is being identified by the remote, too.
func (f *Flow) Elsewhere() bool { return f.far.number != 0 }

// Lost reports whether a plugin that might have known the application was unavailable.
func (f *Flow) Lost() bool { return f.far.lost }

// Asked returns the number of remote requests about the flow.
func (f *Flow) Asked() uint32 { return f.far.asked }

// Seen returns the number of those requests covered by an answer that needs its bytes
// delivered (detect.Preamble); 0 without one. It is returned once.
func (f *Flow) Seen() uint32 {
	n := f.far.seen
	f.far.seen = 0
	return n
}

// accept makes the newest news the flow's outcome, unless a local parser may still claim the
// session: then the stronger claim wins, and the other side's bytes end the wait, as among
// local parsers.
func (f *Flow) accept() {
	n := &f.far.news
	if !f.far.learned {
		if n.Outcome != detect.Decided {
			return
		}
		if n.Strength < certain && !f.far.ending && f.Waiting() && !f.BothSpoke() {
			return
		}
	}
	f.far.learned = true
	f.Learn(*n)
}
