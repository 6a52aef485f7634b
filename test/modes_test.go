package test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// shortOnes makes one connection after the other, with a request each, until ctx ends.
func (l *lab) shortOnes(ctx context.Context) (made int, err error) {
	for made = 0; ctx.Err() == nil; made++ {
		family := families[made%len(families)]
		if err := l.get(l.web, family); err != nil {
			return made, fmt.Errorf("connection %d over %s: %w", made+1, family, err)
		}
	}
	return made, nil
}

// TestModeChangesLoseNothing changes the modes of both ends under short connections: none of
// them fails, and each is counted once.
func TestModeChangesLoseNothing(t *testing.T) {
	l := newLab(t)
	l.start()
	ctx, cancel := context.WithCancel(t.Context())
	type result struct {
		made int
		err  error
	}
	done := make(chan result, 1)
	go func() {
		made, err := l.shortOnes(ctx)
		done <- result{made, err}
	}()
	until(t, 20*time.Second, "the connections are learned", func() error { return l.counted(100) })
	for _, mode := range []string{"protect", "monitor", "protect", "discover", "protect"} {
		for _, group := range []string{"web", "api"} {
			l.run("mode", "set", group, mode)
			time.Sleep(200 * time.Millisecond) // connections in each state
		}
	}
	cancel()
	got := <-done
	if got.err != nil {
		t.Fatal(got.err)
	}
	until(t, 20*time.Second, fmt.Sprintf("%d connections are counted", got.made), func() error { return l.counted(got.made - l.unseen()) })
	time.Sleep(time.Second) // for those that should not be there
	if n := l.count(); n > got.made+l.unseen() {
		t.Errorf("%d connections are counted, want %d", n, got.made)
	}
}

// unseen is how many frames were not seen, by status: none, but on a machine that is too busy
// to run the worker for a tenth of a second.
func (l *lab) unseen() int {
	type queue struct{ Dropped, Bypassed map[string]int }
	s := read[struct{ Nodes []struct{ Queues []queue } }](l.program, "status")
	n := 0
	for _, node := range s.Nodes {
		for _, q := range node.Queues {
			for _, m := range []map[string]int{q.Dropped, q.Bypassed} {
				for _, k := range m {
					n += k
				}
			}
		}
	}
	return n
}

// count is how many connections of web with api's port are known.
func (l *lab) count() int {
	n := 0
	for _, c := range read[[]connection](l.program, "connections") {
		if c.From == "web" && c.To == "api" && c.Port == 8080 {
			n += c.Sessions
		}
	}
	return n
}

// counted is an error unless at least so many of them are known.
func (l *lab) counted(want int) error {
	if n := l.count(); n < want {
		return fmt.Errorf("%d connections, want %d", n, want)
	}
	return nil
}
