//go:build linux

package afpacket_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

func tapOf(id uint32, w *testnet.Workload) backend.Endpoint {
	return backend.Endpoint{ID: id, Kind: backend.Tap, NetNS: w.Path, Interface: w.Interface, Index: w.Index, MAC: w.MAC}
}

// openTap attaches and activates a tap; it is closed with the test.
func openTap(t *testing.T, cfg afpacket.Config, w *testnet.Workload) (backend.Attachment, backend.Queue) {
	t.Helper()
	b := afpacket.New(cfg)
	t.Cleanup(func() { b.Close() })
	a, err := b.Attach(context.Background(), tapOf(7, w))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Activate(); err != nil {
		t.Fatal(err)
	}
	return a, a.Queues()[0]
}

func TestTapInterfaceGoes(t *testing.T) {
	for _, c := range []struct {
		name string
		act  func(link netlink.Link) error
		end  bool
	}{
		{"down", netlink.LinkSetDown, false},
		{"deleted", netlink.LinkDel, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			testnet.RequireRoot(t)
			w := testnet.New(t).Bridge("a").Workloads[0]
			_, q := openTap(t, afpacket.Config{}, w)
			batch := packet.NewBatch(64)
			w.Do(func() error {
				link, err := netlink.LinkByName(w.Interface)
				if err != nil {
					return err
				}
				return c.act(link)
			})
			var err error
			calls := 0
			for until := time.Now().Add(400 * time.Millisecond); err == nil && time.Now().Before(until); calls++ {
				if err = q.Recv(batch); err == nil {
					err = q.Settle(batch)
				}
			}
			if c.end != errors.Is(err, io.EOF) || (!c.end && err != nil) {
				t.Errorf("queue ended with %v, want end %v", err, c.end)
			}
			if calls > 40 {
				t.Errorf("%d calls of Recv: it spins", calls)
			}
		})
	}
}

// TestTapSnap sends UDP over a link of a large MTU, so that long frames stay whole.
func TestTapSnap(t *testing.T) {
	testnet.RequireRoot(t)
	for _, c := range []struct {
		name             string
		snap, wire, data int
	}{
		{"whole", 0, 8192, 8192},
		{"bulk", 0, 8193, 512},
		{"short of the limit", 100, 99, 99},
		{"cut", 100, 1042, 100},
		{"large and cut", 10_000, 12_000, 10_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			for _, w := range ws {
				w.Do(func() error {
					l, err := netlink.LinkByName(w.Interface)
					if err != nil {
						return err
					}
					return netlink.LinkSetMTU(l, 20_000)
				})
			}
			_, q := openTap(t, afpacket.Config{TapSnap: c.snap}, ws[0])
			dst := ws[1].ListenPacket("udp4", ws[1].Addr("udp4", 0))
			conn := ws[0].Dial("udp4", dst.LocalAddr().String())
			if _, err := conn.Write(make([]byte, c.wire-42)); err != nil {
				t.Fatal(err)
			}
			for batch, until := packet.NewBatch(64), time.Now().Add(3*time.Second); time.Now().Before(until); {
				if err := q.Recv(batch); err != nil {
					t.Fatal(err)
				}
				for _, f := range batch.All() {
					if int(f.Wire) != c.wire {
						continue
					}
					if cut := f.Flags&packet.Truncated != 0; len(f.Data) != c.data || cut != (c.data < c.wire) || f.Dir != packet.Egress {
						t.Errorf("got %d bytes, flags %b, %s, want %d", len(f.Data), f.Flags, f.Dir, c.data)
					}
					return
				}
				if err := q.Settle(batch); err != nil {
					t.Fatal(err)
				}
			}
			t.Error("frame did not come")
		})
	}
}

func TestAttachErrors(t *testing.T) {
	testnet.RequireRoot(t)
	w := testnet.New(t).Bridge("a").Workloads[0]
	b := afpacket.New(afpacket.Config{})
	good := tapOf(1, w)
	for _, c := range []struct {
		name   string
		change func(*backend.Endpoint)
	}{
		{"no number", func(e *backend.Endpoint) { e.ID = 0 }},
		{"large number", func(e *backend.Endpoint) { e.ID = 1 << 24 }},
		{"no kind", func(e *backend.Endpoint) { e.Kind = backend.NoKind }},
		{"no namespace", func(e *backend.Endpoint) { e.NetNS += "-none" }},
		{"no interface", func(e *backend.Endpoint) { e.Interface = "none" }},
		{"long interface", func(e *backend.Endpoint) { e.Interface = "a-name-that-is-too-long" }},
		{"other interface", func(e *backend.Endpoint) { e.Index += 100 }},
	} {
		ep := good
		c.change(&ep)
		if a, err := b.Attach(context.Background(), ep); err == nil {
			t.Errorf("%s: attached", c.name)
			a.Close()
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := b.Attach(context.Background(), good); !errors.Is(err, afpacket.ErrClosed) {
		t.Errorf("attach after close: %v", err)
	}
}
