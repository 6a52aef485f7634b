//go:build linux

package afpacket_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// send sends datagrams of one byte from one workload to another, and returns how many arrive.
func send(t *testing.T, from, to *testnet.Workload, network string, n int) (arrived int) {
	t.Helper()
	l := to.ListenPacket(network, to.Addr(network, 0))
	c := from.Dial(network, l.LocalAddr().String())
	for range n {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	for b := make([]byte, 8); ; arrived++ {
		_ = l.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, _, err := l.ReadFrom(b); err != nil {
			return arrived
		}
	}
}

// checkArrived checks that all datagrams arrived with fail open, and none with fail closed.
func checkArrived(t *testing.T, fail backend.FailMode, arrived, sent int) {
	t.Helper()
	if passes := fail == backend.FailOpen; passes && arrived != sent || !passes && arrived != 0 {
		t.Errorf("%d of %d datagrams arrived", arrived, sent)
	}
}

// noise is how many frames an interface sends by itself during a test: reports of listeners.
const noise = 40

// checkCounted compares the counts with the expected ones, in any order, apart from noise.
func checkCounted(t *testing.T, got []backend.Unjudged, want map[backend.Unjudged]bool) {
	t.Helper()
	for w := range want {
		found := false
		for _, u := range got {
			found = found || u.Endpoint == w.Endpoint && u.Cause == w.Cause && u.Dropped == w.Dropped && u.Frames >= w.Frames && u.Frames < w.Frames+noise && u.Bytes >= w.Bytes
		}
		if !found {
			t.Errorf("counted %+v, want %+v", got, w)
		}
	}
	for _, u := range got {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(w backend.Unjudged) bool { return w.Endpoint == u.Endpoint && w.Dropped == u.Dropped }) && u.Frames >= noise {
			t.Errorf("counted %+v, want %+v", u, want)
		}
	}
}

// resolve makes a workload know the MAC address of another one without asking.
func resolve(t *testing.T, from, to *testnet.Workload) {
	t.Helper()
	from.Do(func() error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: from.Index, IP: to.IPv4.AsSlice(), HardwareAddr: to.MAC[:], State: netlink.NUD_PERMANENT})
	})
}

// TestUnjudgedHeartbeat counts frames passed or dropped while no worker runs: each frame, by
// endpoint, for IPv4 and IPv6, and for an endpoint that is detached before the counters are
// read.
func TestUnjudgedHeartbeat(t *testing.T) {
	const frames, header4, header6 = 50, 14 + 20 + 8 + 1, 14 + 40 + 8 + 1
	for _, c := range []struct {
		name   string
		fail   backend.FailMode
		detach bool
	}{{"open", backend.FailOpen, false}, {"closed", backend.FailClosed, false}, {"open detached", backend.FailOpen, true}, {"closed detached", backend.FailClosed, true}} {
		t.Run(c.name, func(t *testing.T) {
			testnet.RequireRoot(t)
			ws := testnet.New(t).Bridge("a", "b", "c").Workloads
			b := afpacket.New(afpacket.Config{HeartbeatLimit: time.Millisecond})
			t.Cleanup(func() { b.Close() })
			var first backend.Attachment
			for i, w := range ws {
				a, err := b.Attach(t.Context(), inlineOf(uint32(i+1), w, c.fail))
				if err != nil {
					t.Fatal(err)
				}
				if err := a.Activate(); err != nil { // no worker receives
					t.Fatal(err)
				}
				if first == nil {
					first = a
				}
			}
			time.Sleep(10 * time.Millisecond)
			checkCounted(t, b.TakeUnjudged(), nil)
			arrived := 0
			for _, network := range []string{"udp4", "udp6"} {
				arrived += send(t, ws[0], ws[1], network, frames)
			}
			want := map[backend.Unjudged]bool{{Endpoint: 1, Cause: backend.NoHeartbeat, Dropped: true, Frames: 2 * frames, Bytes: frames * (header4 + header6)}: true}
			if c.fail == backend.FailOpen {
				want = map[backend.Unjudged]bool{}
				for id := range uint32(2) {
					want[backend.Unjudged{Endpoint: id + 1, Cause: backend.NoHeartbeat, Frames: 2 * frames, Bytes: frames * (header4 + header6)}] = true
				}
			}
			checkArrived(t, c.fail, arrived, 2*frames)
			if c.detach {
				if err := first.Close(); err != nil {
					t.Fatal(err)
				}
			}
			checkCounted(t, b.TakeUnjudged(), want)
			checkCounted(t, b.TakeUnjudged(), nil)
		})
	}
}

// TestUnjudgedRingFull sends more than a service port has room for: each frame is received or counted,
// in either fail mode, and after the port is closed too.
func TestUnjudgedRingFull(t *testing.T) {
	for _, fail := range []backend.FailMode{backend.FailOpen, backend.FailClosed} {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprintf("fail mode %d, closed %t", fail, closed), func(t *testing.T) {
				testnet.RequireRoot(t)
				ws := testnet.New(t).Bridge("a", "b").Workloads
				b := afpacket.New(afpacket.Config{RxSmall: 496, HeartbeatLimit: time.Minute})
				t.Cleanup(func() { b.Close() })
				a, err := b.Attach(t.Context(), inlineOf(7, ws[0], fail))
				if err != nil {
					t.Fatal(err)
				}
				if err := a.Activate(); err != nil {
					t.Fatal(err)
				}
				const frames = 2000
				resolve(t, ws[0], ws[1])
				if n := send(t, ws[0], ws[1], "udp4", frames); n != 0 {
					t.Errorf("%d datagrams arrived although no worker judges", n)
				}
				received, q, batch := 0, a.Queues()[0], packet.NewBatch(256)
				for {
					if err := q.Recv(batch); err != nil {
						t.Fatal(err)
					}
					if batch.N == 0 {
						break
					}
					received += batch.N
					_ = q.Settle(batch)
				}
				if closed {
					if err := a.Close(); err != nil {
						t.Fatal(err)
					}
				}
				want := backend.Unjudged{Endpoint: 7, Cause: backend.RingFull, Dropped: true, Frames: uint64(frames - received)}
				if closed {
					want.Endpoint = 0 // frames of others may have been in the ring
				}
				got := b.TakeUnjudged()
				if received == 0 || received >= frames || len(got) != 1 || got[0].Endpoint != want.Endpoint || got[0].Cause != want.Cause ||
					got[0].Frames < want.Frames || got[0].Frames > want.Frames+noise {
					t.Errorf("received %d of %d, counted %+v, want %+v", received, frames, got, want)
				}
			})
		}
	}
}
