package appnames_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/appnames"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

func open(t *testing.T) store.Store {
	t.Helper()
	st, err := embedded.Open(filepath.Join(t.TempDir(), embedded.FileName), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// known is what one process knows: package app for one of several in a test.
type known struct {
	mu  sync.Mutex
	ids map[string]app.ID
}

func (k *known) give(name string, id app.ID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if was, ok := k.ids[name]; ok && was != id {
		return fmt.Errorf("%s has %d already", name, was)
	}
	for n, i := range k.ids {
		if n != name && i == id {
			return fmt.Errorf("%s has %d", n, id)
		}
	}
	k.ids[name] = id
	return nil
}

func (k *known) id(name string) app.ID {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[name]
}

func process(st store.Store, file string) (*appnames.Names, *known) {
	k := &known{ids: map[string]app.ID{}}
	return appnames.New(appnames.Config{Store: st, File: file, Give: k.give}), k
}

// rivals are names that want the same number.
func rivals(t *testing.T, n int) []string {
	t.Helper()
	by := map[app.ID][]string{}
	for i := range 1_000_000 {
		name := fmt.Sprint("rival-", i)
		id := app.Suggest(name, 0)
		if by[id] = append(by[id], name); len(by[id]) == n {
			return by[id]
		}
	}
	t.Fatal("no rivals")
	return nil
}

// TestManyProcesses lets processes give numbers to the same names at the same time, in different orders: all mean
// the same, and no two names have one number.
func TestManyProcesses(t *testing.T) {
	st := open(t)
	names := append(rivals(t, 4), "plain")
	var all []*known
	var wg sync.WaitGroup
	for i := range 6 {
		n, k := process(st, "")
		all = append(all, k)
		wg.Go(func() {
			for j := range names {
				if _, err := n.ID(t.Context(), names[(i+j)%len(names)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	used := map[app.ID]string{}
	for _, name := range names {
		id := all[0].id(name)
		if other := used[id]; other != "" || id < app.FirstPlugin {
			t.Errorf("%s has %d, as %q", name, id, other)
		}
		used[id] = name
		for i, k := range all {
			if got := k.id(name); got != id {
				t.Errorf("process %d calls %s %d, the first one %d", i, name, got, id)
			}
		}
	}
	late, k := process(st, "")
	if err := late.Load(t.Context()); err != nil || len(k.ids) != len(names) {
		t.Errorf("one that comes later knows %v (%v), want all of %v", k.ids, err, names)
	}
}

// TestWatched: one process receives the names that another one writes.
func TestWatched(t *testing.T) {
	st := open(t)
	a, _ := process(st, "")
	b, k := process(st, "")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	id, err := a.ID(t.Context(), "watched")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); k.id("watched") != id; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not reported after 20 s")
		}
	}
}

var errAway = errors.New("away")

// away is a store that does not answer.
type away struct{ store.Store }

func (away) Get(context.Context, string) (store.Object, error) { return store.Object{}, errAway }
func (away) List(context.Context, string) ([]store.Object, store.Revision, error) {
	return nil, 0, errAway
}
func (away) Commit(context.Context, ...store.Op) (store.Revision, error) { return 0, errAway }
func (away) Watch(context.Context, string, store.Revision) iter.Seq2[store.Event, error] {
	return func(yield func(store.Event, error) bool) { yield(store.Event{}, errAway) }
}

// TestStoreAway: what was known is known without the store; a new name has no number until it is back.
func TestStoreAway(t *testing.T) {
	st, file := open(t), filepath.Join(t.TempDir(), "data", "apps.json")
	before, _ := process(st, file)
	want, err := before.ID(t.Context(), "kept")
	if err != nil {
		t.Fatal(err)
	}
	n, k := process(away{}, file)
	n.LoadOr(t.Context())
	if got, err := n.ID(t.Context(), "kept"); err != nil || got != want || k.id("kept") != want {
		t.Errorf("number %d (%v), want %d", got, err, want)
	}
	if got, err := n.ID(t.Context(), "new"); !errors.Is(err, errAway) {
		t.Errorf("a new name has number %d (%v), want none", got, err)
	}
}

func TestListedAndBad(t *testing.T) {
	n, _ := process(open(t), "")
	if id, err := n.ID(t.Context(), "http"); err != nil || id != app.HTTP {
		t.Errorf("http has %d (%v), want %d", id, err, app.HTTP)
	}
	for _, bad := range []string{"", "Upper", "none", "a/b"} {
		if id, err := n.ID(t.Context(), bad); err == nil {
			t.Errorf("%q has number %d, want an error", bad, id)
		}
	}
}
