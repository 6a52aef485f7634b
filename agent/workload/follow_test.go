package workload_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/agent/workload"
)

// reported is a source that reports what a test puts into it.
type reported chan workload.Event

func (s reported) Watch(ctx context.Context) iter.Seq2[workload.Event, error] {
	return func(yield func(workload.Event, error) bool) {
		for {
			select {
			case e := <-s:
				if !yield(e, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// followLater runs a source that is reported what there is only afterwards.
func followLater(t *testing.T, s workload.Source) *follow {
	t.Helper()
	f := &follow{t: t, last: map[string]workload.Workload{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e, err := range s.Watch(ctx) {
			if err != nil {
				t.Error(err)
				return
			}
			f.take(e)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// added is how many times a container was reported that was not there before.
func (f *follow) added(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.addedLocked(id)
}

func (f *follow) addedLocked(id string) int {
	n, there := 0, false
	for _, e := range f.all {
		if e.Workload.ID != wid(id) {
			continue
		}
		if e.Kind == workload.Added && !there {
			n++
		}
		there = e.Kind == workload.Added
	}
	return n
}

// when is the time at which a container was reported first.
func (f *follow) when(id string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, e := range f.all {
		if e.Workload.ID == wid(id) {
			return f.at[i]
		}
	}
	return time.Time{}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// groups are the groups in which a container was reported, one after the other.
func (f *follow) groups(id string) (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.all {
		if e.Kind == workload.Added && e.Workload.ID == wid(id) {
			out = append(out, e.Workload.Group())
		}
	}
	return out
}
