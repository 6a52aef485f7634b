// Package storetest is the conformance suite of store.Store. It tests the contract from outside, and nothing
// specific to one implementation.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/store"
)

// patience bounds the wait for expected events.
const patience = 10 * time.Second

// Opener opens a store for one test. The first call of a test opens an empty one; if the implementation is
// persistent, later calls of the same test open the same one again (the suite closes it before). The
// harness closes nothing.
type Opener func(t *testing.T) store.Store

// Suite configures the tests of an implementation.
type Suite struct {
	// Harness returns the Opener of one test.
	Harness func(t *testing.T) Opener
	// Keeps reports whether a reopened store has its objects and revisions.
	Keeps bool
}

// Run tests a store of which each call of open returns a new, empty one; nothing is reopened.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	Suite{Harness: func(*testing.T) Opener { return open }}.Run(t)
}

// Run runs the suite.
func (s Suite) Run(t *testing.T) {
	cases := []struct {
		name string
		fn   func(t *testing.T, st store.Store)
	}{
		{"get and list", testGetList},
		{"keys", testKeys},
		{"memory is not shared", testMemory},
		{"revisions count up", testRevisions},
		{"compare and set", testCompareAndSet},
		{"delete", testDelete},
		{"commit is all or nothing", testAtomic},
		{"limits", testLimits},
		{"ended context", testEndedContext},
		{"concurrent writers", testConcurrentWriters},
		{"watch from 0", testWatchFromZero},
		{"watch from a revision", testWatchFromRevision},
		{"watch deletes", testWatchDeletes},
		{"watch order", testWatchOrder},
		{"watch while writing", testWatchWhileWriting},
		{"watch ends with its context", testWatchContext},
		{"watch is left early", testWatchLeft},
		{"slow watcher", testSlowWatcher},
		{"leadership is exclusive", testLeadExclusive},
		{"leadership waits until its context ends", testLeadContext},
		{"leadership ends with the store", testLeadClose},
		{"closed", testClosed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			st := s.Harness(t)(t)
			defer st.Close()
			c.fn(t, st)
		})
	}
	if s.Keeps {
		t.Run("reopen", func(t *testing.T) { testReopen(t, s.Harness(t)) })
	}
}

// commit commits and fails the test on an error.
func commit(t *testing.T, st store.Store, ops ...store.Op) store.Revision {
	t.Helper()
	rev, err := st.Commit(t.Context(), ops...)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return rev
}

func put(key, value string) store.Op {
	return store.Op{Key: key, Value: []byte(value), Revision: store.Any}
}

func remove(key string) store.Op { return store.Op{Key: key, Delete: true, Revision: store.Any} }

// list returns prefix's keys and values, "key=value".
func list(t *testing.T, st store.Store, prefix string) []string {
	t.Helper()
	objects, _, err := st.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	var out []string
	for _, o := range objects {
		out = append(out, o.Key+"="+string(o.Value))
	}
	return out
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func testGetList(t *testing.T, st store.Store) {
	if _, err := st.Get(t.Context(), "group/a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of nothing: got %v, want ErrNotFound", err)
	}
	same(t, "empty list", list(t, st, ""), []string(nil))
	rev := commit(t, st, put("group/b", "2"), put("group/a", "1"), put("groups", "x"), put("rule/1", ""))
	o, err := st.Get(t.Context(), "group/a")
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	same(t, "object", o, store.Object{Key: "group/a", Value: []byte("1"), Revision: rev})
	same(t, "below group/", list(t, st, "group/"), []string{"group/a=1", "group/b=2"})
	same(t, "all", list(t, st, ""), []string{"group/a=1", "group/b=2", "groups=x", "rule/1="})
	same(t, "below nothing", list(t, st, "zebra"), []string(nil))
	if _, at, err := st.List(t.Context(), "group/"); err != nil || at < rev {
		t.Fatalf("list's revision: got %d, %v, want at least %d", at, err, rev)
	}
}

// testKeys has keys with a special meaning in a file system or a URL.
func testKeys(t *testing.T, st store.Store) {
	keys := []string{"a", "a/", "a/%00/b", "a/%2E", "a/.", "a/..", "a//", "a//b", "a/b c", "a/b?c#d", "a/b%2Fc", "a/\u00fc", "a/\xff", "a/~", "a/~2E", "a/..%2F", "a/b ", "aa"}
	var ops []store.Op
	for _, key := range keys {
		ops = append(ops, put(key, key))
	}
	commit(t, st, ops...)
	slices.Sort(keys)
	for _, prefix := range []string{"", "a", "a/", "a/.", "a/..", "a//", "a/b", "a/%", "a/~", "a/./", "../", "a/..%"} {
		var want []string
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key+"="+key)
			}
		}
		same(t, "below "+prefix, list(t, st, prefix), want)
	}
	for _, key := range keys {
		if o, err := st.Get(t.Context(), key); err != nil || string(o.Value) != key {
			t.Errorf("%q: got %q, %v", key, o.Value, err)
		}
	}
}

