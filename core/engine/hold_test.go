package engine_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/policy"
)

// A sender that waits for an answer is held only briefly where held packets may pass in the
// end; it is legitimate, so no violation is reported, and later packets are not held again.
// Where they may not pass, it is held for the whole hold time.
func TestHoldEndsInSilence(t *testing.T) {
	for _, deny := range []bool{false, true} {
		families(t, func(t *testing.T, v6 bool) {
			const hold = 700 * time.Millisecond
			b := newBench(t)
			b.policy(1, policy.Protect, policy.WorkloadSpec{Hold: hold, HoldDeny: deny}, allow(7, tcpPort(8080), app.HTTP))
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
			took := time.Since(begin)
			if deny {
				if took < hold || len(sent) == 0 {
					t.Errorf("%d frames were sent after %v, want resets after %v", len(sent), took, hold)
				}
				return
			}
			if len(sent) != 1 || took > hold {
				t.Fatalf("%d frames were sent after %v, want the held one before %v", len(sent), took, hold)
			}
			if got := actions(q.give(c.seg(t, 0, "PA", "T"))); got != "pass" {
				t.Errorf("the next piece: %s, want pass", got)
			}
			q.give(c.seg(t, 0, "PA", " / HTTP/1.1\r\nHost: a\r\n\r\n"), c.seg(t, 0, "R", ""))
			b.flows(func(f flow.Record) bool {
				if f.Verdict == flow.Violate || f.Reason == flow.ByHoldExpired {
					t.Errorf("a violation was reported: %+v", f)
				}
				return f.Verdict == flow.Allow && app.ID(f.App) == app.HTTP
			})
		})
	}
}

// An application that turns out to be denied is refused as soon as it is known.
func TestReleasedIsJudgedStill(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.Unknown))
	q := b.attach(backend.Inline)
	c := newConn(false, 40000, 8080)
	q.give(c.handshake(t)...)
	q.give(c.seg(t, 0, "PA", "*1\r\n"))
	for begin := time.Now(); len(q.takeSent()) == 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
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

// A session that is allowed without a name is held only briefly: each connection of its kind
// would wait.
func TestNamelessWaitsBriefly(t *testing.T) {
	for _, tt := range []struct {
		apps []app.ID
		long bool
	}{{[]app.ID{app.HTTP}, true}, {[]app.ID{app.HTTP, app.Unknown}, false}} {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), tt.apps...))
		q := b.attach(backend.Inline)
		c := newConn(false, 40000, 8080)
		q.give(c.handshake(t)...)
		begin := time.Now()
		q.give(c.seg(t, 0, "PA", "GE"))
		for len(q.takeSent()) == 0 {
			if time.Since(begin) > 5*time.Second {
				t.Fatalf("%v: the held piece was not sent", tt.apps)
			}
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(begin); tt.long != (took >= 190*time.Millisecond) {
			t.Errorf("%v: held for %v", tt.apps, took)
		}
	}
}
