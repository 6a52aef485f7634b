package app_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/sluicenet/sluice/core/app"
)

// TestCheckName: names are what a user can type into a rule and a shell without quoting.
func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "tally", "my-app", "x11-2", "a-", strings.Repeat("a", 32)} {
		if err := app.CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, why := range map[string]string{
		"": "1 to 32", strings.Repeat("a", 33): "1 to 32", "1a": "a letter first", "-a": "a letter first", "A": "lower-case", "a b": "lower-case", "a_b": "lower-case",
		"é": "lower-case", "a\x00": "lower-case", "a\n": "lower-case", "unknown": "reserved", "none": "reserved", "undecided": "reserved", "any": "reserved",
	} {
		if err := app.CheckName(name); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: got %v, want an error with %q", name, err, why)
		}
	}
	for _, i := range app.All() {
		if err := app.CheckName(i.Name); err != nil {
			t.Errorf("the built-in name %q is none that a plugin's author may use as a pattern: %v", i.Name, err)
		}
	}
}

// FuzzCheckName: what is accepted is also a name that can be read back, and an error's text stays short.
func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"", "a", "tally", "-", "unknown", "A", "a b", strings.Repeat("z", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := app.CheckName(name)
		if err != nil {
			if len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(name) == 0 || len(name) > 32 || strings.ToLower(strings.TrimSpace(name)) != name {
			t.Errorf("accepted %q, which Parse would not find", name)
		}
	})
}

// TestSuggest: numbers are in the range, further attempts differ, and after the last number comes the first.
func TestSuggest(t *testing.T) {
	span := int(app.LastPlugin-app.FirstPlugin) + 1
	for _, name := range []string{"a", "tally", "my-app", strings.Repeat("z", 32)} {
		seen := map[app.ID]bool{}
		for attempt := range 2000 {
			id := app.Suggest(name, attempt)
			if id < app.FirstPlugin || id > app.LastPlugin || seen[id] {
				t.Fatalf("%s, attempt %d: number %d is outside of the range or was suggested before", name, attempt, id)
			}
			seen[id] = true
		}
		if got, want := app.Suggest(name, span), app.Suggest(name, 0); got != want {
			t.Errorf("%s: after all attempts %d, want %d again", name, got, want)
		}
	}
	// Names are spread: a thousand of them have few numbers in common.
	used := map[app.ID]bool{}
	for i := range 1000 {
		used[app.Suggest(fmt.Sprint("plugin-", i), 0)] = true
	}
	if len(used) < 950 {
		t.Errorf("a thousand names share %d numbers", len(used))
	}
}

// TestGiveAtTheSameTime: plugins that start together register many names at once; none is lost, and of those that want the same number or
// the same name one alone has it.
func TestGiveAtTheSameTime(t *testing.T) {
	const n = 40
	var wg sync.WaitGroup
	errs := make([]error, 2*n)
	for i := range n {
		for k := range 2 {
			wg.Go(func() {
				// Two names for each number.
				errs[2*i+k] = app.Give(fmt.Sprintf("same-time-%d-%d", i, k), app.LastPlugin-app.ID(i))
			})
		}
	}
	wg.Wait()
	for i := range n {
		id := app.LastPlugin - app.ID(i)
		if (errs[2*i] == nil) == (errs[2*i+1] == nil) {
			t.Errorf("number %d: %v and %v, want one of them", id, errs[2*i], errs[2*i+1])
			continue
		}
		winner := fmt.Sprintf("same-time-%d-0", i)
		if errs[2*i] != nil {
			winner = fmt.Sprintf("same-time-%d-1", i)
		}
		if got, err := app.Parse(winner); id.Name() != winner || err != nil || got != id {
			t.Errorf("number %d is %s, and %s is %d, %v", id, id.Name(), winner, got, err)
		}
	}
}

// TestUnknownNameHelps: the error of a name that does not exist shows where the names are.
func TestUnknownNameHelps(t *testing.T) {
	for _, name := range []string{"", "htpp", "app-12345", "undecided"} {
		if _, err := app.Parse(name); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) || !strings.Contains(err.Error(), "sluice rules --help") {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if i, ok := app.Listed(app.HTTP); !ok || i.Name != "http" || i.On != app.Unknown {
		t.Errorf("http is listed as %+v, %t", i, ok)
	}
	if _, ok := app.Listed(app.FirstPlugin); ok {
		t.Error("a plugin's number is listed as built in")
	}
}
