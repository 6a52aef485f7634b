//go:build linux

package nfqueue_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestBindUnderTraffic binds queues to which rules of a killed process send packets already: those may
// be in the socket before the kernel's answer.
func TestBindUnderTraffic(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	_, q := open(t, nfqueue.Config{}, ws[0], backend.FailOpen)
	to := ws[1].ListenPacket("udp4", ws[1].Addr("udp4", 0))
	from := ws[0].ListenPacket("udp4", ws[0].Addr("udp4", 0))
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			_, _ = from.WriteTo([]byte("x"), to.LocalAddr())
		}
	}()
	waiting, err := nfqueue.Rebind(q, 500)
	stop.Store(true)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if waiting == 0 {
		t.Error("no packet was waiting at any time")
	}
	t.Logf("packets waited %d times of 500", waiting)
}

// TestBindTaken binds a queue that another socket has.
func TestBindTaken(t *testing.T) {
	testnet.RequireRoot(t)
	_, q := open(t, nfqueue.Config{}, testnet.New(t).Bridge("a").Workloads[0], backend.FailOpen)
	if err := nfqueue.BindTaken(q); !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("bound a queue that is taken: %v", err)
	}
}
