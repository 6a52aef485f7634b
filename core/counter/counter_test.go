package counter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/counter"
)

// TestTable checks that every entry is complete, and each name unique.
func TestTable(t *testing.T) {
	names, metrics := map[string]bool{}, map[string]bool{}
	for _, d := range slices.Concat(counter.Sums(), counter.Traffic[:]) {
		switch {
		case d.Name == "":
			t.Fatalf("an entry without name: %+v", d)
		case names[d.Name] || metrics[d.Metric()]:
			t.Errorf("%s is listed twice", d.Name)
		case !strings.HasSuffix(d.Help, ".") || strings.ToUpper(d.Help[:1]) != d.Help[:1]:
			t.Errorf("%s: help is no sentence: %q", d.Name, d.Help)
		case d.Cause != "" && d.In == "":
			t.Errorf("%s: cause %s of no family", d.Name, d.Cause)
		case len(d.Labels) == 0 && !strings.Contains(d.Name, "."):
			t.Errorf("%s: a sum has a dotted name", d.Name)
		}
		names[d.Name], metrics[d.Metric()] = true, true
	}
}

// TestCauses checks that the causes named by sums are values of their family, and unique.
func TestCauses(t *testing.T) {
	for _, d := range counter.Sums() {
		if d.Cause == "" {
			continue
		}
		for _, c := range strings.Split(d.Cause, ", ") {
			if !slices.ContainsFunc(counter.Causes(d.In), func(x counter.Def) bool { return x.Cause == c }) {
				t.Errorf("%s: %s has no cause %s", d.Name, d.In, c)
			}
		}
	}
	for _, family := range []string{"drops", "bypassed", counter.LostRecords} {
		seen := map[string]bool{}
		for _, d := range counter.Causes(family) {
			if d.Cause == "" || d.Help == "" || seen[d.Cause] {
				t.Errorf("%s: cause %q is incomplete or listed twice", family, d.Cause)
			}
			seen[d.Cause] = true
		}
		if len(seen) == 0 {
			t.Errorf("%s has no causes", family)
		}
	}
	if got := counter.Causes("frames"); got != nil {
		t.Errorf("frames have causes: %v", got)
	}
	for c, want := range map[counter.Cause]string{counter.NoCause: "other", counter.Denied: "denied", counter.MalformedFrame: "malformed", counter.BadFragment: "bad_fragment",
		counter.NoRoomToHold: "hold_full", counter.Retransmit: "retransmit", counter.OutOfWindow: "out_of_window", counter.NoRoomInTable: "table_full", counter.Held: "held",
		counter.Cause(counter.CausesLen): "other"} {
		if got := c.String(); got != want {
			t.Errorf("cause %d: %s, want %s", c, got, want)
		}
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]string{"engine.frames": "sluice_engine_frames_total", "engine.sessions": "sluice_engine_sessions", "hostmode.open": "sluice_hostmode_open",
		"plugin.latency_us_max": "sluice_plugin_latency_us_max"} {
		d, ok := counter.Lookup(name)
		if got := d.Metric(); !ok || got != want || d.Name != name {
			t.Errorf("%s: %s %t, want %s", name, got, ok, want)
		}
	}
	if d, ok := counter.Lookup("engine.none"); ok || d.Name != "engine.none" {
		t.Errorf("a name of another version: %+v %t", d, ok)
	}
	if got := counter.Total.String() + " " + counter.Gauge.String(); got != "counter gauge" {
		t.Errorf("kinds: %s", got)
	}
	if got := counter.Names("ring."); !slices.IsSorted(got) || len(got) != 6 {
		t.Errorf("ring: %v", got)
	}
}

// TestPublish counts in two sets and adds their published values.
func TestPublish(t *testing.T) {
	var a, b counter.Set
	var shownA, shownB counter.Shared
	a[counter.Frames], b[counter.Frames], b[counter.Sessions] = 3, 4, 1
	a.Publish(&shownA)
	b.Publish(&shownB)
	a[counter.Frames] += 100
	m := map[string]uint64{}
	shownA.AddTo(m)
	shownB.AddTo(m)
	if m["engine.frames"] != 7 || m["engine.sessions"] != 1 || len(m) != len(a) {
		t.Errorf("got %v", m)
	}
	if n := testing.AllocsPerRun(100, func() { a[counter.Passed]++; a.Publish(&shownA) }); n != 0 {
		t.Errorf("%v allocations to publish, want 0", n)
	}
}

// BenchmarkPublish measures what a worker does ten times a second.
func BenchmarkPublish(b *testing.B) {
	var s counter.Set
	var shown counter.Shared
	b.ReportAllocs()
	for b.Loop() {
		s[counter.Frames]++
		s.Publish(&shown)
	}
}
