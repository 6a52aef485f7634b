package agent

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSideBySide: a list of slow calls takes as long as its share of each worker, in order of their beginnings,
// and never more run than the width.
func TestSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		var mu sync.Mutex
		var order []int
		list := make([]int, 250)
		for i := range list {
			list[i] = i
		}
		begin := time.Now()
		sideBySide(list, func(i int) {
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			if n := running.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(45 * time.Millisecond)
			running.Add(-1)
		})
		if took, want := time.Since(begin), 16*45*time.Millisecond; took != want {
			t.Errorf("250 calls of 45 ms took %s, want %s", took, want)
		}
		if len(order) != len(list) || most.Load() > width {
			t.Errorf("%d calls, %d at once, want %d and at most %d", len(order), most.Load(), len(list), width)
		}
		for at, i := range order {
			if i-at >= width || at-i >= width {
				t.Errorf("call %d was number %d", i, at)
			}
		}
	})
	sideBySide(nil, func(int) { t.Error("called for nothing") })
}