func testMemory(t *testing.T, st store.Store) {
	value := []byte("before")
	commit(t, st, store.Op{Key: "k", Value: value, Revision: store.Any})
	copy(value, "after!")
	o, err := st.Get(t.Context(), "k")
	if err != nil || string(o.Value) != "before" {
		t.Fatalf("after the caller changed its memory: got %q, %v", o.Value, err)
	}
	copy(o.Value, "after!")
	if o, err = st.Get(t.Context(), "k"); err != nil || string(o.Value) != "before" {
		t.Fatalf("after a reader changed its memory: got %q, %v", o.Value, err)
	}
}

func testRevisions(t *testing.T, st store.Store) {
	var last store.Revision
	for i := range 5 {
		rev := commit(t, st, put("k", fmt.Sprint(i)), put(fmt.Sprint("k", i), "v"))
		if rev <= last {
			t.Fatalf("revision %d does not follow %d", rev, last)
		}
		for _, key := range []string{"k", fmt.Sprint("k", i)} {
			if o, err := st.Get(t.Context(), key); err != nil || o.Revision != rev {
				t.Fatalf("%s: got revision %d, %v, want %d", key, o.Revision, err, rev)
			}
		}
		last = rev
	}
}

func testCompareAndSet(t *testing.T, st store.Store) {
	rev, err := st.Commit(t.Context(), store.Op{Key: "k", Value: []byte("1")})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	cases := []struct {
		name string
		op   store.Op
		want error
	}{
		{"create what exists", store.Op{Key: "k", Value: []byte("x")}, store.ErrConflict},
		{"an older revision", store.Op{Key: "k", Value: []byte("x"), Revision: rev + 1000}, store.ErrConflict},
		{"change what is not there", store.Op{Key: "none", Value: []byte("x"), Revision: rev}, store.ErrConflict},
		{"delete with another revision", store.Op{Key: "k", Delete: true, Revision: rev + 1000}, store.ErrConflict},
		{"delete what is not there, checked", store.Op{Key: "none", Delete: true, Revision: rev}, store.ErrConflict},
		{"the right revision", store.Op{Key: "k", Value: []byte("2"), Revision: rev}, nil},
		{"the same revision again", store.Op{Key: "k", Value: []byte("3"), Revision: rev}, store.ErrConflict},
		{"any", store.Op{Key: "k", Value: []byte("4"), Revision: store.Any}, nil},
	}
	for _, c := range cases {
		if _, err := st.Commit(t.Context(), c.op); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	same(t, "in the end", list(t, st, ""), []string{"k=4"})
}

func testDelete(t *testing.T, st store.Store) {
	rev := commit(t, st, put("a", "1"), put("b", "2"))
	if _, err := st.Commit(t.Context(), store.Op{Key: "a", Delete: true, Revision: rev}); err != nil {
		t.Fatalf("delete: %v", err)
	}
	if _, err := st.Get(t.Context(), "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of a deleted one: got %v, want ErrNotFound", err)
	}
	commit(t, st, remove("never"))
	if _, err := st.Commit(t.Context(), store.Op{Key: "a", Value: []byte("again")}); err != nil {
		t.Fatalf("create again: %v", err)
	}
	same(t, "in the end", list(t, st, ""), []string{"a=again", "b=2"})
}

func testAtomic(t *testing.T, st store.Store) {
	rev := commit(t, st, put("a", "1"))
	_, err := st.Commit(t.Context(), put("b", "1"), store.Op{Key: "a", Value: []byte("2")}, remove("a"))
	if err == nil {
		t.Fatal("a commit with a failing check: got no error")
	}
	_, err = st.Commit(t.Context(), put("b", "1"), store.Op{Key: "c", Value: []byte("2"), Revision: rev})
	if !errors.Is(err, store.ErrConflict) {
		t.Fatalf("a commit with a failing check: got %v, want ErrConflict", err)
	}
	same(t, "after it", list(t, st, ""), []string{"a=1"})
	ops := make([]store.Op, store.MaxOps)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("m/%02d", i), "v")
	}
	commit(t, st, ops...)
	if n := len(list(t, st, "m/")); n != store.MaxOps {
		t.Fatalf("after a commit of the largest size: got %d objects, want %d", n, store.MaxOps)
	}
}

