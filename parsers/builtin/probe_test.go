package builtin_test

import (
	"testing"

	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// FuzzProbe gives the same bytes to every parser's Probe and checks its contract.
func FuzzProbe(f *testing.F) {
	r, err := builtin.Registry()
	if err != nil {
		f.Fatal(err)
	}
	parsertest.FuzzProbe(f, r, "..")
}
