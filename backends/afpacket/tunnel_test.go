//go:build linux

package afpacket_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/backends/backendtest"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// overlay is a VXLAN tunnel between two workloads.
type overlay struct {
	network string // of the outer packets: "tcp4" or "tcp6"
	summed  bool   // the outer datagrams have checksums
	under   string // the interface below; "" for the workload's own
	over    int    // VLAN inside of the tunnel; 0 for none
	mtu     int    // 0 for the kernel's choice
	clsact  bool   // how programs are attached
}

// ip runs one command of iproute2 inside a workload.
func ip(t *testing.T, w *testnet.Workload, line string) {
	t.Helper()
	if out, err := w.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", line, err, out)
	}
}

// raise creates the tunnel; 10.88.0.1 and fd88::1 are the first workload's addresses in it.
func (o overlay) raise(t *testing.T, ws ...*testnet.Workload) {
	t.Helper()
	out := func(w *testnet.Workload) string {
		return strings.Trim(strings.TrimSuffix(w.Addr(o.network, 0), ":0"), "[]")
	}
	for i, w := range ws {
		local, remote := out(w), out(ws[1-i])
		if o.under != "" {
			ip(t, w, fmt.Sprintf("link add link %s name %s type vlan id 5", w.Interface, o.under))
			ip(t, w, fmt.Sprintf("link set %s up", o.under))
			local, remote = fmt.Sprintf("10.99.0.%d", i+1), fmt.Sprintf("10.99.0.%d", 2-i)
			ip(t, w, fmt.Sprintf("addr add %s/24 dev %s", local, o.under))
		}
		sum := map[bool]string{true: "udpcsum", false: "noudpcsum udp6zerocsumtx udp6zerocsumrx"}[o.summed]
		ip(t, w, fmt.Sprintf("link add vx type vxlan id 5 dstport 4789 local %s remote %s %s", local, remote, sum))
		if o.mtu != 0 {
			ip(t, w, "link set vx mtu "+strconv.Itoa(o.mtu))
		}
		ip(t, w, "link set vx up")
		dev := "vx"
		if o.over != 0 {
			dev = "vx.v"
			ip(t, w, fmt.Sprintf("link add link vx name vx.v type vlan id %d", o.over))
			ip(t, w, "link set vx.v up")
		}
		ip(t, w, fmt.Sprintf("addr add 10.88.0.%d/24 dev %s", i+1, dev))
		ip(t, w, fmt.Sprintf("addr add fd88::%d/64 dev %s nodad", i+1, dev))
	}
}

// TestTunnelWhole sends streams through a tunnel between two inline workloads: what arrives is
// right, frames that the kernel is to segment reach the engine whole, and none is lost.
func TestTunnelWhole(t *testing.T) {
	testnet.RequireRoot(t)
	testnet.RequireTool(t, "ip")
	for _, c := range []struct {
		name string
		o    overlay
	}{
		{"over ipv4", overlay{network: "tcp4", mtu: 1400}},
		{"over ipv6", overlay{network: "tcp6", mtu: 1400}},
		{"over ipv4, checksums", overlay{network: "tcp4", mtu: 1400, summed: true}},
		{"over ipv6, checksums", overlay{network: "tcp6", mtu: 1400, summed: true}},
		{"by clsact", overlay{network: "tcp4", mtu: 1400, summed: true, clsact: true}},
		{"over a VLAN", overlay{network: "tcp4", mtu: 1400, under: "eth.v"}},
		{"over a VLAN, checksums", overlay{network: "tcp4", mtu: 1400, under: "eth.v", summed: true}},
		{"under a VLAN", overlay{network: "tcp6", mtu: 1400, over: 7, summed: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			if c.o.under != "" || c.o.over != 0 {
				requireVLAN(t, ws[0])
			}
			c.o.raise(t, ws...)
			b := afpacket.New(afpacket.Config{Steering: map[bool]afpacket.Steering{true: afpacket.SteerClsact}[c.o.clsact]})
			var large atomic.Uint64
			judge := func(f *packet.Frame) packet.Action {
				if f.Flags&packet.GSO != 0 && len(f.Data) > 8000 {
					large.Add(1)
				}
				return packet.Pass
			}
			a := serve(t, b, inlineOf(1, ws[0], backend.FailClosed), judge)
			other, err := b.Attach(t.Context(), inlineOf(2, ws[1], backend.FailClosed))
			if err != nil {
				t.Fatal(err)
			}
			if err := other.Activate(); err != nil {
				t.Fatal(err)
			}
			for _, address := range []string{"10.88.0.2", "[fd88::2]"} {
				before := large.Load()
				stream(t, ws[0], ws[1], address)
				if n := large.Load() - before; n < 20 {
					t.Errorf("%s: %d large frames of at least 500 reached the queue", address, n)
				}
			}
			for _, q := range a.Queues() {
				if s := q.(backend.Counter).Stats(); s.SendDrop != 0 || s.Oversize != 0 {
					t.Errorf("got %d frames not sent, %d too large", s.SendDrop, s.Oversize)
				}
			}
		})
	}
}

