//go:build linux

package afpacket_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// flooded pours a deluge at the first of the workloads until stop is called.
func flooded(t *testing.T, d *deluge, from, to *testnet.Workload) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			default:
				d.pour(t, from, to, 20*time.Millisecond)
			}
		}
	}()
	return func() { close(end); <-ended }
}

// accept accepts connections and keeps them open until the test ends.
func accept(t *testing.T, l net.Listener) {
	var all []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all = append(all, c)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, c := range all {
			_ = c.Close()
		}
	})
}

// TestAnsweredIsNotBounded: far more connections than the bound, each answered, and as many conversations
// over UDP as are to be expected of it; none needs a packet to be repeated.
func TestAnsweredIsNotBounded(t *testing.T) {
	for _, network := range []string{"tcp4", "tcp6"} {
		t.Run(network, func(t *testing.T) {
			testnet.RequireRoot(t)
			ws := testnet.New(t).Bridge("web", "client").Workloads
			b := afpacket.New(afpacket.Config{FirstPackets: 20})
			serve(t, b, inlineOf(1, ws[0], backend.FailOpen), passFrame)
			l := ws[0].Listen(network, ws[0].Addr(network, 0))
			accept(t, l)
			for i := range 300 {
				c, err := ws[1].TryDial(network, l.Addr().String(), 900*time.Millisecond)
				if err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
				_ = c.Close()
			}
			for _, u := range b.TakeUnjudged() {
				t.Errorf("counted %+v", u)
			}
		})
	}
}

// TestSenderShare: one address that floods a workload leaves room for the connections of others.
func TestSenderShare(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("ipv6 %t", v6), func(t *testing.T) {
			testnet.RequireRoot(t)
			ws := testnet.New(t).Bridge("web", "client", "flooder").Workloads
			b := afpacket.New(afpacket.Config{FirstPackets: 200})
			serve(t, b, inlineOf(1, ws[0], backend.FailOpen), passFrame)
			network := "tcp4"
			if v6 {
				network = "tcp6"
			}
			l := ws[0].Listen(network, ws[0].Addr(network, 0))
			accept(t, l)
			d := deluge{ipv6: v6, proto: 6, payload: tcpFlags(2), alone: true}
			stop := flooded(t, &d, ws[2], ws[0])
			defer stop()
			time.Sleep(50 * time.Millisecond)
			for i := range 30 {
				c, err := ws[1].TryDial(network, l.Addr().String(), 900*time.Millisecond)
				if err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
				_ = c.Close()
			}
		})
	}
}

// TestRepeatedSYN: while SYNs of forged sources use up a workload's bound, clients that repeat theirs connect.
func TestRepeatedSYN(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("web", "client", "flooder").Workloads
	b := afpacket.New(afpacket.Config{FirstPackets: 100})
	serve(t, b, inlineOf(1, ws[0], backend.FailOpen), passFrame)
	l := ws[0].Listen("tcp4", ws[0].Addr("tcp4", 0))
	accept(t, l)
	d := deluge{proto: 6, payload: tcpFlags(2)}
	stop := flooded(t, &d, ws[2], ws[0])
	defer stop()
	time.Sleep(100 * time.Millisecond)
	const clients = 10
	done := make(chan error, clients)
	for range clients {
		go func() {
			c, err := ws[1].TryDial("tcp4", l.Addr().String(), 4*time.Second)
			if err == nil {
				_ = c.Close()
			}
			done <- err
		}()
	}
	failed := 0
	for range clients {
		if <-done != nil {
			failed++
		}
	}
	if failed > clients/3 {
		t.Errorf("%d of %d clients could not connect", failed, clients)
	}
}

// TestRingShare: one conversation that is known sends more than a slow worker can judge: the neighbour's
// frames find room in the ring, and what is lost is counted as the sender's.
func TestRingShare(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		t.Run(network, func(t *testing.T) {
			testnet.RequireRoot(t)
			ws := testnet.New(t).Bridge("web", "near", "client").Workloads
			b := afpacket.New(afpacket.Config{RxSmall: 496})
			var judged atomic.Int64
			serve(t, b, inlineOf(1, ws[0], backend.FailOpen), func(f *packet.Frame) packet.Action {
				if f.Endpoint == 1 && len(f.Data) > 1000 {
					judged.Add(1)
					for begin := time.Now(); time.Since(begin) < 20*time.Microsecond; {
					}
				}
				return packet.Pass
			})
			second, err := b.Attach(t.Context(), inlineOf(2, ws[1], backend.FailOpen))
			if err != nil {
				t.Fatal(err)
			}
			if err := second.Activate(); err != nil {
				t.Fatal(err)
			}
			near := ws[1].ListenPacket(network, ws[1].Addr(network, 0))
			go serveEcho(near)
			sink := ws[2].ListenPacket(network, ws[2].Addr(network, 0))
			bulk := ws[0].Dial(network, sink.LocalAddr().String())
			c := ws[2].Dial(network, near.LocalAddr().String())
			stop, ended := make(chan struct{}), make(chan [2]int)
			go func() { sent, answered := talk(c, stop); ended <- [2]int{sent, answered} }()
			sent, block := 0, make([]byte, 1200)
			for begin := time.Now(); time.Since(begin) < 400*time.Millisecond; sent++ {
				_, _ = bulk.Write(block)
			}
			close(stop)
			if n := <-ended; n[1] < n[0] {
				t.Errorf("of %d questions to the neighbour %d were answered", n[0], n[1])
			}
			time.Sleep(50 * time.Millisecond)
			var lost uint64
			for _, u := range b.TakeUnjudged() {
				if u.Endpoint != 1 || u.Cause != backend.RingShare || !u.Dropped {
					t.Errorf("counted %+v", u)
				}
				lost += u.Frames
			}
			if n := judged.Load(); lost == 0 || n < 200 || int64(sent)-n > int64(lost)+2000 {
				t.Errorf("%d datagrams sent, %d judged, %d counted as lost", sent, n, lost)
			}
		})
	}
}

// TestUnbounded: without a bound, first packets are limited by the ring alone.
func TestUnbounded(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("web", "client").Workloads
	b := afpacket.New(afpacket.Config{FirstPackets: -1})
	serve(t, b, inlineOf(1, ws[0], backend.FailOpen), dropFrame)
	d := deluge{proto: 17, payload: udpTo}
	sent := d.pour(t, ws[1], ws[0], 50*time.Millisecond)
	if n := counter(t, b, "flooded"); n > 0 || sent == 0 {
		t.Errorf("%d of %d frames were dropped as a flood", n, sent)
	}
}
