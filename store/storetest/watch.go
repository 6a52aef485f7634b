package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/store"
)

// watcher reads a watch on a goroutine of its own.
type watcher struct {
	t      *testing.T
	events chan store.Event
	ended  chan struct{}
	err    error // valid once ended is closed
	cancel context.CancelFunc
}

// watch begins a watch that ends with the test.
func watch(t *testing.T, st store.Store, prefix string, from store.Revision) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watcher{t: t, events: make(chan store.Event, 4096), ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(w.ended)
		for e, err := range st.Watch(ctx, prefix, from) {
			if err != nil {
				w.err = err
				return
			}
			w.events <- e
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-w.ended
	})
	return w
}

func text(e store.Event) string {
	switch {
	case e.Synced:
		return "synced"
	case e.Deleted:
		return e.Object.Key + " deleted"
	}
	return e.Object.Key + "=" + string(e.Object.Value)
}

// next is the next event.
func (w *watcher) next() store.Event {
	w.t.Helper()
	select {
	case e := <-w.events:
		return e
	case <-w.ended:
		select {
		case e := <-w.events:
			return e
		default:
		}
		w.t.Fatalf("the watch ended: %v", w.err)
	case <-time.After(patience):
		w.t.Fatal("no event came")
	}
	return store.Event{}
}

// expect reads as many events as there are wants.
func (w *watcher) expect(want ...string) {
	w.t.Helper()
	var got []string
	for range want {
		got = append(got, text(w.next()))
	}
	same(w.t, "events", got, want)
}

// end waits for the end of the watch and gives its error.
func (w *watcher) end() error {
	w.t.Helper()
	select {
	case <-w.ended:
	case <-time.After(patience):
		w.t.Fatal("the watch did not end")
	}
	return w.err
}

func testWatchFromZero(t *testing.T, st store.Store) {
	empty := watch(t, st, "group/", 0)
	empty.expect("synced")
	first := commit(t, st, put("group/b", "2"), put("rule/1", "r"))
	last := commit(t, st, put("group/a", "1"))
	empty.expect("group/b=2", "group/a=1")

	w := watch(t, st, "group/", 0)
	e := w.next()
	same(t, "what exists", e, store.Event{Object: store.Object{Key: "group/a", Value: []byte("1"), Revision: last}})
	e = w.next()
	same(t, "what exists", e, store.Event{Object: store.Object{Key: "group/b", Value: []byte("2"), Revision: first}})
	if e = w.next(); !e.Synced || e.Object.Revision < last || e.Object.Key != "" {
		t.Fatalf("after what exists: got %+v, want Synced at %d or later", e, last)
	}
	commit(t, st, put("rule/2", "r"))
	rev := commit(t, st, put("group/c", ""))
	e = w.next()
	same(t, "a change", e, store.Event{Object: store.Object{Key: "group/c", Value: []byte{}, Revision: rev}})
}

func testWatchFromRevision(t *testing.T, st store.Store) {
	first := commit(t, st, put("a", "1"))
	commit(t, st, put("b", "2"))
	commit(t, st, put("a", "3"))
	w := watch(t, st, "", first)
	w.expect("b=2", "a=3")
	commit(t, st, put("c", "4"))
	w.expect("c=4")

	_, at, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	w = watch(t, st, "", at)
	commit(t, st, put("d", "5"))
	w.expect("d=5")

	w = watch(t, st, "", at+1_000_000)
	if err := w.end(); !errors.Is(err, store.ErrCompacted) {
		t.Fatalf("from a revision that never was: got %v, want ErrCompacted", err)
	}
}

