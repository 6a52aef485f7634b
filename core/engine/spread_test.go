package engine_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// spreading attaches every endpoint to two queues; to is the one that has the frames of every flow.
type spreading struct {
	queues [2]*memQueue
	to     int

	mu    sync.Mutex
	asked []packet.Addr // guarded by mu
}

func (s *spreading) Attach(context.Context, backend.Endpoint) (backend.Attachment, error) {
	return s, nil
}
func (s *spreading) Queues() []backend.Queue { return []backend.Queue{s.queues[0], s.queues[1]} }
func (s *spreading) Activate() error         { return nil }
func (s *spreading) Close() error            { return nil }

func (s *spreading) Place(peer packet.Addr) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, peer)
	return s.to
}

// TestSpreadSessionsFollowTheirFrames: where an endpoint's frames are spread over queues, each session moves to the worker that will have its
// frames, found by its peer; there it continues as the session it was.
func TestSpreadSessionsFollowTheirFrames(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for to := range 2 {
			b := newBench(t)
			b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(1, tcpPort(8080)))
			known, refused := newConn(v6, 40000, 8080), newConn(v6, 40001, 22)
			q := b.attach(backend.Inline)
			q.give(known.handshake(t)...)
			q.give(refused.seg(t, 0, "S", ""))
			s := &spreading{queues: [2]*memQueue{newMemQueue(), newMemQueue()}, to: to}
			if err := b.attachBy(s, backend.StackSide); err != nil {
				t.Fatal(err)
			}
			if got := actions(s.queues[to].give(known.seg(t, 0, "PA", "hello"), refused.seg(t, 0, "S", ""))); got != "pass drop" {
				t.Errorf("queue %d: got %s", to, got)
			}
			_, peer := peers(v6)
			s.mu.Lock()
			for _, a := range s.asked {
				if a != peer {
					t.Errorf("asked where the flows of %v are, want %v", a.Netip(), peer.Netip())
				}
			}
			if len(s.asked) != 2 {
				t.Errorf("asked for %d sessions, want 2", len(s.asked))
			}
			s.mu.Unlock()
			if n := b.e.Stats(); n.Counters["engine.sessions_opened"] > 2 {
				t.Errorf("%d sessions were opened, want 2", n.Counters["engine.sessions_opened"])
			}
		}
	})
}

// TestEnterFails: a backend has an endpoint inline once, so the old hook is gone when the new one fails: the endpoint is lost, the engine's
// owner learns of it, the cause is the caller's, and a later attachment works.
func TestEnterFails(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(1, tcpPort(8080)))
	bad := newSecondBackend(t)
	if err := b.attachBy(bad, backend.HostSide); err != nil {
		t.Fatal(err)
	}
	bad.inline.give(newConn(false, 40000, 8080).handshake(t)...)
	bad.err = errors.New("no such thing")
	if err := b.attachBy(bad, backend.StackSide); !errors.Is(err, bad.err) {
		t.Fatalf("got %v, want its cause", err)
	}
	select {
	case id := <-b.e.Lost():
		if id != 1 {
			t.Errorf("endpoint %d was reported lost, want 1", id)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the endpoint was not reported lost")
	}
	q := b.attach(backend.Inline)
	if got := actions(q.give(newConn(true, 40002, 8080).seg(t, 0, "S", ""), newConn(true, 40003, 22).seg(t, 0, "S", ""))); got != "pass drop" {
		t.Errorf("attached again: got %s", got)
	}
}

// TestKindChangeFails: between tap and inline the old attachment is there until the new one works: where that fails, the old one continues.
func TestKindChangeFails(t *testing.T) {
	for from, c := range map[backend.Kind]struct {
		to   backend.Kind
		want string
	}{backend.Tap: {backend.Inline, "pass pass"}, backend.Inline: {backend.Tap, "pass drop"}} {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(1, tcpPort(8080)))
		q := b.attach(from)
		bad := newSecondBackend(t)
		bad.err = errors.New("no such thing")
		ep := backend.Endpoint{ID: 1, Kind: c.to, MAC: [6]byte{2, 0, 0, 0, 0, 1}}
		if err := b.e.Attach(context.Background(), bad, ep, "w"); !errors.Is(err, bad.err) {
			t.Fatalf("from %s: got %v, want its cause", from, err)
		}
		if got := actions(q.give(newConn(true, 40002, 8080).seg(t, 0, "S", ""), newConn(true, 40003, 22).seg(t, 0, "S", ""))); got != c.want {
			t.Errorf("from %s: got %s, want %s", from, got, c.want)
		}
	}
}

// TestDetachUnknown: an endpoint that was never attached, or no longer is, is detached without an error.
func TestDetachUnknown(t *testing.T) {
	b := newBench(t)
	if err := b.e.Detach(9); err != nil {
		t.Errorf("never attached: %v", err)
	}
	b.attach(backend.Inline)
	for range 2 {
		if err := b.e.Detach(1); err != nil {
			t.Errorf("detach: %v", err)
		}
	}
}

// TestForget: what was counted for a workload is gone after Forget; what is counted for others stays.
func TestForget(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(1, tcpPort(8080)))
	q := b.attach(backend.Inline)
	q.give(newConn(false, 40000, 8080).handshake(t)...)
	b.traffic(t, "inline", func(x engine.Traffic) bool { return x.Frames != [3]uint64{} })
	if err := b.e.Detach(1); err != nil {
		t.Fatal(err)
	}
	has := func() bool {
		for _, x := range b.e.Stats().Traffic {
			if x.Workload == "w" {
				return true
			}
		}
		return false
	}
	b.e.Forget("another")
	if !has() {
		t.Error("the traffic of one workload is gone with another")
	}
	b.e.Forget("w")
	if has() {
		t.Error("the traffic of a forgotten workload is still there")
	}
}
