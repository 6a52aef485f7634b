// Package sdktest runs the conformance suite of parsers on third-party parsers with new names. Parsers of
// protocols that Sluice lists use parsers/parsertest itself.
package sdktest

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// Run replays every case of a folder: whole, cut at every byte, one-sided, with gaps and with trailing junk.
func Run(t *testing.T, p parsers.Parser, dir string) {
	t.Helper()
	parsertest.Run(t, p, number(t, p), dir)
}

// Fuzz feeds a parser with variations of the cases in testdata.
func Fuzz(f *testing.F, p parsers.Parser) {
	f.Helper()
	parsertest.Fuzz(f, p, number(f, p))
}

// number returns the application number of a parser's name, assigned for this test if it is new.
func number(t testing.TB, p parsers.Parser) app.ID {
	t.Helper()
	if id, err := app.Parse(p.Name()); err == nil {
		return id
	}
	id := app.Suggest(p.Name(), 0)
	if err := app.Give(p.Name(), id); err != nil {
		t.Fatal(err)
	}
	return id
}
