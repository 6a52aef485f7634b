package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicenet/sluice/store"
)

// leading is the result of a Lead call on a goroutine.
type leading struct {
	l   store.Leadership
	err error
}

func lead(ctx context.Context, st store.Store, name, holder string) <-chan leading {
	c := make(chan leading, 1)
	go func() {
		l, err := st.Lead(ctx, name, holder)
		c <- leading{l, err}
	}()
	return c
}

func await(t *testing.T, c <-chan leading) store.Leadership {
	t.Helper()
	select {
	case r := <-c:
		if r.err != nil {
			t.Fatalf("lead: %v", r.err)
		}
		return r.l
	case <-time.After(patience):
		t.Fatal("no leader")
	}
	return nil
}

func testLeadExclusive(t *testing.T, st store.Store) {
	first := await(t, lead(t.Context(), st, "controller", "one"))
	waiting := lead(t.Context(), st, "controller", "two")
	other := await(t, lead(t.Context(), st, "something else", "two"))
	select {
	case r := <-waiting:
		t.Fatalf("two lead at once: %v", r.err)
	case <-first.Lost():
		t.Fatal("leadership was lost")
	case <-time.After(50 * time.Millisecond):
	}
	if err := first.Resign(); err != nil {
		t.Fatalf("resign: %v", err)
	}
	second := await(t, waiting)
	if err := first.Resign(); err != nil {
		t.Fatalf("resign again: %v", err)
	}
	select {
	case <-second.Lost():
		t.Fatal("resigning twice took the leadership from the next")
	default:
	}
	if err := errors.Join(second.Resign(), other.Resign()); err != nil {
		t.Fatalf("resign: %v", err)
	}
	await(t, lead(t.Context(), st, "controller", "one"))
}

func testLeadContext(t *testing.T, st store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	first := await(t, lead(ctx, st, "controller", "one"))
	waiting := lead(ctx, st, "controller", "two")
	cancel()
	select {
	case r := <-waiting:
		if !errors.Is(r.err, context.Canceled) {
			t.Fatalf("lead with an ended context: got %v, want context.Canceled", r.err)
		}
	case <-time.After(patience):
		t.Fatal("lead continued waiting")
	}
	if err := first.Resign(); err != nil {
		t.Fatalf("resign: %v", err)
	}
	await(t, lead(t.Context(), st, "controller", "three"))
}

func testLeadClose(t *testing.T, st store.Store) {
	l := await(t, lead(t.Context(), st, "controller", "one"))
	waiting := lead(t.Context(), st, "controller", "two")
	if err := st.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	select {
	case <-l.Lost():
	case <-time.After(patience):
		t.Fatal("leadership outlived the store")
	}
	select {
	case r := <-waiting:
		if !errors.Is(r.err, store.ErrClosed) {
			t.Fatalf("lead at close: got %v, want ErrClosed", r.err)
		}
	case <-time.After(patience):
		t.Fatal("lead continued waiting")
	}
}
