//go:build linux

package afpacket_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// passAll drives a queue and passes everything.
func passAll(q backend.Queue) {
	batch := packet.NewBatch(256)
	for {
		if q.Recv(batch) != nil {
			return
		}
		for i := range batch.All() {
			batch.Frames[i].Verdict.Action = packet.Pass
		}
		if q.Settle(batch) != nil {
			return
		}
	}
}

// paths are the datapaths compared: the bare veth, a tap and inline.
var paths = []struct {
	name string
	ep   func(*testnet.Workload) backend.Endpoint
}{{"plain", nil}, {"tap", asTap}, {"inline", onHost}}

// path returns two workloads on a bridge, the second one attached.
func path(b *testing.B, ep func(*testnet.Workload) backend.Endpoint) (from, to *testnet.Workload) {
	b.Helper()
	testnet.RequireRoot(b)
	ws := testnet.New(b).Bridge("a", "b").Workloads
	if ep != nil {
		be := afpacket.New(afpacket.Config{})
		e := ep(ws[1])
		e.ID, e.NetNS, e.Interface, e.MAC = 1, ws[1].Path, ws[1].Interface, ws[1].MAC
		a, err := be.Attach(b.Context(), e)
		if err != nil {
			b.Fatal(err)
		}
		q := a.Queues()[0]
		done := make(chan struct{})
		go func() { passAll(q); close(done) }()
		if err := a.Activate(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			b.Logf("%+v", q.(backend.Counter).Stats())
			be.Close()
			<-done
		})
	}
	return ws[0], ws[1]
}

// connect returns both ends of a connection.
func connect(b *testing.B, from, to *testnet.Workload) (c, s net.Conn) {
	b.Helper()
	l := to.Listen("tcp4", to.Addr("tcp4", 0))
	got := make(chan net.Conn, 1)
	go func() {
		if s, err := l.Accept(); err == nil {
			got <- s
		}
	}()
	c = from.Dial("tcp4", l.Addr().String())
	s = <-got
	b.Cleanup(func() { s.Close() })
	return c, s
}

// BenchmarkStream sends 1 MiB per operation over one connection.
func BenchmarkStream(b *testing.B) {
	for _, p := range paths {
		b.Run(p.name, func(b *testing.B) {
			from, to := path(b, p.ep)
			c, s := connect(b, from, to)
			const size = 1 << 20
			buf := make([]byte, size)
			b.SetBytes(size)
			b.ResetTimer()
			used := cpu()
			go func() {
				for range b.N {
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
			}()
			if _, err := io.CopyN(io.Discard, s, int64(b.N)*size); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpu()-used)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpu returns the processor time of the process so far: steadier than throughput on a shared
// machine.
func cpu() int64 {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return r.Utime.Nano() + r.Stime.Nano()
}

// BenchmarkPingPong sends 64 bytes back and forth per operation.
func BenchmarkPingPong(b *testing.B) {
	for _, p := range paths {
		b.Run(p.name, func(b *testing.B) {
			from, to := path(b, p.ep)
			c, s := connect(b, from, to)
			go func() { _, _ = io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{s}) }()
			var buf [64]byte
			b.ResetTimer()
			for range b.N {
				if _, err := c.Write(buf[:]); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, buf[:]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIperf runs iperf3 for five seconds, one stream; run it with -benchtime 1x.
func BenchmarkIperf(b *testing.B) {
	if _, err := exec.LookPath("iperf3"); err != nil || os.Getenv("SLUICE_IPERF") == "" {
		b.Skip("set SLUICE_IPERF=1 to run iperf3")
	}
	for _, p := range paths {
		b.Run(p.name, func(b *testing.B) {
			from, to := path(b, p.ep)
			server := to.Command("iperf3", "-s", "-1")
			if err := server.Start(); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = server.Wait() }()
			out, err := from.Command("sh", "-c", "sleep 0.5; iperf3 -f g -t 5 -c "+to.IPv4.String()+" | grep -E 'sender|receiver'").CombinedOutput()
			if err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			b.Logf("%s", out)
		})
	}
}
