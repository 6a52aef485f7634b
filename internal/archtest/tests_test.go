package archtest_test

import (
	"strings"
	"testing"
)

// TestCoreIsTested: what decides about packets has at least as many lines of tests as of sources.
func TestCoreIsTested(t *testing.T) {
	_, files := load(t)
	sources, tests := 0, 0
	rooms := map[string][2]int{}
	for _, f := range files {
		if f.generated || f.dir != "core" && !strings.HasPrefix(f.dir, "core/") {
			continue
		}
		n := rooms[f.dir]
		if f.test {
			tests += f.lines
			n[1] += f.lines
		} else {
			sources += f.lines
			n[0] += f.lines
		}
		rooms[f.dir] = n
	}
	if sources < 5000 {
		t.Fatalf("only %d lines below core: the walk does not reach it", sources)
	}
	for dir, n := range rooms {
		if n[0] > 0 && n[1] == 0 {
			t.Errorf("%s has %d lines of source and no tests: add a *_test.go", dir, n[0])
		}
	}
	if tests < sources {
		t.Errorf("core has %d lines of source and %d of tests (*_test.go): write %d more lines of tests, first for what `go test ./core/... -cover` shows as not covered",
			sources, tests, sources-tests)
	}
}
