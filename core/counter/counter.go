// Package counter is the one table of the dataplane's counters: name, help text, kind and
// cause of each. Worker counters, `sluice status --counters`, the Prometheus metrics and
// docs/metrics.md are derived from it. It exports nothing, and has no counters of
// controllers.
package counter

import (
	"slices"
	"strings"
)

// Kind is how a value behaves.
type Kind uint8

// Kinds of value.
const (
	Total Kind = iota // it only increases
	Gauge             // it increases and decreases
)

// String returns Prometheus's name of the kind.
func (k Kind) String() string {
	if k == Gauge {
		return "gauge"
	}
	return "counter"
}

// Def describes one counter.
type Def struct {
	// Name is dotted ("engine.frames") where it is a sum over everything, as in Stats and status.
	Name string
	// Help is one plain sentence, or more.
	Help string
	Kind Kind
	// In is the name of the family that includes the value, with Cause as its label "cause", or
	// that shows it in another unit; "" for none.
	In, Cause string
	// Hidden: the family In shows it, it has no metric of its own.
	Hidden bool
	// Labels are the labels of a family, in order; a sum over everything has none.
	Labels []string
}

// Prefix begins the names of all metrics.
const Prefix = "sluice_"

// Metric returns the name of the Prometheus metric, whether or not it is hidden.
func (d *Def) Metric() string {
	n := Prefix + strings.NewReplacer(".", "_", "-", "_", "/", "_").Replace(d.Name)
	if d.Kind == Total {
		n += "_total"
	}
	return n
}

// Sums lists the counters that are summed over everything on a node, in the order of the
// documentation: those of the engine's workers first.
func Sums() []Def {
	return slices.Concat(Worker[:], sums)
}

// Lookup returns the counter of a dotted name; ok is false for names of other versions.
func Lookup(name string) (d Def, ok bool) {
	for i := range Worker {
		if Worker[i].Name == name {
			return Worker[i], true
		}
	}
	for i := range sums {
		if sums[i].Name == name {
			return sums[i], true
		}
	}
	return Def{Name: name}, false
}

// Names returns the names of the sums with a prefix ("plugin."), sorted.
func Names(part string) []string {
	var out []string
	for _, d := range Sums() {
		if strings.HasPrefix(d.Name, part) {
			out = append(out, d.Name)
		}
	}
	slices.Sort(out)
	return out
}
