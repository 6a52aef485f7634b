package consul_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/sluicenet/sluice/internal/stage/consultest"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/consul"
)

// writer counts a key up with compare-and-set until ctx ends.
func writer(ctx context.Context, st store.Store, key string, done *atomic.Int64) error {
	for ctx.Err() == nil {
		o, err := st.Get(ctx, key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read: %w", err)
		}
		if _, err := st.Commit(ctx, store.Op{Key: key, Value: fmt.Appendf(nil, "%d", done.Load()+1), Revision: o.Revision}); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("commit %d: %w", done.Load()+1, err)
		}
		done.Add(1)
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// TestLeaderKilled kills the leader of three servers, then stops its successor, under a writer, a watch
// and a leadership: no write is lost or done twice, the watch sees the last one, there is no other leader.
func TestLeaderKilled(t *testing.T) {
	c := consultest.New(t, 3)
	first := open(t, consul.Options{Addresses: c.Addresses()})
	second := open(t, consul.Options{Addresses: c.Addresses()[1:]})
	l, err := first.Lead(t.Context(), "controller", "one")
	if err != nil {
		t.Fatal(err)
	}
	other := make(chan store.Leadership, 1)
	go func() {
		if l, err := second.Lead(t.Context(), "controller", "two"); err == nil {
			other <- l
		}
	}()
	var seen atomic.Value
	go func() {
		for e, err := range second.Watch(t.Context(), "counter", 0) {
			if err == nil && !e.Synced {
				seen.Store(string(e.Object.Value))
			}
		}
	}()
	var count atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- writer(ctx, first, "counter", &count) }()
	disturb(t, c, &count)
	select {
	case <-l.Lost():
		t.Error("the leadership was lost")
	case <-other:
		t.Error("two lead at once")
	case err := <-ended:
		t.Fatalf("the writer ended: %v", err)
	default:
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatalf("the writer: %v", err)
	}
	waitFor(t, "the watch sees the last write", func() bool {
		o, err := second.Get(t.Context(), "counter")
		return err == nil && seen.Load() == string(o.Value)
	})
	if err := l.Resign(); err != nil {
		t.Error(err)
	}
	select {
	case <-other:
	case <-time.After(30 * time.Second):
		t.Error("no leader after the first resigned")
	}
}

// disturb kills the leader, brings it back and stops the next one, and waits each time for writes to
// continue.
func disturb(t *testing.T, c *consultest.Cluster, count *atomic.Int64) {
	t.Helper()
	for _, step := range []struct {
		name string
		do   func(i int) error
	}{{"leader killed", c.Kill}, {"killed one is back", func(int) error { return restart(c) }}, {"leader stopped", c.Pause}} {
		waitFor(t, "writes before: "+step.name, progress(count, 50))
		leader, err := c.Leader()
		if err != nil {
			t.Fatal(err)
		}
		if err := step.do(leader); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		waitFor(t, "writes after: "+step.name, progress(count, 2))
		t.Logf("%s: writes continue after %s", step.name, time.Since(begin).Round(10*time.Millisecond))
		if step.name == "leader stopped" {
			if err := c.Continue(leader); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// restart starts the server that is down.
func restart(c *consultest.Cluster) error {
	for i := range c.Addresses() {
		if !c.Running(i) {
			return c.Restart(i)
		}
	}
	return errors.New("all servers run")
}

func progress(count *atomic.Int64, n int64) func() bool {
	begin := count.Load()
	return func() bool { return count.Load() >= begin+n }
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// TestFence takes a leader's lock away behind its back: it is notified, and what it commits through the
// fence is refused from the first moment.
func TestFence(t *testing.T) {
	c := consultest.New(t, 1)
	st := open(t, consul.Options{Addresses: c.Addresses()})
	l, err := st.Lead(t.Context(), "controller", "one")
	if err != nil {
		t.Fatal(err)
	}
	fenced := l.(store.Fencer).Fence()
	put := store.Op{Key: "k", Value: []byte("1"), Revision: store.Any}
	if _, err := fenced.Commit(t.Context(), put); err != nil {
		t.Fatalf("while it leads: %v", err)
	}
	put.Value = make([]byte, store.MaxValue)
	if _, err := fenced.Commit(t.Context(), put); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("more than can be fenced: got %v, want ErrTooLarge", err)
	}
	destroySessions(t, c)
	for _, size := range []int{1, store.MaxCommit - 10} {
		put.Value = make([]byte, size)
		if _, err := fenced.Commit(t.Context(), put); !errors.Is(err, store.ErrNotLeading) {
			t.Errorf("%d bytes when it leads no more: got %v, want ErrNotLeading", size, err)
		}
	}
	if o, err := st.Get(t.Context(), "k"); err != nil || string(o.Value) != "1" {
		t.Errorf("value: got %q, %v, want what the leader wrote", o.Value, err)
	}
	select {
	case <-l.Lost():
	case <-time.After(30 * time.Second):
		t.Error("the leader was not notified")
	}
}

func destroySessions(t *testing.T, c *consultest.Cluster) {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address = c.Addresses()[0]
	cl, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := cl.Session().List(nil)
	if err != nil || len(list) == 0 {
		t.Fatalf("sessions: %v, %v", list, err)
	}
	for _, s := range list {
		if _, err := cl.Session().Destroy(s.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSilentLeader has a leader that says nothing any more: another takes its place in seconds, not
// when its session runs out.
func TestSilentLeader(t *testing.T) {
	c := consultest.New(t, 1)
	cfg := api.DefaultConfig()
	cfg.Address = c.Addresses()[0]
	cl, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// What a process leaves behind that was killed: a session of 30 s that holds the lock.
	id, _, err := cl.Session().CreateNoChecks(&api.SessionEntry{TTL: "30s", LockDelay: time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ok, _, err := cl.KV().Acquire(&api.KVPair{Key: "sluice/i/lead/controller", Session: id, Value: []byte("killed")}, nil); !ok || err != nil {
		t.Fatalf("acquire: %t, %v", ok, err)
	}
	st := open(t, consul.Options{Addresses: c.Addresses(), Silence: 2 * time.Second})
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second) // the session itself would last to 30 s and more
	defer cancel()
	if _, err := st.Lead(ctx, "controller", "two"); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin)
	t.Logf("took the place of a silent leader after %s", took.Round(10*time.Millisecond))
	if took < 2*time.Second {
		t.Errorf("took the place of a silent leader after %s, want 2 s at least", took)
	}
}