func testWatchDeletes(t *testing.T, st store.Store) {
	w := watch(t, st, "", 0)
	w.expect("synced")
	commit(t, st, put("a", "1"), put("b", "2"))
	w.expect("a=1", "b=2")
	rev := commit(t, st, remove("a"), remove("never"))
	same(t, "the deletion", w.next(), store.Event{Object: store.Object{Key: "a", Revision: rev}, Deleted: true})
	commit(t, st, put("a", "again"))
	w.expect("a=again")
	commit(t, st, remove("a"), remove("b"))
	commit(t, st, put("c", "3"))
	gone := map[string]bool{}
	for last := ""; last != "c=3"; {
		last = text(w.next())
		gone[last] = true
	}
	if !gone["a deleted"] || !gone["b deleted"] {
		t.Fatalf("deletions in quick changes: got %v", gone)
	}
	commit(t, st, put("a", "again"))
	w.expect("a=again")
	commit(t, st, remove("c"), put("b", "2"))
	w.next()
	w.next()
	fresh := watch(t, st, "", 0)
	fresh.expect("a=again", "b=2", "synced")
}

func testWatchOrder(t *testing.T, st store.Store) {
	w := watch(t, st, "n/", 0)
	w.expect("synced")
	const n = 200
	errs := make(chan error, 4)
	for g := range 4 {
		go func() {
			for i := range n / 4 {
				if _, err := st.Commit(t.Context(), put(fmt.Sprintf("n/%d/%03d", g, i), "v")); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	var last store.Revision
	seen := make(map[string]bool)
	for range n {
		e := w.next()
		if e.Object.Revision <= last || seen[e.Object.Key] {
			t.Fatalf("%s at %d came after %d", e.Object.Key, e.Object.Revision, last)
		}
		last, seen[e.Object.Key] = e.Object.Revision, true
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// testWatchWhileWriting begins watches in the middle of writes: none may miss a change
// between the snapshot and what follows.
func testWatchWhileWriting(t *testing.T, st store.Store) {
	const n = 100
	wrote := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := st.Commit(t.Context(), put(fmt.Sprintf("k/%03d", i), "v")); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- nil
	}()
	for range 5 {
		w := watch(t, st, "k/", 0)
		seen := make(map[string]int)
		for len(seen) < n {
			if e := w.next(); !e.Synced {
				seen[e.Object.Key]++
			}
		}
		for key, times := range seen {
			if times != 1 {
				t.Fatalf("%s came %d times", key, times)
			}
		}
		w.cancel()
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
}

func testWatchContext(t *testing.T, st store.Store) {
	w := watch(t, st, "", 0)
	w.expect("synced")
	w.cancel()
	if err := w.end(); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled watch: got %v", err)
	}
}

func testWatchLeft(t *testing.T, st store.Store) {
	commit(t, st, put("a", "1"), put("b", "2"))
	n := 0
	for _, err := range st.Watch(t.Context(), "", 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Fatalf("events before the loop was left: got %d, want 1", n)
	}
	commit(t, st, put("c", "3"))
}

// testSlowWatcher stops reading in the middle: writers continue, and the watcher then gets
// everything, or ErrCompacted and a whole snapshot.
func testSlowWatcher(t *testing.T, st store.Store) {
	const n = 600
	value := string(make([]byte, 64<<10))
	started, release := make(chan struct{}), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		var last string
		first := true
		for e, err := range st.Watch(t.Context(), "slow/", 0) {
			if err != nil {
				result <- err
				return
			}
			if first {
				first = false
				close(started)
				<-release
			}
			if last = e.Object.Key; last == "slow/end" {
				result <- nil
				return
			}
		}
	}()
	<-started
	begun := time.Now()
	for i := range n {
		commit(t, st, put(fmt.Sprintf("slow/%d", i%4), value))
	}
	commit(t, st, put("slow/end", ""))
	t.Logf("%d writes past a watcher that reads nothing: %v", n, time.Since(begun).Round(time.Millisecond))
	close(release)
	select {
	case err := <-result:
		if err != nil && !errors.Is(err, store.ErrCompacted) {
			t.Fatalf("the slow watcher: got %v, want everything or ErrCompacted", err)
		}
	case <-time.After(patience):
		t.Fatal("the slow watcher was sent nothing")
	}
	if got := len(list(t, st, "slow/")); got != 5 {
		t.Fatalf("objects: got %d, want 5", got)
	}
}
