package field

import (
	"slices"
	"testing"
	"time"
)

// failing returns the first of several scripts that fails as the one that was found does, as far as it came,
// or nil.
type failing func([]script) script

// shrink leaves out of a failing script what it fails without, until a time. The result was seen to fail.
func shrink(s script, fails failing, end time.Time) script {
	for size := max(len(s)/2, 1); size > 0 && time.Now().Before(end); {
		var candidates []script
		// From the end: what is there depends on what is before.
		for to := len(s); to > 0; to -= size {
			candidates = append(candidates, slices.Concat(s[:max(to-size, 0)], s[to:]))
		}
		if shorter := fails(candidates); shorter != nil {
			s = shorter
			size = min(size, max(len(s)/2, 1))
			continue
		}
		size /= 2
	}
	return s
}

// narrow replaces a step that tries much by the one attempt that differed.
func narrow(s script, d *difference) script {
	s = slices.Clone(s[:d.at+1])
	if d.way != nil && s[d.at][0] == "probe" {
		s[d.at] = line(append([]any{"try"}, d.way.words()...)...)
	}
	return s
}

func TestShrink(t *testing.T) {
	found, err := parse("start monitor\nwait 1\nallow a b any\nopen f a b tcp4 9000 raw\nprobe 9000 http\nmode b protect\nwait 2\nprobe 9000 http\nsend f\nwait 3")
	if err != nil {
		t.Fatal(err)
	}
	has := func(s script, verb string) int {
		return slices.IndexFunc(s, func(st step) bool { return st[0] == verb })
	}
	tried := 0
	got := shrink(found, func(all []script) script {
		for _, s := range all {
			tried++
			if o, m, e := has(s, "open"), has(s, "mode"), has(s, "send"); o >= 0 && o < m && m < e {
				return s
			}
		}
		return nil
	}, time.Now().Add(time.Hour))
	if want := "open f a b tcp4 9000 raw\nmode b protect\nsend f\n"; got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if tried > 60 {
		t.Errorf("%d runs", tried)
	}
}

func TestNarrow(t *testing.T) {
	s, err := parse("start monitor\nprobe 9000 http\nwait 3")
	if err != nil {
		t.Fatal(err)
	}
	y := wayOf([]string{"a", "b/2", "tcp6", "9000", "http"})
	if got := narrow(s, &difference{at: 1, way: &y}).String(); got != "start monitor\ntry a b/2 tcp6 9000 http\n" {
		t.Errorf("got %s", got)
	}
}
