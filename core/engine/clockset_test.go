package engine_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// TestClockIsSet sets the machine's clock back or forward while payload is held: the hold time ends as it would
// have, an open connection continues, and records have the times of the clock as it is.
func TestClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			const hold = 300 * time.Millisecond
			var off atomic.Int64
			start := time.Now()
			wall := func() int64 { return time.Now().UnixNano() + off.Load() }
			b := newBenchOf(t, engine.Config{Clocks: func() (int64, int64) { return wall(), int64(time.Since(start)) }})
			b.policy(1, policy.Protect, policy.WorkloadSpec{Hold: hold}, allow(7, tcpPort(8080), app.HTTP))
			q := b.attach(backend.Inline)
			stamped := func(f packet.Frame) packet.Frame { f.Stamp = wall(); return f }
			open, held := newConn(false, 40001, 8080), newConn(false, 40000, 8080)
			for _, f := range open.handshake(t) {
				q.give(stamped(f))
			}
			if got := actions(q.give(stamped(open.seg(t, 0, "PA", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")))); got != "pass" {
				t.Fatalf("an allowed request: %s", got)
			}
			for _, f := range held.handshake(t) {
				q.give(stamped(f))
			}
			q.takeSent()
			begin := time.Now()
			q.give(stamped(held.seg(t, 0, "PA", "GE")))
			off.Store(int64(step))
			if got := actions(q.give(stamped(open.seg(t, 1, "PA", "HTTP/1.1 200 OK\r\n\r\n")))); got != "pass" {
				t.Errorf("the answer after the clock was set: %s", got)
			}
			sent := q.takeSent()
			for len(sent) == 0 && time.Since(begin) < 10*time.Second {
				time.Sleep(time.Millisecond)
				sent = q.takeSent()
			}
			if took := time.Since(begin); took < hold || took > 5*time.Second || len(sent) != 2 {
				t.Errorf("%d frames were sent after %s, want two resets after %s", len(sent), took, hold)
			}
			b.flows(func(f flow.Record) bool {
				return f.ClientPort == 40000 && f.Reason == flow.ByHoldExpired && time.Duration(f.Last-wall()).Abs() < time.Minute
			})
			if got := actions(q.give(stamped(open.seg(t, 0, "PA", "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")))); got != "pass" {
				t.Errorf("another request on the open connection: %s", got)
			}
		})
	}
}
