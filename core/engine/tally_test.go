package engine_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/engine"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// traffic waits until the engine's counts of one datapath satisfy ok.
func (b *bench) traffic(t *testing.T, datapath string, ok func(engine.Traffic) bool) engine.Traffic {
	t.Helper()
	var got engine.Traffic
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		b.be.tick()
		for _, x := range b.e.Stats().Traffic {
			if x.Backend == datapath {
				got = x
			}
		}
		if ok(got) {
			return got
		}
	}
	t.Fatalf("%s: got %+v", datapath, got)
	return got
}

// tick wakes all queues, as those of the kernel do periodically.
func (be *memBackend) tick() {
	be.inline.Wake()
	for _, q := range be.taps {
		q.Wake()
	}
}

// TestTraffic counts one endpoint's frames: as a tap, after it went inline, and after it is
// gone.
func TestTraffic(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Discover, policy.WorkloadSpec{})
	q := b.attach(backend.Tap)
	c := newConn(false, 40000, 8080)
	sent := q.give(c.handshake(t)...)
	sent = append(sent, q.give(c.seg(t, 0, "PA", httpRequest))...)
	var frames, bytes [3]uint64
	for _, f := range sent {
		frames[f.Dir]++
		bytes[f.Dir] += uint64(f.Wire)
	}
	tap := b.traffic(t, "tap", func(x engine.Traffic) bool { return x.Frames == frames && x.Bytes == bytes })
	if tap.Sessions != 1 || tap.Opened != 1 || tap.Verdicts["learn"] != 1 || len(tap.Dropped) != 0 || frames[packet.Egress] != 3 {
		t.Errorf("tap: got %+v of %v frames", tap, frames)
	}
	b.policy(2, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.HTTP))
	q = b.attach(backend.Inline)
	other := newConn(false, 40001, 9090)
	if got := actions(q.give(other.seg(t, 0, "S", ""))); got != "drop" {
		t.Fatalf("without a rule: %s", got)
	}
	in := b.traffic(t, "inline", func(x engine.Traffic) bool { return x.Frames[packet.Egress] == 1 && x.Sessions == 2 })
	if in.Dropped["denied"] != 1 || in.Verdicts["deny"] != 1 || in.Opened != 1 {
		t.Errorf("inline: got %+v", in)
	}
	tap = b.traffic(t, "tap", func(x engine.Traffic) bool { return x.Sessions == 0 })
	if tap.Frames != frames {
		t.Errorf("the tap's frames are %v after it is gone, want %v", tap.Frames, frames)
	}
	b.e.Forget(tap.Workload)
	if got := b.e.Stats().Traffic; len(got) != 0 {
		t.Errorf("a removed workload: got %+v", got)
	}
}

// TestTrafficOfHeld has a request held and then refused: its frames are counted as denied.
func TestTrafficOfHeld(t *testing.T) {
	b := newBench(t)
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(8080), app.Redis))
	q := b.attach(backend.Inline)
	c := newConn(true, 40000, 8080)
	q.give(c.handshake(t)...)
	q.give(c.seg(t, 0, "PA", "GET /index"))
	q.give(c.seg(t, 0, "PA", ".html HTTP/1.1\r\nHost: a\r\n\r\n"))
	got := b.traffic(t, "inline", func(x engine.Traffic) bool { return x.Verdicts["deny"] == 1 })
	if sum := got.Dropped["denied"]; sum != 2 || got.Frames[packet.Egress]+got.Frames[packet.Ingress] != 5 || len(got.Dropped) != 1 {
		t.Errorf("got %+v, want two frames denied and no other lost", got)
	}
}
