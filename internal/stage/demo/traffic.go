package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/sluicenet/sluice/internal/stage/lab"
)

// traffic keeps the lab's flows going, and its long-lived connections.
type traffic struct {
	stop func()

	mu       sync.Mutex
	marked   bool           // guarded by mu, as all below: the switch has begun
	allowed  int            // new connections since the mark that worked
	failures map[string]int // what failed, how often
	kept     []*lab.Kept
	used     []int64 // uses of kept at the mark
}

func startTraffic(l *lab.Lab) (*traffic, error) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &traffic{failures: map[string]int{}}
	kept, err := l.Keep(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	t.kept, t.used = kept, make([]int64, len(kept))
	var wg sync.WaitGroup
	for _, f := range l.Flows() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			t.loop(ctx, f)
		}()
	}
	for _, k := range kept {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for sleep(ctx, pace/2) == nil && k.Use(ctx) == nil {
			}
		}()
	}
	t.stop = func() { cancel(); wg.Wait() }
	return t, nil
}

func (t *traffic) loop(ctx context.Context, f *lab.Flow) {
	for ctx.Err() == nil {
		t.mu.Lock()
		after := t.marked
		t.mu.Unlock()
		err := f.Once(ctx)
		if ctx.Err() != nil {
			return
		}
		t.mu.Lock()
		switch {
		case err != nil:
			t.failures[fmt.Sprintf("%s: %v", f, err)]++
		case after:
			t.allowed++
		}
		t.mu.Unlock()
		_ = sleep(ctx, pace)
	}
}

// mark marks the beginning of the switch.
func (t *traffic) mark() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.marked = true
	for i, k := range t.kept {
		t.used[i] = k.Uses()
	}
}

// state returns how many long-lived connections were used since the mark and work, what is broken, and how
// many new connections worked.
func (t *traffic) state() (kept, broken, allowed int, failures []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	failures = []string{}
	for i, k := range t.kept {
		if err := k.Use(context.Background()); err != nil {
			broken++
			failures = append(failures, err.Error())
		} else if k.Uses() > t.used[i]+1 {
			kept++
		}
	}
	for text, n := range t.failures {
		broken += n
		failures = append(failures, text)
	}
	return kept, broken, t.allowed, failures
}

// trouble is the first failure so far, nil if there was none.
func (t *traffic) trouble() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for text := range t.failures {
		return errors.New(text)
	}
	return nil
}
