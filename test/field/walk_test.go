package field

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// enough is when no more walks begin, on a busy machine, if -field.for does not ask for more.
const enough = 40 * time.Second

// TestWalk runs random walks, or the script of -field.script, and shrinks what it finds.
func TestWalk(t *testing.T) {
	testnet.RequireRoot(t)
	build(t)
	if *searchScript != "" {
		replay(t, *searchScript)
		return
	}
	begin := time.Now()
	end := begin.Add(*searchFor)
	var next atomic.Uint64
	var wg sync.WaitGroup
	var found atomic.Bool
	for range *searchSide {
		wg.Go(func() {
			for !found.Load() {
				n := next.Add(1) - 1
				if *searchFor == 0 && (n >= uint64(*searchWalks) || time.Since(begin) > enough) || *searchFor > 0 && time.Now().After(end) {
					return
				}
				if !walk(t, *searchSeed+n) && !found.Swap(true) {
					return
				}
			}
		})
	}
	wg.Wait()
}

// of are the settings of a seed: every second walk has its parsers in the daemon's process.
func of(seed uint64) settings {
	s := settings{exe: binary}
	if seed%2 == 0 {
		s.flags = []string{"--parsers", "inprocess"}
	}
	return s
}

// walk runs the walk of a seed, and reports whether wire and model agree.
func walk(t *testing.T, seed uint64) bool {
	s, with := generate(seed, *searchSteps), of(seed)
	begin := time.Now()
	d, report, err := play(s, with)
	if err != nil {
		t.Errorf("seed %d: %v\n%s\n%s", seed, err, s, report)
		return false
	}
	if d == nil {
		t.Logf("seed %d: %d steps in %s\n%s", seed, len(s), time.Since(begin).Round(time.Second/10), strings.Join(lates(report), "\n"))
		return true
	}
	t.Errorf("seed %d, step %d: %v\n%s\n%s", seed, d.at, d, narrow(s, d), report)
	last := report
	short := shrink(narrow(s, d), func(all []script) script {
		small, text := firstFailing(all, with, d.kind)
		if small != nil {
			last = text
		}
		return small
	}, time.Now().Add(*searchShrink))
	t.Errorf("seed %d, shrunk; flags %q; run it by go test ./test/field -run TestWalk -field.script FILE:\n\n%s\n%s", seed, with.flags, short, last)
	return false
}

// lates are the lines of a report about what came late.
func lates(report string) (all []string) {
	for l := range strings.Lines(report) {
		if strings.HasPrefix(l, "late: ") {
			all = append(all, strings.TrimSpace(l))
		}
	}
	return all
}

// firstFailing plays scripts side by side, and returns one that has a difference of a kind, narrowed, with its report.
func firstFailing(all []script, with settings, kind string) (script, string) {
	type outcome struct {
		s      script
		report string
	}
	for len(all) > 0 {
		n := min(*searchSide, len(all))
		results := make([]outcome, n)
		var wg sync.WaitGroup
		for i, s := range all[:n] {
			wg.Go(func() {
				if d, report, err := play(s, with); err == nil && d != nil && d.kind == kind {
					results[i] = outcome{narrow(s, d), fmt.Sprintf("%v\n%s", d, report)}
				}
			})
		}
		wg.Wait()
		for _, o := range results {
			if o.s != nil {
				return o.s, o.report
			}
		}
		all = all[n:]
	}
	return nil, ""
}

// replay runs a script from a file.
func replay(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	diff, report, err := play(s, settings{exe: binary})
	t.Log("\n" + report)
	if err != nil {
		t.Fatal(err)
	}
	if diff != nil {
		t.Error(diff)
	}
}
