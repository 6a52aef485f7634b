//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// table collects measurements.
type table struct {
	rows    []*row
	machine machine
}

// row is one metric of one contender.
type row struct {
	Name   string  `json:"name"`
	Metric string  `json:"metric"`
	Unit   string  `json:"unit"`
	Value  float64 `json:"value"`           // the median
	Ratio  float64 `json:"ratio,omitempty"` // to plain; 0 where there is none
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	Runs   int     `json:"runs"`

	values []float64
}

// machine is what the numbers were measured on.
type machine struct {
	Kernel  string    `json:"kernel"`
	CPU     string    `json:"cpu"`
	CPUs    int       `json:"cpus"`
	Go      string    `json:"go"`
	Load    []float64 `json:"load"` // cores that were busy before each contender
	Command string    `json:"command"`
	Family  string    `json:"family"`
	Begin   time.Time `json:"begin"`
	Seconds float64   `json:"seconds"`
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
func (t *table) fault(name, metric string, n float64) { t.add(name, metric, "(fault)", n) }

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
			r.Ratio = r.Value / p.Value
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

// print writes the table for people.
func (t *table) print(out io.Writer) {
	t.finish()
	m := t.machine
	fmt.Fprintf(out, "%s, %d CPUs (%s), Linux %s, %s; other load %.1f cores (median); %.0f s\n\n", m.Family, m.CPUs, m.CPU, m.Kernel, m.Go, median(m.Load), m.Seconds)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "metric\tunit\tcontender\tmedian\t[min-max]\tto plain")
	last := ""
	for _, r := range t.rows {
		if last != "" && strings.Fields(last)[0] != strings.Fields(r.Metric)[0] {
			fmt.Fprintln(w, "\t\t\t\t\t")
		}
		last = r.Metric
		ratio := ""
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.Ratio)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t[%s-%s]\t%s\n", r.Metric, r.Unit, r.Name, short(r.Value), short(r.Min), short(r.Max), ratio)
	}
	w.Flush()
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

// write writes the rows as JSON.
func (t *table) write(path string) error {
	data, err := json.MarshalIndent(struct {
		Rows    []*row  `json:"rows"`
		Machine machine `json:"machine"`
	}{t.rows, t.machine}, "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// describeMachine tells what is measured on.
func describeMachine(o *options) machine {
	m := machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Command: strings.Join(os.Args, " "), Family: "IPv4", Begin: time.Now().UTC().Round(time.Second), CPU: "unknown"}
	if o.ipv6 {
		m.Family = "IPv6"
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return m
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(k) == "model name" {
			m.CPU = strings.TrimSpace(v)
			break
		}
	}
	return m
}

// quietMoment waits a little for others to finish what they do, and says how many cores are
// busy then.
func quietMoment() float64 {
	const enough, looks = 0.3, 5
	busy := busyCores(300 * time.Millisecond)
	for i := 1; i < looks && busy > enough; i++ {
		busy = busyCores(300 * time.Millisecond)
	}
	return busy
}

// busyCores measures how many cores are busy.
func busyCores(d time.Duration) float64 {
	a := busyTicks()
	time.Sleep(d)
	const ticks = 100 // a second: USER_HZ
	return float64(busyTicks()-a) / ticks / d.Seconds()
}

// busyTicks is the time that all cores spent on anything but idling.
func busyTicks() (n uint64) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(data), "\n")
	for i, f := range strings.Fields(line) {
		if v, err := strconv.ParseUint(f, 10, 64); err == nil && i != 4 && i != 5 && i <= 8 {
			n += v
		}
	}
	return n
}
