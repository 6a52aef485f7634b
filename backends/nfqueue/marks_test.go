//go:build linux

package nfqueue_test

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

const patience = 20 * time.Second

// await waits until ok returns true.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// marker is a worker that passes everything, with a mark.
type marker struct {
	be     *nfqueue.Backend
	att    backend.Attachment
	q      backend.Queue
	mark   atomic.Uint32
	frames atomic.Int64
	ended  <-chan struct{}
}

func newMarker(t *testing.T, w *testnet.Workload) *marker {
	t.Helper()
	m := &marker{}
	m.be, m.att = attach(t, nfqueue.Config{Marks: true}, w, backend.FailOpen)
	if why := m.att.(backend.Recaller).Stays(); why != "" {
		t.Fatalf("no flow can leave: %s", why)
	}
	m.q = m.att.Queues()[0]
	m.ended = drive(t, m.q, func(f *packet.Frame) {
		f.Verdict = packet.Verdict{Action: packet.Pass, Mark: m.mark.Load()}
		if proto := f.Data[9]; f.Data[0]>>4 == 4 && proto == packet.ProtoTCP || f.Data[0]>>4 == 6 && f.Data[6] == packet.ProtoTCP {
			m.frames.Add(1)
		}
	}, nil)
	return m
}

// close ends everything and waits for the worker, which releases the last of it.
func (m *marker) close(t *testing.T) {
	t.Helper()
	if err := m.be.Close(); err != nil {
		t.Error(err)
	}
	<-m.ended
}

func (m *marker) recall(t *testing.T, generation uint32) {
	t.Helper()
	if err := m.att.(backend.Recaller).Recall(generation); err != nil {
		t.Fatal(err)
	}
}

// stream is a connection whose server echoes.
func stream(t *testing.T, family string, a, b *testnet.Workload) (c net.Conn, k backend.FlowKey) {
	t.Helper()
	l := b.Listen(family, b.Addr(family, 0))
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	c = a.Dial(family, l.Addr().String())
	from, to := netip.MustParseAddrPort(c.LocalAddr().String()), netip.MustParseAddrPort(c.RemoteAddr().String())
	return c, backend.FlowKey{
		Endpoint: 1, Client: packet.AddrFrom(from.Addr()), Server: packet.AddrFrom(to.Addr()), ClientPort: from.Port(), ServerPort: to.Port(),
		Proto: packet.ProtoTCP, IPv6: family == "tcp6",
	}
}

// counting returns the tracker's sysctl in a namespace.
func counting(t *testing.T, w *testnet.Workload) string {
	t.Helper()
	var b []byte
	err := netns.Do(w.Path, func() (err error) {
		b, err = os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_acct")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// TestMarks offloads a connection by its verdict's mark, counts it, and brings it back.
func TestMarks(t *testing.T) {
	testnet.RequireRoot(t)
	for _, family := range []string{"tcp4", "tcp6"} {
		t.Run(family, func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			m := newMarker(t, ws[0])
			m.recall(t, 7)
			c, k := stream(t, family, ws[0], ws[1])
			o := m.q.(backend.Offloader)
			echoes(t, c)
			before := m.frames.Load()
			first, ok := o.Offload(&k)
			if total := first.Packets[0] + first.Packets[1]; !ok || int64(total) < before || first.Over {
				t.Fatalf("%+v, %v of a connection with %d packets", first, ok, before)
			}
			m.mark.Store(6)
			echoes(t, c)
			if m.frames.Load() == before {
				t.Error("the mark of a generation that is past took the flow out of the queue")
			}
			m.mark.Store(7)
			echoes(t, c)
			before = m.frames.Load()
			echoes(t, c)
			if n := m.frames.Load() - before; n != 0 {
				t.Errorf("%d frames of a flow that left came to the queue", n)
			}
			second, ok := o.Drain(&k)
			for d := range second.Bytes {
				if n := second.Bytes[d] - first.Bytes[d]; !ok || n < 3*20*4 {
					t.Errorf("%d bytes counted in direction %d, %v; 60 times 4 bytes were sent", n, d, ok)
				}
			}
			m.mark.Store(0)
			m.recall(t, 8)
			echoes(t, c)
			if n := m.frames.Load() - before; n < 40 {
				t.Errorf("%d frames came to the queue after the recall, want 40 at least", n)
			}
			testReturn(t, m, c, &k)
		})
	}
}

// testReturn ends a connection that was offloaded again, and checks that nothing is left
// behind.
func testReturn(t *testing.T, m *marker, c net.Conn, k *backend.FlowKey) {
	o := m.q.(backend.Offloader)
	m.mark.Store(8)
	echoes(t, c)
	m.mark.Store(0)
	before := m.frames.Load()
	echoes(t, c)
	if n := m.frames.Load() - before; n != 0 {
		t.Errorf("%d frames of a flow that left again came to the queue", n)
	}
	o.Return(k)
	echoes(t, c)
	if m.frames.Load() == before {
		t.Error("a flow that was taken back did not come")
	}
	m.mark.Store(8)
	echoes(t, c)
	before = m.frames.Load()
	c.Close()
	await(t, "end of the connection seen", func() bool { return m.frames.Load() > before })
	await(t, "connection over", func() bool { n, ok := o.Drain(k); return ok && n.Over })
}

// TestMarksUndone checks that no state of offloaded connections is left, whether the backend
// was closed or its process killed.
func TestMarksUndone(t *testing.T) {
	testnet.RequireRoot(t)
	for _, how := range []string{"closed", "swept"} {
		t.Run(how, func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			if got := counting(t, ws[0]); got != "0" {
				t.Fatalf("the tracker counts before: %s", got)
			}
			m := newMarker(t, ws[0])
			if got := counting(t, ws[0]); got != "1" {
				t.Fatalf("the tracker does not count: %s", got)
			}
			m.recall(t, 1)
			m.mark.Store(1)
			c, _ := stream(t, "tcp4", ws[0], ws[1])
			echoes(t, c)
			if got := marked(t, ws[0]); got != 1 {
				t.Fatalf("%d marked connections, want 1", got)
			}
			if how == "swept" {
				if err := nfqueue.SweepUsed(ws[0].Path); err != nil {
					t.Fatal(err)
				}
			} else {
				m.close(t)
			}
			if got := marked(t, ws[0]); got != 0 {
				t.Errorf("%d marked connections are left", got)
			}
			if got := counting(t, ws[0]); got != "0" {
				t.Errorf("the tracker counts afterwards: %s", got)
			}
			echoes(t, c)
		})
	}
}

// TestForeignMarks keeps flows with others' marks in the queue, and does not change those
// marks.
func TestForeignMarks(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	m := newMarker(t, ws[0])
	m.recall(t, 1)
	c, k := stream(t, "tcp4", ws[0], ws[1])
	echoes(t, c)
	if err := nfqueue.SetMark(ws[0].Path, &k, 0x1234); err != nil {
		t.Fatal(err)
	}
	if _, ok := m.q.(backend.Offloader).Offload(&k); ok {
		t.Error("a connection with another program's mark can be offloaded")
	}
	m.mark.Store(1)
	echoes(t, c)
	before := m.frames.Load()
	echoes(t, c)
	if n := m.frames.Load() - before; n < 40 {
		t.Errorf("%d frames came to the queue, want 40 at least", n)
	}
	m.close(t)
	if got := marked(t, ws[0]); got != 1 {
		t.Errorf("%d marked connections, want the other program's", got)
	}
}

// marked returns the number of connections of a namespace with a mark.
func marked(t *testing.T, w *testnet.Workload) int {
	t.Helper()
	n, err := nfqueue.Marked(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
