package afpacket_test

import (
	"net"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// hasPort reports whether a namespace has a service port.
func hasPort(n *testnet.NS) (there bool) {
	n.Do(func() error {
		_, err := net.InterfaceByName("sluice-svc")
		there = err == nil
		return nil
	})
	return there
}

// drive works on a queue like the engine, until it ends.
func drive(q backend.Queue) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		batch := packet.NewBatch(8)
		for q.Recv(batch) == nil {
			_ = q.Settle(batch)
		}
	}()
	return done
}

// An unused service port remains for PortLinger, is reused by a new attachment meanwhile, and
// is gone afterwards.
func TestPortLinger(t *testing.T) {
	testnet.RequireRoot(t)
	const linger = 300 * time.Millisecond
	n := testnet.New(t).Bridge("a", "b")
	b := afpacket.New(afpacket.Config{PortLinger: linger})
	t.Cleanup(func() { b.Close() })
	attach := func(id uint32) backend.Attachment {
		t.Helper()
		a, err := b.Attach(t.Context(), inlineOf(id, n.Workloads[id-1], backend.FailOpen))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Activate(); err != nil {
			t.Fatal(err)
		}
		return a
	}
	first := attach(1)
	q := first.Queues()[0]
	ended := drive(q)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if !hasPort(n.Host) {
		t.Fatal("service port was removed at once")
	}
	second := attach(2)
	if got := second.Queues(); len(got) != 1 || got[0] != q {
		t.Errorf("queues of the second: %v, want the first one's", got)
	}
	time.Sleep(2 * linger)
	if !hasPort(n.Host) {
		t.Fatal("service port was removed while in use")
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * linger):
		t.Fatal("queue did not end")
	}
	third := attach(1) // waits for the old port to be gone
	drive(third.Queues()[0])
	if err := third.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if hasPort(n.Host) {
		t.Error("service port is there after the backend was closed")
	}
}
