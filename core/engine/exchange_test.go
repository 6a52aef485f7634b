package engine_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// secondBackend is a second backend, whose Activate may fail.
type secondBackend struct {
	memBackend
	err error
}

type failing struct {
	memAttachment
	err error
}

func (f failing) Activate() error { return f.err }

func (o *secondBackend) Attach(ctx context.Context, ep backend.Endpoint) (backend.Attachment, error) {
	a, err := o.memBackend.Attach(ctx, ep)
	return failing{a.(memAttachment), o.err}, err
}

// newSecondBackend returns one whose queue ticks as real ones do.
func newSecondBackend(t *testing.T) *secondBackend {
	t.Helper()
	o := &secondBackend{memBackend: memBackend{inline: newMemQueue(), taps: map[uint32]*memQueue{}}}
	tick := time.NewTicker(10 * time.Millisecond)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-tick.C:
				o.inline.Wake()
			case <-done:
				return
			}
		}
	}()
	t.Cleanup(func() { tick.Stop(); close(done) })
	return o
}

// counts waits for a counter, which is published periodically.
func (b *bench) counts(name string, want uint64) {
	b.t.Helper()
	var got uint64
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		b.be.tick()
		if got = b.e.Stats().Counters[name]; got == want {
			return
		}
	}
	b.t.Errorf("%s: %d, want %d", name, got, want)
}

// endpoint returns the bench's endpoint, inline at a side.
func endpointAt(side backend.Side) backend.Endpoint {
	return backend.Endpoint{ID: 1, Kind: backend.Inline, MAC: [6]byte{2, 0, 0, 0, 0, 1}, Hook: backend.Hook{Side: side}}
}

func (b *bench) attachBy(be backend.Backend, side backend.Side) error {
	return b.e.Attach(context.Background(), be, endpointAt(side), "w")
}

// TestExchangeKeepsSessions switches back and forth under one connection: it stays one
// session with its name, and a denied connection stays denied.
func TestExchangeKeepsSessions(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(1, tcpPort(8080), app.HTTP))
		other := newSecondBackend(t)
		ways := []struct {
			be   backend.Backend
			side backend.Side
			q    *memQueue
		}{{b.be, backend.HostSide, b.be.inline}, {other, backend.StackSide, other.inline}}
		if err := b.attachBy(ways[0].be, ways[0].side); err != nil {
			t.Fatal(err)
		}
		c, refused := newConn(v6, 40000, 8080), newConn(v6, 40001, 22)
		ways[0].q.give(c.handshake(t)...)
		const rounds = 5
		for i := range rounds {
			q, from := ways[i%2].q, ways[(i+1)%2].q
			if got := actions(q.give(c.seg(t, 0, "PA", httpRequest), c.seg(t, 1, "PA", httpAnswer))); i > 0 && got != "pass pass" {
				t.Errorf("round %d: %s, want the connection's segments to pass", i, got)
			}
			if got := actions(q.give(refused.seg(t, 0, "S", ""))); got != "drop" {
				t.Errorf("round %d: a refused SYN: %s, want drop", i, got)
			}
			if i > 0 {
				b.oldDatapath(t, from, c, refused, i%2 == 0)
			}
			next := ways[(i+1)%2]
			if err := b.attachBy(next.be, next.side); err != nil {
				t.Fatal(err)
			}
		}
		q := ways[rounds%2].q
		q.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
		all := b.flows(func(f flow.Record) bool { return f.Kind == flow.End && f.ServerPort == 8080 })
		opened := map[uint64]bool{}
		for _, f := range all {
			if f.ServerPort != 8080 {
				continue
			}
			opened[f.Session] = true
			if a := app.ID(f.App); a != app.HTTP && a != app.Undecided || f.Midstream {
				t.Errorf("record %+v: want http, from its beginning", f)
			}
		}
		if len(opened) != 1 {
			t.Errorf("%d sessions, want one", len(opened))
		}
		b.counts("engine.identified", 1)
	})
}

// oldDatapath passes frames to the old datapath that went through the new one before it
// judged; frames out of a workload pass the inner datapath first.
func (b *bench) oldDatapath(t *testing.T, q *memQueue, known, refused *conn, inner bool) {
	t.Helper()
	want := "drop"
	if inner {
		want = "pass"
	}
	if got := actions(q.give(refused.seg(t, 0, "S", ""))); got != want {
		t.Errorf("a refused SYN at the old datapath: %s, want %s", got, want)
	}
	if got := actions(q.give(known.seg(t, 0, "A", ""))); got != "pass" {
		t.Errorf("at the old datapath: %s, want pass", got)
	}
}

// TestExchangeFails checks that the old datapath continues unchanged.
func TestExchangeFails(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(1, tcpPort(8080)))
	if err := b.attachBy(b.be, backend.HostSide); err != nil {
		t.Fatal(err)
	}
	q, c := b.be.inline, newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	bad := newSecondBackend(t)
	bad.err = errors.New("no such thing")
	if err := b.attachBy(bad, backend.StackSide); !errors.Is(err, bad.err) {
		t.Fatalf("got %v, want its cause", err)
	}
	if got := actions(q.give(c.seg(t, 0, "PA", "hello"), newConn(false, 40001, 22).seg(t, 0, "S", ""))); got != "pass drop" {
		t.Errorf("the old datapath: %s, want pass drop", got)
	}
	b.counts("engine.sessions_opened", 2)
}

// TestExchangeHoldsBack moves while a session's payload is held: it is retransmitted and held
// again, and payload of a session that is denied later never passes.
func TestExchangeHoldsBack(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{Hold: time.Minute}, allow(1, tcpPort(8080), app.Redis))
		if err := b.attachBy(b.be, backend.HostSide); err != nil {
			t.Fatal(err)
		}
		c := newConn(v6, 40000, 8080)
		b.be.inline.give(c.handshake(t)...)
		first := c.seg(t, 0, "PA", "*1\r\n") // Redis so far
		if got := actions(b.be.inline.give(first)); got != "drop" {
			t.Fatalf("the first piece: %s, want it held (drop)", got)
		}
		other := newSecondBackend(t)
		if err := b.attachBy(other, backend.StackSide); err != nil {
			t.Fatal(err)
		}
		if sent := append(b.be.inline.takeSent(), other.inline.takeSent()...); len(sent) != 0 {
			t.Fatalf("%d frames were sent at the switch, want none", len(sent))
		}
		if got := actions(other.inline.give(first)); got != "drop" {
			t.Errorf("sent again: %s, want it held (drop)", got)
		}
		other.inline.give(c.seg(t, 0, "PA", "no such protocol has this\r\n\x00\x01"))
		b.flows(func(f flow.Record) bool { return f.Verdict == flow.Deny })
		for _, f := range other.inline.takeSent() {
			if f.Flags&packet.Injected == 0 {
				t.Error("held payload of a denied session was sent")
			}
		}
		b.counts("engine.held_at_switch", 1)
	})
}
