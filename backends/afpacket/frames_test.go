//go:build linux

package afpacket_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// Tags, one or two, are removed on receipt and reinserted on sending.
func TestVLAN(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	var mu sync.Mutex
	var judged []string
	describe := func(f *packet.Frame) string {
		if f.Flags&packet.VLANStripped == 0 {
			return "no tag"
		}
		return fmt.Sprintf("%s %x %x, then %x", f.Dir, f.VLANProto, f.VLAN, f.Data[12:16])
	}
	serve(t, afpacket.New(afpacket.Config{}), inlineOf(1, ws[0], backend.FailClosed), func(f *packet.Frame) packet.Action {
		mu.Lock()
		defer mu.Unlock()
		if f.Flags&packet.VLANStripped != 0 { // not what finds neighbours
			judged = append(judged, describe(f))
		}
		return packet.Pass
	})
	_, tap := openTap(t, afpacket.Config{TapRetire: time.Millisecond}, ws[1])
	for _, c := range []struct {
		name string
		tags []byte
		want string
	}{
		{"802.1Q", []byte{0x81, 0, 0x60, 5}, "egress 8100 6005, then 08004500"},
		{"802.1ad", []byte{0x88, 0xa8, 0, 7}, "egress 88a8 7, then 08004500"},
		{"two", []byte{0x88, 0xa8, 0, 7, 0x81, 0, 0, 5}, "egress 88a8 7, then 81000005"},
	} {
		frame := append(append(append(append([]byte{}, ws[1].MAC[:]...), ws[0].MAC[:]...), c.tags...), ipv4...)
		raw(t, ws[0], frame)
		got := ""
		batch := packet.NewBatch(8)
		for until := time.Now().Add(2 * time.Second); got == "" && time.Now().Before(until); {
			if err := tap.Recv(batch); err != nil {
				t.Fatal(err)
			}
			for i := range batch.All() {
				if f := &batch.Frames[i]; f.Flags&packet.VLANStripped != 0 {
					got = describe(f)
				}
			}
			_ = tap.Settle(batch)
		}
		if want := strings.Replace(c.want, "egress", "ingress", 1); got != want {
			t.Errorf("%s: arrived as %q, want %q", c.name, got, want)
		}
		mu.Lock()
		if n := len(judged); n == 0 || judged[n-1] != c.want {
			t.Errorf("%s: judged as %q, want %q", c.name, judged, c.want)
		}
		mu.Unlock()
	}
}

// ipv4 is an EtherType followed by a packet that bridges accept.
var ipv4 = append([]byte{
	0x08, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0x66, 0x23,
	10, 77, 0, 1, 10, 77, 0, 2,
}, make([]byte, 26)...)

// UDP GSO: one frame in the ring, ten datagrams at the receiver.
func TestUDPSegmentation(t *testing.T) {
	testnet.RequireRoot(t)
	for _, network := range []string{"udp4", "udp6"} {
		ws := testnet.New(t).Bridge("a", "b").Workloads
		serve(t, afpacket.New(afpacket.Config{}), inlineOf(1, ws[0], backend.FailClosed), passFrame)
		l := ws[1].ListenPacket(network, ws[1].Addr(network, 0))
		c := ws[0].Dial(network, l.LocalAddr().String())
		rc, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if cerr := rc.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000)
		}); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		if _, err := c.Write(make([]byte, 10000)); err != nil {
			t.Fatal(err)
		}
		_ = l.SetReadDeadline(time.Now().Add(3 * time.Second))
		for i := range 10 {
			if n, _, err := l.ReadFrom(make([]byte, 2000)); err != nil || n != 1000 {
				t.Fatalf("%s datagram %d: %d bytes, %v", network, i, n, err)
			}
		}
	}
}

// A round of Recv and Settle allocates nothing.
func TestAllocations(t *testing.T) {
	testnet.RequireRoot(t)
	for _, kind := range []string{"tap", "inline"} {
		t.Run(kind, func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			ep := inlineOf(1, ws[0], backend.FailOpen)
			if kind == "tap" {
				ep = tapOf(1, ws[0])
			}
			b := afpacket.New(afpacket.Config{TapRetire: time.Millisecond})
			t.Cleanup(func() { b.Close() })
			a, err := b.Attach(t.Context(), ep)
			if err != nil {
				t.Fatal(err)
			}
			l := ws[1].ListenPacket("udp4", ws[1].Addr("udp4", 0))
			c := ws[0].Dial("udp4", l.LocalAddr().String())
			_, _ = c.Write([]byte("x")) // resolves the neighbour
			if err := a.Activate(); err != nil {
				t.Fatal(err)
			}
			q, batch, buf := a.Queues()[0], packet.NewBatch(64), make([]byte, 3000)
			frames := 0
			got := testing.AllocsPerRun(200, func() {
				if _, err := c.Write(buf); err != nil && err != syscall.ENOBUFS {
					t.Error(err)
				}
				if err := q.Recv(batch); err != nil {
					t.Error(err)
				}
				frames += batch.N
				if err := q.Settle(batch); err != nil {
					t.Error(err)
				}
			})
			if got > 0 {
				t.Errorf("%v allocations a round", got)
			}
			if frames < 200 {
				t.Errorf("only %d frames came", frames)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	testnet.RequireRoot(t)
	host := testnet.New(t).Namespace("probe")
	host.Do(func() error {
		for _, f := range afpacket.Probe() {
			t.Logf("%s: %v", f.Name, f.Err)
			if f.Name == "" || f.Detail == "" || f.Cost == "" || f.Remedy == "" {
				t.Errorf("incomplete: %+v", f)
			}
			// The suites of this package need all of it here but tcx.
			if f.Err != nil && f.Name != "tcx" {
				t.Errorf("%s: %v", f.Name, f.Err)
			}
		}
		ifs, err := net.Interfaces()
		if len(ifs) != 1 {
			t.Errorf("%d interfaces are left, want loopback alone", len(ifs))
		}
		return err
	})
}