// requireVLAN skips the test where the kernel has no VLAN interfaces.
func requireVLAN(t *testing.T, w *testnet.Workload) {
	t.Helper()
	if out, err := w.Command("ip", "link", "add", "link", w.Interface, "name", "try.v", "type", "vlan", "id", "1").CombinedOutput(); err != nil {
		t.Skipf("no VLAN interfaces: %s", out)
	}
	ip(t, w, "link del try.v")
}

// stream sends 16 MiB from one workload to another, and compares them.
func stream(t *testing.T, from, to *testnet.Workload, address string) {
	t.Helper()
	want := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog "), 16<<20/44)
	l := to.Listen("tcp", address+":0")
	c := from.Dial("tcp", l.Addr().String())
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		_, _ = c.Write(want)
		_ = c.Close()
	}()
	_ = s.SetReadDeadline(time.Now().Add(30 * time.Second))
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: %d of %d bytes, equal %t: %v", address, len(got), len(want), bytes.Equal(got, want), err)
	}
}

// TestTunnelPathMTU reads the path MTU of a tunnel that is hooked on itself: none where its own
// MTU leaves room for the headers, and a new one when the interface below changes.
func TestTunnelPathMTU(t *testing.T) {
	testnet.RequireRoot(t)
	testnet.RequireTool(t, "ip")
	for _, c := range []struct {
		name        string
		o           overlay
		want, later uint32
	}{
		{"over ipv4", overlay{network: "tcp4"}, 1450, 1350},
		{"over ipv6", overlay{network: "tcp6"}, 1430, 1330},
		{"with room", overlay{network: "tcp4", mtu: 1450}, 0, 1350},
		{"with more room", overlay{network: "tcp6", mtu: 1300}, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws := testnet.New(t).Bridge("a", "b").Workloads
			c.o.raise(t, ws...)
			b := afpacket.New(afpacket.Config{})
			var got, ingress atomic.Uint32
			var mac [6]byte
			ws[0].Do(func() error {
				i, err := net.InterfaceByName("vx")
				if err == nil {
					copy(mac[:], i.HardwareAddr)
				}
				return err
			})
			ep := backend.Endpoint{ID: 1, Kind: backend.Inline, NetNS: ws[0].Path, Interface: "vx", MAC: mac, Hook: backendtest.OwnHook(ws[0])}
			ep.Hook.Interface, ep.Hook.Index = "vx", 0
			serve(t, b, ep, func(f *packet.Frame) packet.Action {
				if f.Dir == packet.Ingress {
					ingress.Store(f.PathMTU)
				} else {
					got.Store(f.PathMTU)
				}
				return packet.Pass
			})
			check := func(what string, want uint32) {
				t.Helper()
				got.Store(1)
				conn := ws[0].Dial("udp", "10.88.0.2:9")
				for until := time.Now().Add(2 * time.Second); got.Load() == 1 && time.Now().Before(until); time.Sleep(time.Millisecond) {
					_, _ = conn.Write([]byte("x")) // a refusal of an earlier one is of no interest
				}
				if g := got.Load(); g != want || ingress.Load() != 0 {
					t.Errorf("%s: got %d, and %d of frames that come in; want %d and 0", what, g, ingress.Load(), want)
				}
			}
			check("at first", c.want)
			ip(t, ws[0], "link set "+ws[0].Interface+" mtu 1400")
			b.TakeUnjudged()
			check("with a smaller MTU below", c.later)
		})
	}
}
