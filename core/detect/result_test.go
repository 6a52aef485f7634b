package detect

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// TestResultApply: a state of a parser changes the outcome only as far as it may.
func TestResultApply(t *testing.T) {
	for _, c := range []struct {
		name    string
		pending bool
		riding  app.ID
		states  []parsers.State
		outcome Outcome
		app     app.ID
	}{
		{"more bytes", true, app.Unknown, []parsers.State{parsers.Undecided}, Undecided, app.Undecided},
		{"a preamble", true, app.Unknown, []parsers.State{parsers.Preamble}, Preamble, app.Undecided},
		{"after a preamble", true, app.Unknown, []parsers.State{parsers.Preamble, parsers.Undecided}, Undecided, app.Undecided},
		{"named", true, app.Unknown, []parsers.State{parsers.Named}, Decided, app.TLS},
		{"named over it", true, app.HTTP, []parsers.State{parsers.Named}, Decided, app.HTTP},
		{"done", false, app.HTTP, []parsers.State{parsers.Done}, Decided, app.HTTP},
		{"upgraded", false, app.Unknown, []parsers.State{parsers.Upgraded}, Decided, app.TLS},
		{"no preamble after a name", true, app.Unknown, []parsers.State{parsers.Named, parsers.Preamble}, Decided, app.TLS},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := undecided()
			r.Base, r.pending, r.riding = app.TLS, c.pending, c.riding
			for _, s := range c.states {
				r.apply(s)
			}
			if r.Outcome() != c.outcome || r.App != c.app || r.pending != (c.outcome != Decided && c.pending) {
				t.Errorf("%v, application %v, pending %v", r.Outcome(), r.App, r.pending)
			}
		})
	}
}

// TestResultWithdraw: a name, or reports, that others may have are counted as withdrawn; nothing else is.
func TestResultWithdraw(t *testing.T) {
	for _, c := range []struct {
		name              string
		decided, reported bool
		renamed           uint8
	}{{"nothing", false, false, 0}, {"a name", true, false, 1}, {"attributes", false, true, 1}, {"both", true, true, 1}} {
		r := undecided()
		r.winner, r.side = 3, Exchanged
		if r.Base = app.SSH; c.decided {
			r.setApp()
		}
		r.withdraw(c.reported)
		if r.renamed != c.renamed || r.Chosen() || r.Side() != UnknownSide {
			t.Errorf("%s: %d withdrawn, chosen %v, side %v", c.name, r.renamed, r.Chosen(), r.Side())
		}
		if r.reopen(); r.Outcome() != Undecided || r.App != app.Undecided || !r.Wants() {
			t.Errorf("%s: reopened as %v, %v", c.name, r.Outcome(), r.App)
		}
	}
}

// TestHeaderOnce: a PROXY header is read once, from the client, and its address stays when a parser's reports are
// void.
func TestHeaderOnce(t *testing.T) {
	const line = "PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n"
	var h header
	var a Attrs
	if used, wait := h.skip(parsers.ToClient, []byte(line), &a); used != 0 || wait || h.past {
		t.Fatalf("of the server: used %d, wait %v", used, wait)
	}
	if used, wait := h.skip(parsers.ToServer, []byte(line[:20]), &a); used != 0 || !wait {
		t.Fatalf("the beginning: used %d, wait %v", used, wait)
	}
	if used, wait := h.skip(parsers.ToServer, []byte(line+"rest"), &a); used != len(line) || wait || a.Len() != 1 {
		t.Fatalf("whole: used %d, wait %v, %d attributes", used, wait, a.Len())
	}
	if used, wait := h.skip(parsers.ToServer, []byte(line), &a); used != 0 || wait {
		t.Errorf("a second one: used %d, wait %v", used, wait)
	}
	a.set(parsers.Inner, []byte("other"))
	h.restore(&a)
	if k, v := a.At(0); a.Len() != 1 || k != parsers.ProxyClient || v != "192.0.2.1:40000" {
		t.Errorf("%d attributes, the first %v %q", a.Len(), k, v)
	}
}

// TestSideTurn: exchanging twice changes nothing.
func TestSideTurn(t *testing.T) {
	for s, want := range map[Side]Side{UnknownSide: UnknownSide, AsAssumed: Exchanged, Exchanged: AsAssumed} {
		if got := s.turn(); got != want || got.turn() != s {
			t.Errorf("%v turned is %v, want %v", s, got, want)
		}
	}
}
