package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/counter"
)

// metricsDocument is docs/metrics.md.
func metricsDocument() []byte {
	var b bytes.Buffer
	b.WriteString(`# Metrics and counters

Generated from the tables in ` + "`core/counter` and `cmd/sluice/metrics_names.go`" + ` by
` + "`go test ./cmd/sluice -run MetricsDocument -update`" + `. The [user guide](user-guide.md#metrics)
explains labels and scrapes.
`)
	for _, s := range []struct {
		title string
		set   *familySet
	}{{"Every process", &ofProcess}, {"Agents and standalone", &ofAgent}, {"Controllers and standalone", &ofController}} {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", s.title)
		for _, f := range s.set.list {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Metric(), f.Kind, strings.Join(f.Labels, ", "), f.Help)
		}
	}
	for _, family := range []*family{mDrops, mBypassed, mLost} {
		fmt.Fprintf(&b, "\n## Causes in `%s`\n\n| cause | meaning |\n|---|---|\n", family.Metric())
		for _, d := range counter.Causes(family.Name) {
			if d.Cause != counter.Held.String() { // counted apart
				fmt.Fprintf(&b, "| `%s` | %s |\n", d.Cause, d.Help)
			}
		}
	}
	b.WriteString("\n## Counters of a node\n\n`sluice status --counters` shows these sums over everything on a node. Those with a metric are in\n`/metrics`, " +
		"too; of the others the family named has the same by workload, plugin or cause.\n\n| counter | metric | part of | meaning |\n|---|---|---|---|\n")
	for _, d := range counter.Sums() {
		metric, in := "`"+d.Metric()+"`", ""
		if d.Hidden {
			metric = ""
		}
		if i := slices.IndexFunc(ofAgent.list, func(f *family) bool { return f.Name == d.In }); i >= 0 {
			in = "`" + ofAgent.list[i].Metric() + "`"
		}
		if d.Cause != "" {
			in += ": " + d.Cause
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, metric, in, d.Help)
	}
	return b.Bytes()
}

// TestMetricsDocument compares the document with the tables that it comes from.
func TestMetricsDocument(t *testing.T) {
	const path = "../../docs/metrics.md"
	want := metricsDocument()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the tables say: go test ./cmd/sluice -run MetricsDocument -update", path)
	}
}

// TestMetricsAreDescribed scrapes a process that has everything: each metric is in the tables with its type
// and text, and each family of the tables is there.
func TestMetricsAreDescribed(t *testing.T) {
	all := slices.Concat(ofProcess.list, ofAgent.list, ofController.list)
	var sums familySet
	for _, d := range counter.Sums() {
		if !d.Hidden {
			sums.add(d)
		}
	}
	counters := map[string]uint64{}
	for _, d := range counter.Sums() {
		counters[d.Name] = 1
		if d.In != "" && !slices.ContainsFunc(all, func(f *family) bool { return f.Name == d.In }) {
			t.Errorf("%s is part of %s, which is no family", d.Name, d.In)
		}
	}
	a := &everything{fakeAgent{ready: true, answers: true}, counters}
	o := a.observed()
	o.agent = a
	got, err := o.registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]int{} // in got
	for i, f := range got {
		there[f.GetName()] = i
	}
	for _, f := range slices.Concat(all, sums.list) {
		i, ok := there[f.Metric()]
		if !ok {
			t.Errorf("%s is in the tables and not in the metrics", f.Metric())
			continue
		}
		x := got[i]
		if kind := strings.ToLower(x.GetType().String()); x.GetHelp() != f.Help || kind != f.Kind.String() {
			t.Errorf("%s: %s %q, want %s %q", f.Metric(), kind, x.GetHelp(), f.Kind, f.Help)
		}
		delete(there, f.Metric())
	}
	for name := range there {
		if strings.HasPrefix(name, counter.Prefix) {
			t.Errorf("%s is in the metrics and not in the tables", name)
		}
	}
}

// everything is an agent that has every counter.
type everything struct {
	fakeAgent
	counters map[string]uint64
}

func (a *everything) Status() *controlv1.NodeStatus {
	n := a.fakeAgent.Status()
	n.Counters = a.counters
	return n
}

// TestStatusCounters has status explain what it shows.
func TestStatusCounters(t *testing.T) {
	out, errs, code := exec(t, "status", "--counters", "--socket", serve(t, &fake{}))
	d := counter.Worker[counter.Frames]
	line := slices.Collect(strings.Lines(out[max(0, strings.Index(out, d.Name)):]))
	if code != 0 || errs != "" || len(line) == 0 || strings.Join(strings.Fields(line[0]), " ") != d.Name+" 12 "+d.Help {
		t.Errorf("code %d, errors %q, output\n%s", code, errs, out)
	}
}
