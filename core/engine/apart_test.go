package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// slowBackend blocks in Attach, in recalls and in Depth until proceed is closed.
type slowBackend struct {
	memBackend
	begun   chan struct{} // Attach was called
	proceed chan struct{} // closed: Attach continues
	err     error
}

func newSlowBackend() *slowBackend {
	return &slowBackend{memBackend: memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}, begun: make(chan struct{}, 8), proceed: make(chan struct{})}
}

func (s *slowBackend) Attach(ctx context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	s.begun <- struct{}{}
	<-s.proceed
	if s.err != nil {
		return nil, s.err
	}
	return s.memBackend.Attach(ctx, ep)
}

// within fails the test if fn takes too long.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s waits for another endpoint", what)
	}
}

// TestSlowAttachDelaysNoOther blocks a backend in Attach: policies, statistics, records and
// the attaching, changing and detaching of other endpoints continue.
func TestSlowAttachDelaysNoOther(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Discover, policy.WorkloadSpec{})
	b.attach(backend.Tap)
	slow := newSlowBackend()
	result := make(chan error, 1)
	go func() {
		result <- b.e.Attach(context.Background(), slow, backend.Endpoint{ID: 2, Kind: backend.Inline}, "x")
	}()
	<-slow.begun
	within(t, "Apply", func() { b.policy(2, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP)) })
	within(t, "Stats", func() { b.e.Stats() })
	within(t, "Drain", func() { b.e.Drain(func(*flow.Record) {}) })
	within(t, "SetSockets of the slow one", func() { b.e.SetSockets(2, &role.Sockets{Listening: map[role.Port]bool{{Proto: 6, Port: 80}: true}}) })
	within(t, "Stays", func() { b.e.Stays(2) })
	within(t, "Attach of another", func() {
		if err := b.e.Attach(context.Background(), b.be, backend.Endpoint{ID: 3, Kind: backend.Tap}, "y"); err != nil {
			t.Error(err)
		}
	})
	within(t, "a change of mode", func() { b.attach(backend.Inline) })
	within(t, "Detach of another", func() {
		if err := b.e.Detach(3); err != nil {
			t.Error(err)
		}
	})
	c := newConn(false, 40000, 8080)
	if got := actions(b.be.inline.give(append(c.handshake(t), newConn(false, 40001, 22).seg(t, 0, "S", ""))...)); got != "pass pass pass drop" {
		t.Errorf("under the second policy: %s", got)
	}
	close(slow.proceed)
	if err := <-result; err != nil {
		t.Errorf("the slow one: %v", err)
	}
}

// TestCloseWaitsForAttach closes while an endpoint is being attached: nothing is left
// attached.
func TestCloseWaitsForAttach(t *testing.T) {
	b := newBench(t)
	slow := newSlowBackend()
	result := make(chan error, 1)
	go func() {
		result <- b.e.Attach(context.Background(), slow, backend.Endpoint{ID: 2, Kind: backend.Tap}, "x")
	}()
	<-slow.begun
	closed := make(chan struct{})
	go func() { b.e.Close(); close(closed) }()
	close(slow.proceed)
	<-result
	within(t, "Close", func() { <-closed })
	if err := b.e.Attach(context.Background(), b.be, backend.Endpoint{ID: 5, Kind: backend.Tap}, "x"); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("Attach after Close: %v, want ErrClosed", err)
	}
}

// TestAttachFails checks that nothing is left of an endpoint that could not be attached.
func TestAttachFails(t *testing.T) {
	b := newBench(t)
	slow := newSlowBackend()
	slow.err = errors.New("no such interface")
	close(slow.proceed)
	if err := b.e.Attach(context.Background(), slow, backend.Endpoint{ID: 2, Kind: backend.Tap, Interface: "eth0"}, "x"); !errors.Is(err, slow.err) {
		t.Fatalf("got %v, want its cause", err)
	}
	b.e.SetSockets(2, &role.Sockets{Listening: map[role.Port]bool{{Proto: 6, Port: 80}: true}})
	if got := b.e.Stays(2); got != "" {
		t.Errorf("flows cannot be offloaded: %q", got)
	}
}

// TestSlowRecallDelaysNoOther blocks the kernel while flows are recalled.
func TestSlowRecallDelaysNoOther(t *testing.T) {
	o := newOffloading(t, backend.FailOpen)
	o.enforced(1)
	o.k.kmu.Lock() // Recall waits for it
	within(t, "Apply", func() { o.allow(2); o.allow(3); o.allow(4) })
	within(t, "Stats", func() { o.e.Stats() })
	within(t, "Attach of another", func() {
		if err := o.e.Attach(context.Background(), o.be, backend.Endpoint{ID: 3, Kind: backend.Tap}, "y"); err != nil {
			t.Error(err)
		}
	})
	if o.e.AwaitEnforced(4, 20*time.Millisecond) || o.e.Enforced() != 1 {
		t.Errorf("version %d is enforced while flows of older ones may pass", o.e.Enforced())
	}
	o.k.kmu.Unlock()
	o.enforced(4)
	if got := o.k.recalls(); got[len(got)-1] != 4 {
		t.Errorf("recalled %v, want the last generation to be 4", got)
	}
}

// TestQueueEnds ends a queue by itself: its endpoints are lost, its records and counters are
// not, and the endpoint can be attached again.
func TestQueueEnds(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Discover, policy.WorkloadSpec{})
	q := b.attach(backend.Tap)
	c := newConn(false, 40000, 8080)
	q.give(append(c.handshake(t), c.seg(t, 0, "PA", httpRequest))...)
	q.Close()
	select {
	case id := <-b.e.Lost():
		if id != 1 {
			t.Errorf("endpoint %d is lost, want 1", id)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the endpoint is not lost")
	}
	b.until(8080)
	b.counts("engine.sessions_ended", 1)
	again := b.attach(backend.Tap)
	if again == q {
		t.Fatal("the same queue")
	}
	again.give(newConn(false, 40001, 8080).handshake(t)...)
	b.counts("engine.sessions_opened", 2)
}

// TestManyAtOnce attaches, changes and detaches many endpoints of one shared queue
// concurrently, under traffic, policies and statistics.
func TestManyAtOnce(t *testing.T) {
	reg, err := builtin.Registry()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, e: engine.New(engine.Config{Parsers: reg}), be: &memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}}
	t.Cleanup(func() { b.e.Close() })
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	other := newSecondBackend(t)
	stop := make(chan struct{})
	busy := make(chan struct{})
	go func() {
		defer close(busy)
		for v := uint64(2); ; v++ {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			b.policy(v, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
			b.e.Stats()
			b.e.Drain(func(*flow.Record) {})
			b.be.inline.Wake()
		}
	}()
	const n, rounds = 12, 6
	errs := make(chan error, n)
	for id := uint32(1); id <= n; id++ {
		go func() {
			var last error
			for i := range rounds {
				be, side := backend.Backend(b.be), backend.HostSide
				if (int(id)+i)%2 == 0 {
					be, side = other, backend.StackSide
				}
				ep := backend.Endpoint{ID: id, Kind: backend.Inline, Hook: backend.Hook{Side: side}, Index: i}
				last = errors.Join(last, b.e.Attach(context.Background(), be, ep, "w"))
				b.e.SetSockets(id, &role.Sockets{Listening: map[role.Port]bool{{Proto: 6, Port: uint16(i)}: true}})
			}
			errs <- errors.Join(last, b.e.Detach(id))
		}()
	}
	within(t, "one of many endpoints", func() {
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
	close(stop)
	<-busy
	within(t, "Close", func() { b.e.Close() })
}
