package roster_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/roster"
	"github.com/sluicenet/sluice/store"
	"github.com/sluicenet/sluice/store/embedded"
)

const every, claim = 20 * time.Millisecond, 80 * time.Millisecond

func open(t *testing.T) store.Store {
	t.Helper()
	st, err := embedded.Open(filepath.Join(t.TempDir(), embedded.FileName), embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// member is a running roster.
type member struct {
	*roster.Roster
	stop context.CancelFunc
	done chan error
	log  syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func run(t *testing.T, st store.Store, name, address string, leading bool) *member {
	t.Helper()
	m := &member{done: make(chan error, 1)}
	m.Roster = roster.New(roster.Config{Store: st, Self: roster.Entry{Name: name, Address: address, Machine: "on-" + address, Started: 1}, Leading: func() bool { return leading },
		Every: every, Claim: claim, Logger: slog.New(slog.NewTextHandler(&m.log, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	m.stop = cancel
	go func() { m.done <- m.Run(ctx) }()
	t.Cleanup(func() { cancel() })
	return m
}

func (m *member) claimed(t *testing.T) {
	t.Helper()
	select {
	case <-m.Claimed():
	case err := <-m.done:
		t.Fatalf("ended with %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the name was not claimed within 10 s")
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(every) {
		if time.Now().After(end) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

// TestTwoNames: controllers of different names see each other.
func TestTwoNames(t *testing.T) {
	st := open(t)
	a, b := run(t, st, "a", "192.0.2.1:1", true), run(t, st, "b", "192.0.2.2:1", false)
	a.claimed(t)
	b.claimed(t)
	until(t, "each to see the other", func() bool { return len(a.List()) == 2 && len(b.List()) == 2 })
	l := b.List()
	if l[0].Name != "a" || l[0].Phase != controlv1.ControllerPhase_CONTROLLER_PHASE_LEADER || l[1].Phase != controlv1.ControllerPhase_CONTROLLER_PHASE_STANDBY {
		t.Errorf("list is %v", l)
	}
	a.stop()
	if err := <-a.done; err != nil {
		t.Errorf("an orderly end: %v", err)
	}
	until(t, "the end of a", func() bool { return len(b.List()) == 1 })
}

// TestSameName: the second controller is refused, the first one continues, and both report it.
func TestSameName(t *testing.T) {
	st := open(t)
	first := run(t, st, "a", "192.0.2.1:1", true)
	first.claimed(t)
	second := run(t, st, "a", "192.0.2.2:1", true)
	err := <-second.done
	if !errors.Is(err, roster.ErrTaken) || !strings.Contains(err.Error(), "192.0.2.1:1") {
		t.Fatalf("the second controller ended with %v", err)
	}
	select {
	case <-second.Claimed():
		t.Error("the second controller claimed the name")
	default:
	}
	until(t, "the first one to know of its rival", func() bool {
		l := first.List()
		return len(l) == 1 && len(l[0].Rivals) == 1 && l[0].Rivals[0].Address == "192.0.2.2:1"
	})
	if n := strings.Count(first.log.String(), "was refused this one's name"); n != 1 {
		t.Errorf("%d messages about one rival, want 1", n)
	}
	select {
	case err := <-first.done:
		t.Errorf("the first controller ended: %v", err)
	default:
	}
}

// TestRestart: a controller that was killed leaves its entry; the next one of the name takes it
// when no controller writes there any more.
func TestRestart(t *testing.T) {
	st := open(t)
	value := []byte(`{"name":"a","address":"192.0.2.1:1","run":"killed","beat":7}`)
	if _, err := st.Commit(t.Context(), store.Op{Key: "controller/a", Value: value, Revision: store.Any}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	next := run(t, st, "a", "192.0.2.1:1", false)
	next.claimed(t)
	if d := time.Since(begun); d < claim {
		t.Errorf("the name was taken after %v, without watching it for %v", d, claim)
	}
}

// TestAtOnce: of many that start at the same moment exactly one has the name.
func TestAtOnce(t *testing.T) {
	st := open(t)
	const n = 5
	var members []*member
	for range n {
		members = append(members, run(t, st, "a", "192.0.2.1:1", false))
	}
	refused := 0
	until(t, "all but one to be refused", func() bool {
		for _, m := range members {
			select {
			case err := <-m.done:
				if !errors.Is(err, roster.ErrTaken) {
					t.Fatalf("ended with %v", err)
				}
				refused++
			default:
			}
		}
		return refused == n-1
	})
	time.Sleep(5 * every)
	live := 0
	for _, m := range members {
		select {
		case <-m.Claimed():
			if len(m.done) == 0 {
				live++
			}
		default:
		}
	}
	if live != 1 {
		t.Errorf("%d have the name, want 1", live)
	}
}

// lossy is a store that does the first commits and loses their answers.
type lossy struct {
	store.Store
	lost atomic.Int32 // still to be lost
}

func (l *lossy) Commit(ctx context.Context, ops ...store.Op) (store.Revision, error) {
	rev, err := l.Store.Commit(ctx, ops...)
	if err == nil && l.lost.Add(-1) >= 0 {
		return 0, context.DeadlineExceeded
	}
	return rev, err
}

// TestAnswersLost: a claim that was written although no answer came is no other controller's.
func TestAnswersLost(t *testing.T) {
	st := &lossy{Store: open(t)}
	st.lost.Store(3)
	m := run(t, st, "a", "192.0.2.1:1", true)
	m.claimed(t)
	time.Sleep(5 * every) // the answers of two more are lost
	select {
	case err := <-m.done:
		t.Errorf("ended with %v", err)
	default:
	}
	if st.lost.Load() > 0 {
		t.Errorf("%d answers were not lost", st.lost.Load())
	}
}

// TestLateWrite: what a killed controller had sent is applied while the next one watches its entry.
func TestLateWrite(t *testing.T) {
	st := open(t)
	beat := func(value string) {
		if _, err := st.Commit(t.Context(), store.Op{Key: "controller/a", Value: []byte(value), Revision: store.Any}); err != nil {
			t.Fatal(err)
		}
	}
	beat(`{"name":"a","address":"192.0.2.1:1","run":"killed","beat":7}`)
	next := run(t, st, "a", "192.0.2.1:1", false)
	until(t, "the entry to be watched", func() bool { return strings.Contains(next.log.String(), "watching whether its owner lives") })
	beat(`{"name":"a","address":"192.0.2.1:1","run":"killed","beat":8}`)
	next.claimed(t)
}
