package report_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/report"
)

func TestOutboxLosesNothingUnaccounted(t *testing.T) {
	var o report.Outbox
	const rounds, each = 50, 3000
	var got uint64
	for r := range rounds {
		for i := range each {
			o.Put(&flow.Record{Session: uint64(r*each + i)})
		}
		o.Flush()
		if r%30 == 29 {
			o.Drain(func(f *flow.Record) { got++ })
		}
	}
	o.Drain(func(f *flow.Record) { got++ })
	if want := uint64(rounds * each); got+o.Dropped() != want {
		t.Errorf("drained %d and dropped %d, want %d together", got, o.Dropped(), want)
	}
	if o.Dropped() == 0 {
		t.Error("30 rounds of 3000 fit in the box: the test does not reach its limit")
	}
}

// alone is how many records a single endpoint may have waiting: seven for each free place of 1<<16.
const alone = 7 << 13

// TestOutboxMarksLoss overflows an outbox once: the records drained then are marked, later
// ones are not.
func TestOutboxMarksLoss(t *testing.T) {
	var o report.Outbox
	put := func(n int) {
		for range n {
			o.Put(&flow.Record{})
		}
		o.Flush()
	}
	marked := func() (yes, no int) {
		o.Drain(func(f *flow.Record) {
			if f.Lossy {
				yes++
			} else {
				no++
			}
		})
		return yes, no
	}
	put(3)
	if yes, no := marked(); yes != 0 || no != 3 {
		t.Errorf("before the loss %d are marked and %d are not, want 0 and 3", yes, no)
	}
	put(alone)
	put(5)
	if yes, no := marked(); yes != alone || no != 0 || o.Dropped() != 5 {
		t.Errorf("after %d were dropped %d are marked and %d are not, want 5, all and 0", o.Dropped(), yes, no)
	}
	put(3)
	if yes, no := marked(); yes != 0 || no != 3 {
		t.Errorf("later %d are marked and %d are not, want 0 and 3", yes, no)
	}
}

func TestOutboxKeepsOrder(t *testing.T) {
	var o report.Outbox
	next := uint64(0)
	check := func(f *flow.Record) {
		if f.Session != next {
			t.Fatalf("record %d came, want %d", f.Session, next)
		}
		next++
	}
	n := uint64(0)
	for r := range 20 {
		for range 10 {
			o.Put(&flow.Record{Session: n})
			n++
		}
		o.Flush()
		if r%3 == 0 {
			o.Drain(check)
		}
	}
	o.Drain(check)
	if next != n {
		t.Errorf("%d records came, want %d", next, n)
	}
}

func TestOutboxSteadyStateDoesNotAllocate(t *testing.T) {
	var o report.Outbox
	f := &flow.Record{}
	sink := func(*flow.Record) {}
	round := func() {
		for range 100 {
			o.Put(f)
		}
		o.Flush()
		o.Drain(sink)
	}
	for range 10 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for 100 records, want 0", n)
	}
}

// BenchmarkOutbox measures a record's cost to a busy worker: twenty a batch, drained five
// times a second at 35,000 connections each.
func BenchmarkOutbox(b *testing.B) {
	var o report.Outbox
	f := flow.Record{Session: 1}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		o.Put(&f)
		if n%20 == 19 {
			o.Flush()
		}
		if n%14000 == 13999 {
			o.Drain(func(*flow.Record) {})
		}
	}
}
