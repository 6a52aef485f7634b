//go:build linux

package nfqueue_test

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/nfqueue"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// arrivals counts the datagrams that reach a socket with room for thousands.
func arrivals(t *testing.T, c net.PacketConn) *atomic.Int64 {
	t.Helper()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := new(atomic.Int64)
	go func() {
		for buf := make([]byte, 16); ; n.Add(1) {
			if _, _, err := c.ReadFrom(buf); err != nil {
				return
			}
		}
	}()
	return n
}

// TestOverload sends more than a queue has room for while its worker is stopped. Packets
// without room pass where the endpoint fails open and are dropped where it fails closed, and
// each one is counted.
func TestOverload(t *testing.T) {
	testnet.RequireRoot(t)
	const sent = 3000
	for _, fail := range []backend.FailMode{backend.FailOpen, backend.FailClosed} {
		t.Run(map[backend.FailMode]string{backend.FailOpen: "open", backend.FailClosed: "closed"}[fail], func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			ws[0].Sysctl("net/ipv6/conf/all/disable_ipv6", "1") // its neighbour discovery would be counted, too
			to := ws[1].ListenPacket("udp4", ws[1].Addr("udp4", 0))
			arrived := arrivals(t, to)
			from := ws[0].Dial("udp4", to.LocalAddr().String())
			if _, err := from.Write([]byte("first")); err != nil { // resolves its address, unhindered
				t.Fatal(err)
			}
			await(t, "the first datagram", func() bool { return arrived.Load() == 1 })
			be, q := open(t, nfqueue.Config{Buffer: 64 << 10}, ws[0], fail)
			for range sent {
				if _, err := from.Write([]byte("x")); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOBUFS) {
					t.Fatal(err)
				}
			}
			waiting := int64(q.(backend.Gauge).Depth().Waiting)
			if waiting == 0 || waiting >= sent {
				t.Fatalf("%d packets wait of %d", waiting, sent)
			}
			past := int64(0)
			if fail == backend.FailOpen {
				past = sent - waiting
			}
			await(t, "packets without room pass where it fails open", func() bool { return arrived.Load() == 1+past })
			ended := drive(t, q, func(f *packet.Frame) { f.Verdict.Action = packet.Pass }, nil)
			await(t, "waiting packets pass", func() bool { return arrived.Load() == 1+past+waiting })
			if _, err := from.Write([]byte("last")); err != nil { // its number shows what is missing
				t.Fatal(err)
			}
			await(t, "the last datagram", func() bool { return arrived.Load() == 2+past+waiting })
			lost := uint64(sent - waiting)
			want := backend.Stats{Received: uint64(waiting) + 1, Sent: uint64(waiting) + 1, Bypassed: lost}
			if fail == backend.FailClosed {
				want.Bypassed, want.Dropped = 0, lost
			}
			if got := q.(backend.Counter).Stats(); got != want {
				t.Errorf("counted %+v, want %+v", got, want)
			}
			if err := be.Close(); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
}
