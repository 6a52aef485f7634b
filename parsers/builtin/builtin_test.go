package builtin_test

import (
	"testing"

	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

func TestRegistry(t *testing.T) {
	r, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Len() {
		if e := r.Entry(i); e.Parser.Name() != e.ID.Name() {
			t.Errorf("parser %q: got number %d of %q", e.Parser.Name(), e.ID, e.ID.Name())
		}
	}
}

// TestOthers gives every parser's cases to all the others.
func TestOthers(t *testing.T) {
	r, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	parsertest.Others(t, r, "..")
}
