//go:build linux

package nfqueue_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// open attaches one workload and returns its queue, which the test drives itself.
func open(t testing.TB, cfg nfqueue.Config, w *testnet.Workload, fail backend.FailMode) (*nfqueue.Backend, backend.Queue) {
	t.Helper()
	b, a := attach(t, cfg, w, fail)
	return b, a.Queues()[0]
}

// attach is open for tests that need the attachment.
func attach(t testing.TB, cfg nfqueue.Config, w *testnet.Workload, fail backend.FailMode) (*nfqueue.Backend, backend.Attachment) {
	t.Helper()
	b := nfqueue.New(cfg)
	a, err := b.Attach(t.Context(), harness(cfg, "").Endpoint(1, w, fail))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := a.Activate(); err != nil {
		t.Fatal(err)
	}
	return b, a
}

// drive runs a queue's worker until it ends.
func drive(t testing.TB, q backend.Queue, judge func(*packet.Frame), between func()) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := packet.NewBatch(64)
		for {
			if err := q.Recv(b); err != nil {
				if !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				return
			}
			for i := range b.All() {
				judge(&b.Frames[i])
			}
			if err := q.Settle(b); err != nil {
				t.Error(err)
			}
			if between != nil {
				between()
			}
		}
	}()
	return done
}

// TestHold holds datagrams in the kernel: some are sent, some dropped, those above the bound
// are dropped at once, and the rest follows the fail mode when the queue ends.
func TestHold(t *testing.T) {
	testnet.RequireRoot(t)
	for _, family := range []string{"udp4", "udp6"} {
		ws := testnet.New(t).Bridge("a", "b").Workloads
		a, b := ws[0], ws[1]
		be, q := open(t, nfqueue.Config{MaxHeld: 3}, a, backend.FailOpen)
		var mu sync.Mutex
		var held []packet.Frame
		done := drive(t, q, func(f *packet.Frame) {
			f.Verdict.Action = packet.Pass
			if i := bytes.Index(f.Data, []byte("hold ")); i >= 0 {
				f.Verdict.Action = packet.Hold
				mu.Lock()
				held = append(held, packet.Frame{Slot: f.Slot, Data: bytes.Clone(f.Data[i:])})
				mu.Unlock()
			}
		}, func() {
			mu.Lock()
			defer mu.Unlock()
			for i := range held {
				switch string(held[i].Data) {
				case "hold 1":
					q.(backend.Holder).Discard(&held[i])
				case "hold 2":
					if err := q.(backend.Sender).Send(&held[i]); err != nil {
						t.Error(err)
					}
				}
			}
			held = held[:0]
		})
		to, from := b.ListenPacket(family, b.Addr(family, 0)), a.ListenPacket(family, a.Addr(family, 0))
		for _, text := range []string{"hold 1", "hold 2", "hold 3", "free"} {
			if _, err := from.WriteTo([]byte(text), to.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		if got := texts(to, 2); got["hold 2"] != 1 || got["free"] != 1 || len(got) != 2 {
			t.Errorf("%s: %v arrived, want hold 2 and free", family, got)
		}
		if err := be.Close(); err != nil {
			t.Error(err)
		}
		<-done
		if got := texts(to, 1); got["hold 3"] != 1 {
			t.Errorf("%s: %v arrived at the end, want hold 3", family, got)
		}
	}
}

// texts reads n datagrams, and those that follow immediately.
func texts(c net.PacketConn, n int) map[string]int {
	out := map[string]int{}
	buf := make([]byte, 100)
	for i := 0; ; i++ {
		d := 100 * time.Millisecond
		if i < n {
			d = 2 * time.Second
		}
		_ = c.SetReadDeadline(time.Now().Add(d))
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return out
		}
		out[string(buf[:n])]++
	}
}

// echoes sends a message and reads its echo, repeatedly.
func echoes(t *testing.T, c net.Conn) {
	t.Helper()
	buf := make([]byte, 4)
	for range 20 {
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		if _, err := c.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAllocs sends datagrams through a queue that the test drives on its own goroutine: of
// thousands of packets from Recv to Settle, not one may allocate, however their verdicts are
// sent.
func TestAllocs(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	a, b := ws[0], ws[1]
	// Heartbeats allocate, but not per packet: none is sent during the test.
	_, att := attach(t, nfqueue.Config{Marks: true, HeartbeatLimit: time.Hour}, a, backend.FailOpen)
	if err := att.(backend.Recaller).Recall(1); err != nil {
		t.Fatal(err)
	}
	q := att.Queues()[0]
	from := a.Dial("udp4", b.ListenPacket("udp4", b.Addr("udp4", 0)).LocalAddr().String())
	batch := packet.NewBatch(64)
	text := []byte("x")
	var err error
	round := func(n int, judge func(i int, f *packet.Frame)) {
		for range n {
			if _, werr := from.Write(text); werr != nil {
				err = werr
			}
		}
		for got := 0; got < n && err == nil; got += batch.N {
			if err = q.Recv(batch); err != nil {
				return
			}
			for i := range batch.All() {
				judge(i, &batch.Frames[i])
			}
			err = q.Settle(batch)
		}
	}
	tests := []struct {
		name  string
		judge func(i int, f *packet.Frame)
	}{
		{"one verdict for all", func(_ int, f *packet.Frame) { f.Verdict.Action = packet.Pass }},
		{"a verdict for each", func(i int, f *packet.Frame) { f.Verdict.Action = packet.Pass + packet.Action(i%2) }},
		{"marks", func(_ int, f *packet.Frame) { f.Verdict = packet.Verdict{Action: packet.Pass, Mark: 2} }}, // not the present generation: none is offloaded
	}
	for _, tt := range tests {
		// One run of many rounds: AllocsPerRun rounds down.
		n := testing.AllocsPerRun(1, func() {
			for range 500 {
				round(8, tt.judge)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("%s: %v allocations for 4000 packets, want none", tt.name, n)
		}
	}
}

// TestSweep removes the remains of a dead process, and nothing else.
func TestSweep(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	be, q := open(t, nfqueue.Config{}, ws[0], backend.FailOpen)
	done := drive(t, q, func(f *packet.Frame) { f.Verdict.Action = packet.Pass }, nil)
	for range 2 { // the second would find nothing if the first removed them
		if err := nfqueue.Sweep(ws[0].Path); !errors.Is(err, nfqueue.ErrInUse) {
			t.Errorf("rules of a process that runs: got %v, want ErrInUse", err)
		}
	}
	for range 2 {
		if err := nfqueue.SweepUsed(ws[0].Path); err != nil {
			t.Fatal(err)
		}
	}
	if err := be.Close(); err != nil {
		t.Error(err)
	}
	<-done
}
