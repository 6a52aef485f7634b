package detect

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Result is what is known of a session's application.
type Result struct {
	// App and Base are valid when the outcome is Decided; App is app.Unknown where no parser
	// matched.
	App, Base app.ID
	Strength  parsers.Match

	winner  int // registry index of the selected parser, -1 before
	outcome Outcome
	side    Side
	renamed uint8  // names withdrawn after they were final
	riding  app.ID // the application that a parser named over its protocol; app.Unknown before
	pending bool   // the selected parser has not named the application yet
	ended   bool
}

// undecided is the result of a new session.
func undecided() Result {
	return Result{App: app.Undecided, Base: app.Undecided, riding: app.Unknown, winner: -1}
}

// Outcome returns the state so far.
func (r *Result) Outcome() Outcome { return r.outcome }

// Wants reports whether more bytes could change the result.
func (r *Result) Wants() bool { return !r.ended }

// Side returns who the client is, as far as the session's parser is certain of it.
func (r *Result) Side() Side { return r.side }

// Chosen reports whether a parser was selected for the session.
func (r *Result) Chosen() bool { return r.winner >= 0 }

// setApp makes the application final.
func (r *Result) setApp() {
	r.pending = false
	r.App = r.Base
	if r.riding != app.Unknown {
		r.App = r.riding
	}
	r.outcome = Decided
}

// setUnknown makes it final that there is no known application.
func (r *Result) setUnknown() {
	r.App, r.Base, r.Strength = app.Unknown, app.Unknown, parsers.No
	r.outcome, r.pending = Decided, false
}

// apply applies a state that a parser returned.
func (r *Result) apply(s parsers.State) {
	switch {
	case s == parsers.Preamble && r.pending:
		r.outcome = Preamble
	case s == parsers.Undecided && r.pending:
		r.outcome = Undecided
	case s == parsers.Named || s == parsers.Done || s == parsers.Upgraded:
		if r.outcome != Decided {
			r.setApp()
		}
	}
}

// withdraw undoes what the selected parser named. Reports counts as names: whoever has them must drop them.
func (r *Result) withdraw(reported bool) {
	if reported || r.outcome == Decided {
		r.renamed++
	}
	r.winner, r.riding, r.side = -1, app.Unknown, UnknownSide
}

// reopen makes the result undecided again.
func (r *Result) reopen() {
	r.outcome, r.pending, r.Strength = Undecided, false, parsers.No
	r.App, r.Base = app.Undecided, app.Undecided
}
