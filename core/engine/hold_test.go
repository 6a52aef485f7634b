package engine_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
)

// A sender that is silent after the beginning of a request is held until the hold time ends.
func TestSilenceReleasesNothing(t *testing.T) {
	for _, pass := range []bool{false, true} {
		families(t, func(t *testing.T, v6 bool) {
			const hold = 700 * time.Millisecond
			b := newBench(t)
			b.policy(1, policy.Protect, policy.WorkloadSpec{Hold: hold, HoldPass: pass}, allow(7, tcpPort(8080), app.HTTP))
			q := b.attach(backend.Inline)
			c := newConn(v6, 40000, 8080)
			q.give(c.handshake(t)...)
			begin := time.Now()
			q.give(c.seg(t, 0, "PA", "GE"))
			sent := q.takeSent()
			for len(sent) == 0 && time.Since(begin) < 5*time.Second {
				time.Sleep(time.Millisecond)
				sent = q.takeSent()
			}
			want, verdict := 2, flow.Deny // two resets
			if pass {
				want, verdict = 1, flow.Violate
			}
			if took := time.Since(begin); took < hold || len(sent) != want {
				t.Errorf("%d frames were sent after %v, want %d after %v", len(sent), took, want, hold)
			}
			b.flows(func(f flow.Record) bool { return f.Verdict == verdict && f.Reason == flow.ByHoldExpired })
		})
	}
}

// What is released because policy allows it without a name is judged on: an application that
// turns out to be denied is refused as soon as it is known.
func TestReleasedIsJudgedStill(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.Unknown))
	q := b.attach(backend.Inline)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	q.give(c.seg(t, 0, "PA", "*1\r\n"))
	for begin := time.Now(); len(q.takeSent()) == 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Second {
			t.Fatal("the held piece was not sent")
		}
	}
	if got := actions(q.give(c.seg(t, 0, "PA", "$4\r\nPING\r\n"))); got != "drop" {
		t.Errorf("the rest of a redis command: %s, want drop", got)
	}
	if n := len(q.takeSent()); n != 2 {
		t.Errorf("%d resets were sent, want 2", n)
	}
}
