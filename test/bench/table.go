//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table collects measurements.
type table struct {
	rows    []*row
	machine machine
}

// row is one metric of one contender.
type row struct {
	Name   string   `json:"name"`
	Metric string   `json:"metric"`
	Unit   string   `json:"unit"`
	Value  float64  `json:"value"` // the median
	Ratio  *float64 `json:"ratio"` // to plain; null where that makes no sense
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	Runs   int      `json:"runs"`

	values []float64
}

// add notes one measurement.
func (t *table) add(name, metric, unit string, v float64) {
	r := t.find(name, metric)
	if r == nil {
		r = &row{Name: name, Metric: metric, Unit: unit}
		t.rows = append(t.rows, r)
	}
	r.values = append(r.values, v)
}

// fault notes something that should not have happened; its row shows the sum's extremes
// as all others do.
func (t *table) fault(name, metric string, n float64) { t.add(name, metric, faultUnit, n) }

// faultUnit stands for a unit where something is counted that should never happen.
const faultUnit = "(fault)"

func (t *table) find(name, metric string) *row {
	for _, r := range t.rows {
		if r.Name == name && r.Metric == metric {
			return r
		}
	}
	return nil
}

// finish works out medians and ratios and orders the rows by metric.
func (t *table) finish() {
	var metrics []string
	for _, r := range t.rows {
		v := slices.Sorted(slices.Values(r.values))
		r.Runs, r.Min, r.Max = len(v), v[0], v[len(v)-1]
		r.Value = (v[(len(v)-1)/2] + v[len(v)/2]) / 2
		if !slices.Contains(metrics, r.Metric) {
			metrics = append(metrics, r.Metric)
		}
	}
	for _, r := range t.rows {
		if p := t.find("plain", r.Metric); p != nil && p.Value != 0 {
			ratio := r.Value / p.Value
			r.Ratio = &ratio
		}
	}
	rank := func(metric string) int {
		for i, test := range testNames {
			if strings.HasPrefix(metric, test) {
				return i*1000 + slices.Index(metrics, metric)
			}
		}
		return len(testNames) * 1000
	}
	slices.SortStableFunc(t.rows, func(a, b *row) int { return rank(a.Metric) - rank(b.Metric) })
}

// show prints the finished table.
func (t *table) show(out io.Writer, markdown bool) {
	m := t.machine
	head := fmt.Sprintf("%s, %d CPUs (%s), Linux %s, %s; other load %.1f cores (median); %.0f s", m.Family, m.CPUs, m.CPU, m.Kernel, m.Go, median(m.Load), m.Seconds)
	if markdown {
		fmt.Fprintf(out, "`%s`, %s UTC. %s.\n\n", m.Command, m.Begin.Format("2006-01-02 15:04"), head)
		t.markdown(out)
		return
	}
	fmt.Fprintf(out, "%s\n\n", head)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "metric\tunit\tcontender\tmedian\t[min-max]\tto plain")
	last := ""
	for _, r := range t.rows {
		if last != "" && strings.Fields(last)[0] != strings.Fields(r.Metric)[0] {
			fmt.Fprintln(w, "\t\t\t\t\t")
		}
		last = r.Metric
		ratio := ""
		if r.Ratio != nil {
			ratio = fmt.Sprintf("%.2f", *r.Ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t[%s-%s]\t%s\n", r.Metric, r.Unit, r.Name, short(r.Value), short(r.Min), short(r.Max), ratio)
	}
	w.Flush()
}

// markdown writes one line for each metric and one column for each contender.
func (t *table) markdown(out io.Writer) {
	var names, metrics []string
	for _, r := range t.rows {
		if !slices.Contains(names, r.Name) {
			names = append(names, r.Name)
		}
		if !slices.Contains(metrics, r.Metric) {
			metrics = append(metrics, r.Metric)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		all := contenderNames(true)
		return slices.Index(all, a) - slices.Index(all, b)
	})
	fmt.Fprintf(out, "| | %s |\n|---|%s\n", strings.Join(names, " | "), strings.Repeat("---|", len(names)))
	for _, metric := range metrics {
		cells := make([]string, len(names))
		unit := ""
		for i, name := range names {
			if r := t.find(name, metric); r != nil {
				cells[i], unit = r.cell(), r.Unit
			}
		}
		fmt.Fprintf(out, "| %s, %s | %s |\n", metric, unit, strings.Join(cells, " | "))
	}
}

// cell is a row as the Markdown table shows it: median, range, ratio to plain.
func (r *row) cell() string {
	if r.Unit == faultUnit {
		return fmt.Sprintf("%s, in %d of the rounds", short(r.Max), r.Runs)
	}
	s := short(r.Value)
	if r.Min != r.Max {
		s += fmt.Sprintf(" [%s-%s]", short(r.Min), short(r.Max))
	}
	if r.Ratio != nil && r.Name != "plain" {
		s += fmt.Sprintf(", **%.2f**", *r.Ratio)
	}
	return s
}

// short gives a number three or four digits.
func short(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// results is the file that -out writes.
type results struct {
	Rows    []*row  `json:"rows"`
	Machine machine `json:"machine"`
}

// write writes the rows as JSON.
func (t *table) write(path string) error {
	data, err := json.MarshalIndent(results{t.rows, t.machine}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// show prints what an earlier run wrote.
func show(o *options) error {
	data, err := os.ReadFile(o.from)
	if err != nil {
		return fmt.Errorf("read results: %w", err)
	}
	var r results
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("read results of %s: %w", o.from, err)
	}
	t := &table{rows: r.Rows, machine: r.Machine}
	t.show(os.Stdout, o.markdown)
	return nil
}