func testLimits(t *testing.T, st store.Store) {
	commit(t, st, store.Op{Key: "largest", Value: make([]byte, store.MaxValue)})
	o, err := st.Get(t.Context(), "largest")
	if err != nil || len(o.Value) != store.MaxValue {
		t.Fatalf("the largest value: got %d bytes, %v", len(o.Value), err)
	}
	_, err = st.Commit(t.Context(), store.Op{Key: "larger", Value: make([]byte, store.MaxValue+1)})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("a larger value: got %v, want ErrTooLarge", err)
	}
	ops := make([]store.Op, store.MaxOps+1)
	for i := range ops {
		ops[i] = put(fmt.Sprintf("m/%02d", i), "v")
	}
	if _, err := st.Commit(t.Context(), ops...); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("more operations: got %v, want ErrTooLarge", err)
	}
	half := make([]byte, store.MaxCommit/2)
	_, err = st.Commit(t.Context(), store.Op{Key: "half/1", Value: half}, store.Op{Key: "half/2", Value: half})
	if !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("two values that are too large together: got %v, want ErrTooLarge", err)
	}
	half = half[:len(half)-len("half/1")]
	commit(t, st, store.Op{Key: "half/1", Value: half}, store.Op{Key: "half/2", Value: half})
	commit(t, st, remove("half/1"), remove("half/2"))
	for _, key := range []string{"", "/leading"} {
		if _, err := st.Commit(t.Context(), put(key, "v")); err == nil {
			t.Errorf("key %q: got no error", key)
		}
	}
	if n := len(list(t, st, "")); n != 1 {
		t.Errorf("after what was refused: got %d objects, want 1", n)
	}
}

func testEndedContext(t *testing.T, st store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("get: got %v, want context.Canceled", err)
	}
	if _, _, err := st.List(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("list: got %v, want context.Canceled", err)
	}
	if _, err := st.Commit(ctx, put("k", "v")); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: got %v, want context.Canceled", err)
	}
	if _, err := st.Lead(ctx, "lead", "me"); !errors.Is(err, context.Canceled) {
		t.Errorf("lead: got %v, want context.Canceled", err)
	}
	same(t, "objects", list(t, st, ""), []string(nil))
}

// testConcurrentWriters counts with compare-and-set from many goroutines: no increment may
// be lost and none done twice.
func testConcurrentWriters(t *testing.T, st store.Store) {
	const writers, each = 8, 10
	errs := make(chan error, writers)
	for range writers {
		go func() {
			for range each {
				if err := increment(t.Context(), st, "counter"); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	o, err := st.Get(t.Context(), "counter")
	if err != nil || len(o.Value) != writers*each {
		t.Fatalf("counter: got %d, %v, want %d", len(o.Value), err, writers*each)
	}
}

func increment(ctx context.Context, st store.Store, key string) error {
	for {
		o, err := st.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		_, err = st.Commit(ctx, store.Op{Key: key, Value: append(o.Value, 'x'), Revision: o.Revision})
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

func testClosed(t *testing.T, st store.Store) {
	if err := st.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if _, err := st.Get(t.Context(), "k"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("get: got %v, want ErrClosed", err)
	}
	if _, _, err := st.List(t.Context(), ""); !errors.Is(err, store.ErrClosed) {
		t.Errorf("list: got %v, want ErrClosed", err)
	}
	if _, err := st.Commit(t.Context(), put("k", "v")); !errors.Is(err, store.ErrClosed) {
		t.Errorf("commit: got %v, want ErrClosed", err)
	}
	if _, err := st.Lead(t.Context(), "lead", "me"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("lead: got %v, want ErrClosed", err)
	}
	if err := st.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func testReopen(t *testing.T, open Opener) {
	st := open(t)
	first := commit(t, st, put("a", "1"), put("b", "2"))
	last := commit(t, st, remove("b"), put("c", "3"))
	if err := st.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	st = open(t)
	defer st.Close()
	objects, at, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	same(t, "objects", objects, []store.Object{
		{Key: "a", Value: []byte("1"), Revision: first},
		{Key: "c", Value: []byte("3"), Revision: last},
	})
	if at < last {
		t.Fatalf("revision: got %d, want at least %d", at, last)
	}
	w := watch(t, st, "", last)
	if next := commit(t, st, put("a", "4")); next <= last {
		t.Fatalf("next revision: got %d, want more than %d", next, last)
	}
	w.expect("a=4")
}
