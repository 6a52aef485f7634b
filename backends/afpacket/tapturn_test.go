//go:build linux

package afpacket_test

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestTapBusy makes a tap's worker fall behind: the tap gets a larger ring and the worker,
// when it continues, sees every frame once, in order, while more arrive.
func TestTapBusy(t *testing.T) {
	testnet.RequireRoot(t)
	const small, frames, size = 1 << 20, 20_000, 1000
	ws := testnet.New(t).Bridge("a", "b").Workloads
	_, q := openTap(t, afpacket.Config{TapRing: small, TapBusyRing: 32 << 20, TapRetire: 2 * time.Millisecond}, ws[0])
	dst := ws[1].ListenPacket("udp4", ws[1].Addr("udp4", 0))
	conn := ws[0].Dial("udp4", dst.LocalAddr().String())
	sent := 0
	send := func(n int) {
		data := make([]byte, size)
		for range n {
			binary.BigEndian.PutUint32(data, uint32(sent))
			if _, err := conn.Write(data); err != nil {
				t.Error(err)
				return
			}
			sent++
		}
	}
	send(small / 2 / size) // half of the ring, before it is read
	next, twice, missed := uint32(0), 0, 0
	batch := packet.NewBatch(256)
	for until := time.Now().Add(30 * time.Second); int(next) < frames && time.Now().Before(until); {
		if err := q.Recv(batch); err != nil {
			t.Fatal(err)
		}
		for _, f := range batch.All() {
			if len(f.Data) != 42+size || f.Data[23] != unix.IPPROTO_UDP {
				continue
			}
			switch n := binary.BigEndian.Uint32(f.Data[42:]); {
			case n == next:
				next++
			case n < next:
				twice++
			default:
				missed += int(n - next)
				next = n + 1
			}
		}
		if err := q.Settle(batch); err != nil {
			t.Fatal(err)
		}
		if sent < frames {
			send(min(100, frames-sent))
		}
	}
	dropped := q.(backend.Counter).Stats().Dropped
	if int(next) != frames || missed != int(dropped) || missed > 0 || twice > 2 {
		t.Errorf("%d of %d frames, %d missed (%d counted), %d came twice", next, frames, missed, dropped, twice)
	}
	holdsMore(t, q, func() { send(4 * small / size) })
}

// holdsMore waits until the worker has continued in the larger ring, which holds what did not
// fit before.
func holdsMore(t *testing.T, q backend.Queue, send func()) {
	t.Helper()
	batch := packet.NewBatch(256)
	fill := 0.0
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); {
		send()
		if fill = q.(backend.Gauge).Depth().Fill; fill > 0 && fill < 0.5 {
			return
		}
		for range 20 {
			if err := q.Recv(batch); err != nil {
				t.Fatal(err)
			}
			if err := q.Settle(batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Errorf("4 MiB fill %.2f of the ring, want an eighth", fill)
}
