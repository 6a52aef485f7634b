package report_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/report"
)

// TestOneEndpointLeavesRoom: an endpoint that reports more than fits, in whatever order and pieces, loses its own records
// and threats alone, and only its own are marked.
func TestOneEndpointLeavesRoom(t *testing.T) {
	for _, piece := range []int{1, 100, 5000, 200_000} {
		var o report.Outbox
		const flood, calm = 7, 8
		for i := range 200_000 {
			o.Put(&flow.Record{Endpoint: flood})
			o.Threat(&report.Threat{Endpoint: flood})
			if i%100 == 0 {
				o.Put(&flow.Record{Endpoint: calm})
				o.Threat(&report.Threat{Endpoint: calm})
			}
			if i%piece == piece-1 {
				o.Flush()
			}
		}
		var got, threats [10]int
		o.Drain(func(f *flow.Record) {
			got[f.Endpoint]++
			if f.Lossy != (f.Endpoint == flood) {
				t.Fatalf("in pieces of %d: a record of endpoint %d is marked lossy: %v", piece, f.Endpoint, f.Lossy)
			}
		})
		o.DrainThreats(func(th *report.Threat) { threats[th.Endpoint]++ })
		for _, n := range [][10]int{got, threats} {
			if n[calm] != 2000 || n[flood] > alone || n[flood] < alone*9/10 {
				t.Errorf("in pieces of %d: got %d and %d, want 2000 of the calm endpoint and about %d", piece, n[calm], n[flood], alone)
			}
		}
		if want := uint64(2*202_000 - got[flood] - got[calm] - threats[flood] - threats[calm]); o.Dropped() != want {
			t.Errorf("in pieces of %d: %d dropped, want %d", piece, o.Dropped(), want)
		}
	}
}

// TestLossIsMarkedLater: an endpoint whose only record had no room is marked with the next one that it has.
func TestLossIsMarkedLater(t *testing.T) {
	var o report.Outbox
	for id := range uint32(1 << 16) {
		o.Put(&flow.Record{Endpoint: id + 10})
	}
	o.Put(&flow.Record{Endpoint: 1})
	o.Flush()
	if n := o.Drain(func(*flow.Record) {}); n != 1<<16 || o.Dropped() != 1 {
		t.Fatalf("got %d records, %d dropped, want all but 1", n, o.Dropped())
	}
	for _, want := range []bool{true, false} {
		o.Put(&flow.Record{Endpoint: 1})
		o.Put(&flow.Record{Endpoint: 10})
		o.Flush()
		o.Drain(func(f *flow.Record) {
			if f.Lossy != (want && f.Endpoint == 1) {
				t.Errorf("endpoint %d: got lossy %v, want %v for 1", f.Endpoint, f.Lossy, want)
			}
		})
	}
}

// BenchmarkOutboxFlood measures a record of a flood into a full outbox.
func BenchmarkOutboxFlood(b *testing.B) {
	var o report.Outbox
	f := flow.Record{Endpoint: 1}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		o.Put(&f)
		if n%200_000 == 199_999 {
			o.Drain(func(*flow.Record) {})
		}
	}
}
