package builtin_test

import (
	"path/filepath"
	"testing"

	"github.com/sluicenet/sluice/parsers/builtin"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// TestProbeAllocs gives every case to every parser's Probe: it is asked for each segment of each new
// session by all parsers and must not allocate.
func TestProbeAllocs(t *testing.T) {
	r, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("../*/testdata")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, dir := range dirs {
		cases, err := parsertest.Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cases {
			c := &cases[i]
			for _, n := range r.For(c.Meta.Proto) {
				p := r.Entry(n).Parser
				for _, m := range c.Messages {
					if got := testing.AllocsPerRun(1, func() { p.Probe(&c.Meta, m.Dir, m.Data) }); got != 0 {
						t.Fatalf("%s on %s/%s: got %v allocations want 0", p.Name(), dir, c.Name, got)
					}
				}
			}
		}
	}
}
