//go:build linux

package afpacket_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// BenchmarkNeighbour measures a question and its answer of a workload, whose neighbour on the same service port gets no
// packets beside, or forged SYNs as fast as one sender can, with the bound for first packets and without.
func BenchmarkNeighbour(b *testing.B) {
	testnet.RequireRoot(b)
	for _, test := range []struct {
		name  string
		first int
		flood bool
	}{{"quiet", 0, false}, {"flood", 0, true}, {"flood without a bound", -1, true}} {
		b.Run(test.name, func(b *testing.B) {
			ws := testnet.New(b).Bridge("web", "near", "client").Workloads
			web, near, client := ws[0], ws[1], ws[2]
			be := afpacket.New(afpacket.Config{FirstPackets: test.first})
			b.Cleanup(func() { be.Close() })
			for i, w := range []*testnet.Workload{web, near} {
				a, err := be.Attach(b.Context(), inlineOf(uint32(i+1), w, backend.FailOpen))
				if err != nil {
					b.Fatal(err)
				}
				if i == 0 {
					go passAll(a.Queues()[0])
				}
				if err := a.Activate(); err != nil {
					b.Fatal(err)
				}
			}
			l := near.ListenPacket("udp4", near.Addr("udp4", 0))
			go serveEcho(l)
			c := client.Dial("udp4", l.LocalAddr().String())
			var sent atomic.Int64
			stop, stopped := make(chan struct{}), make(chan struct{})
			begin := time.Now()
			go func() {
				defer close(stopped)
				d := deluges()[0]
				for test.flood {
					select {
					case <-stop:
						return
					default:
						sent.Add(int64(d.pour(b, client, web, 10*time.Millisecond)))
					}
				}
			}()
			time.Sleep(50 * time.Millisecond)
			lost, n := 0, 0
			buf := make([]byte, 8)
			for ; b.Loop(); n++ {
				_, _ = c.Write([]byte("x"))
				_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				if _, err := c.Read(buf); err != nil {
					lost++
				}
			}
			b.ReportMetric(100*float64(lost)/float64(n), "%lost")
			b.ReportMetric(float64(sent.Load())/time.Since(begin).Seconds(), "flood/s")
			close(stop)
			<-stopped
		})
	}
}
