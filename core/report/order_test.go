package report_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/report"
)

// TestOutboxAgainstModel: random puts, hand-overs and drains against a plain list: order, loss, its mark and its count.
func TestOutboxAgainstModel(t *testing.T) {
	const limit = alone
	r := rand.New(rand.NewPCG(51, 52))
	var o report.Outbox
	var local, ready []uint64
	var dropped, next uint64
	lossy := false
	flush := func() {
		room := limit - len(ready)
		if n := len(local) - room; n > 0 {
			dropped += uint64(n)
			lossy = true
			local = local[:room]
		}
		ready, local = append(ready, local...), local[:0]
	}
	put := func(n int) {
		for range n {
			next++
			o.Put(&flow.Record{Session: next})
			if local = append(local, next); len(local) == 4096 {
				flush() // many are passed on at once
			}
		}
	}
	drain := func() {
		i := 0
		n := o.Drain(func(f *flow.Record) {
			if i >= len(ready) || f.Session != ready[i] || f.Lossy != lossy {
				t.Fatalf("record %d of %d: got %d lossy %v, want lossy %v", i, len(ready), f.Session, f.Lossy, lossy)
			}
			i++
		})
		if n != len(ready) || i != n {
			t.Fatalf("got %d records and %d calls, want %d", n, i, len(ready))
		}
		ready, lossy = ready[:0], false
	}
	for range 400 {
		switch r.IntN(6) {
		case 0, 1:
			put(r.IntN(100))
		case 2:
			put(r.IntN(20000))
		case 3, 4:
			o.Flush()
			flush()
		default:
			drain()
		}
		if o.Dropped() != dropped {
			t.Fatalf("got %d dropped, want %d", o.Dropped(), dropped)
		}
	}
	if dropped == 0 || next < 200000 {
		t.Errorf("%d records, %d dropped: the limit was not reached", next, dropped)
	}
}

// TestWhatIsNotFlushedStays: a record is the worker's until Flush, and handed over once.
func TestWhatIsNotFlushedStays(t *testing.T) {
	var o report.Outbox
	got := func() (records, threats int) {
		return o.Drain(func(*flow.Record) {}), o.DrainThreats(func(*report.Threat) {})
	}
	o.Put(&flow.Record{Session: 1})
	o.Threat(&report.Threat{ID: 2})
	if n, m := got(); n != 0 || m != 0 {
		t.Errorf("before the hand-over: got %d records, %d threats", n, m)
	}
	o.Flush()
	if n, m := got(); n != 1 || m != 1 {
		t.Errorf("after it: got %d records, %d threats", n, m)
	}
	o.Flush()
	if n, m := got(); n != 0 || m != 0 {
		t.Errorf("after an empty one: got %d records, %d threats", n, m)
	}
}

// TestThreatsAreBoundedApart: threats have a limit of their own and their own place in the order; a flood of them costs no record.
func TestThreatsAreBoundedApart(t *testing.T) {
	var o report.Outbox
	const limit = alone
	for i := range limit + 7 {
		o.Threat(&report.Threat{Session: uint64(i), Text: "land"})
	}
	o.Put(&flow.Record{Session: 1})
	o.Flush()
	i := uint64(0)
	if n := o.DrainThreats(func(th *report.Threat) {
		if th.Session != i || th.Text != "land" {
			t.Fatalf("threat %d: got %+v", i, th)
		}
		i++
	}); n != limit || o.Dropped() != 7 {
		t.Errorf("got %d threats, %d dropped, want %d and 7", n, o.Dropped(), limit)
	}
	if n := o.Drain(func(f *flow.Record) {
		if f.Lossy {
			t.Error("a record is marked lossy where threats alone were dropped")
		}
	}); n != 1 {
		t.Errorf("got %d records, want 1", n)
	}
}

// TestPutCopies: what the worker does with its record afterwards does not reach the collector.
func TestPutCopies(t *testing.T) {
	var o report.Outbox
	f, th := flow.Record{Session: 5}, report.Threat{ID: 6}
	o.Put(&f)
	o.Threat(&th)
	f.Session, th.ID = 0, 0
	o.Flush()
	o.Drain(func(f *flow.Record) {
		if f.Session != 5 {
			t.Errorf("record: got %d", f.Session)
		}
	})
	o.DrainThreats(func(th *report.Threat) {
		if th.ID != 6 {
			t.Errorf("threat: got %d", th.ID)
		}
	})
}

// TestWorkerAndCollector: one goroutine puts, another drains, a third reads the count: every record comes once and in order, or is counted.
func TestWorkerAndCollector(t *testing.T) {
	var o report.Outbox
	const total = 60000
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range uint64(total) {
			o.Put(&flow.Record{Session: i + 1})
			if i%64 == 0 {
				o.Flush()
			}
		}
		o.Flush()
	})
	wg.Go(func() {
		last := uint64(0)
		for range 2000 {
			now := o.Dropped()
			if now < last {
				t.Errorf("the count of dropped records went from %d to %d", last, now)
			}
			last = now
			runtime.Gosched()
		}
	})
	var got, last uint64
	read := func(f *flow.Record) {
		if f.Session <= last {
			t.Errorf("record %d after %d", f.Session, last)
		}
		got, last = got+1, f.Session
	}
	for open := true; open; {
		select {
		case <-done:
			open = false
		default:
		}
		o.Drain(read)
		runtime.Gosched()
	}
	wg.Wait()
	o.Drain(read)
	if got+o.Dropped() != total {
		t.Errorf("got %d records and %d dropped, want %d", got, o.Dropped(), total)
	}
}
