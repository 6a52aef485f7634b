//go:build linux

package afpacket_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// inlineOf returns a workload's endpoint, hooked on the host's side.
func inlineOf(id uint32, w *testnet.Workload, fail backend.FailMode) backend.Endpoint {
	e := onHost(w)
	e.ID, e.NetNS, e.Interface, e.MAC, e.Fail = id, w.Path, w.Interface, w.MAC, fail
	return e
}

// serve attaches an endpoint, activates it and runs judge on a goroutine that ends with the
// test.
func serve(t *testing.T, b *afpacket.Backend, ep backend.Endpoint, judge func(*packet.Frame) packet.Action) backend.Attachment {
	t.Helper()
	a, err := b.Attach(t.Context(), ep)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range a.Queues() {
		done := make(chan struct{})
		t.Cleanup(func() { b.Close(); <-done })
		go func() {
			defer close(done)
			batch := packet.NewBatch(64)
			for q.Recv(batch) == nil {
				for i := range batch.All() {
					batch.Frames[i].Verdict.Action = judge(&batch.Frames[i])
				}
				_ = q.Settle(batch)
			}
		}()
	}
	if err := a.Activate(); err != nil {
		t.Fatal(err)
	}
	return a
}

// reaches reports whether a datagram is delivered from one workload to another.
func reaches(t *testing.T, from, to *testnet.Workload, network string) bool {
	t.Helper()
	l := to.ListenPacket(network, to.Addr(network, 0))
	c := from.Dial(network, l.LocalAddr().String())
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = l.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	_, _, err := l.ReadFrom(make([]byte, 8))
	return err == nil
}

// raw sends one frame from inside a workload unchanged.
func raw(t *testing.T, w *testnet.Workload, frame []byte) {
	t.Helper()
	w.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.Index})
	})
}

// counter reads one of the steering counters.
func counter(t *testing.T, b *afpacket.Backend, name string) uint64 {
	t.Helper()
	all, err := b.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return all[name]
}

func passFrame(*packet.Frame) packet.Action { return packet.Pass }
func dropFrame(*packet.Frame) packet.Action { return packet.Drop }

// resolved reports whether a workload has found another one's MAC address.
func resolved(t *testing.T, from, to *testnet.Workload, network string) (known bool) {
	t.Helper()
	from.Do(func() error {
		ns, err := netlink.NeighList(from.Index, netlink.FAMILY_ALL)
		ip := to.IPv4
		if network == "udp6" {
			ip = to.IPv6
		}
		for _, n := range ns {
			known = known || n.IP.Equal(ip.AsSlice()) && n.State&netlink.NUD_REACHABLE != 0
		}
		return err
	})
	return known
}

// TestNothingPassesBy: what the engine drops is dropped, also discovery and frames to all.
func TestNothingPassesBy(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	b := afpacket.New(afpacket.Config{})
	serve(t, b, inlineOf(1, ws[0], backend.FailClosed), dropFrame)
	for _, network := range []string{"udp4", "udp6"} {
		if reaches(t, ws[0], ws[1], network) || resolved(t, ws[0], ws[1], network) {
			t.Errorf("%s: something came through", network)
		}
	}
}

// TestHeartbeat: without a worker the fail mode applies. ARP and neighbour discovery pass in any
// case, so that addresses are still known when the worker is back.
func TestHeartbeat(t *testing.T) {
	for _, c := range []struct {
		fail    backend.FailMode
		passes  bool
		counter string
	}{{backend.FailOpen, true, "bypassed"}, {backend.FailClosed, false, "stopped"}} {
		t.Run(c.counter, func(t *testing.T) {
			testnet.RequireRoot(t)
			ws := testnet.New(t).Bridge("a", "b").Workloads
			b := afpacket.New(afpacket.Config{HeartbeatLimit: 50 * time.Millisecond})
			t.Cleanup(func() { b.Close() })
			a, err := b.Attach(t.Context(), inlineOf(1, ws[0], c.fail))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Activate(); err != nil { // no worker receives
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			for _, network := range []string{"udp4", "udp6"} {
				if got := reaches(t, ws[0], ws[1], network); got != c.passes {
					t.Errorf("%s passes: %v, want %v", network, got, c.passes)
				}
				if !resolved(t, ws[0], ws[1], network) {
					t.Errorf("%s: the neighbour was not found", network)
				}
			}
			if counter(t, b, c.counter) == 0 {
				t.Errorf("%s did not count", c.counter)
			}
		})
	}
}

// Two workloads inline on one port: frames from one to the other are judged twice.
func TestSharedPort(t *testing.T) {
	testnet.RequireRoot(t)
	ws := testnet.New(t).Bridge("a", "b").Workloads
	b := afpacket.New(afpacket.Config{})
	var egress, ingress atomic.Int32
	judge := func(f *packet.Frame) packet.Action {
		switch ip := f.Data[14:]; {
		case !(ip[0]>>4 == 4 && ip[9] == packet.ProtoUDP || ip[0]>>4 == 6 && ip[6] == packet.ProtoUDP): // finds neighbours
		case f.Endpoint == 1 && f.Dir == packet.Egress:
			egress.Add(1)
		case f.Endpoint == 2 && f.Dir == packet.Ingress:
			ingress.Add(1)
		}
		return packet.Pass
	}
	first := serve(t, b, inlineOf(1, ws[0], backend.FailClosed), judge)
	second, err := b.Attach(t.Context(), inlineOf(2, ws[1], backend.FailClosed))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := second.Queues(), first.Queues(); len(got) != 1 || got[0] != want[0] {
		t.Errorf("queues of the second attachment: %v, want the first one's %v", got, want)
	}
	if err := second.Activate(); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp4", "udp6"} {
		if !reaches(t, ws[0], ws[1], network) {
			t.Errorf("%s did not come through", network)
		}
	}
	if egress.Load() != 2 || ingress.Load() != 2 {
		t.Errorf("judged %d going out and %d coming in, want 2 and 2", egress.Load(), ingress.Load())
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if !reaches(t, ws[0], ws[1], "udp4") || ingress.Load() != 2 || egress.Load() != 3 {
		t.Error("the first endpoint no longer works")
	}
}

func TestPortTaken(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t).Bridge("a")
	b := afpacket.New(afpacket.Config{})
	t.Cleanup(func() { b.Close() })
	ep := inlineOf(1, n.Workloads[0], backend.FailOpen)
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "sluice-svc"}}
	n.Host.Do(func() error { return netlink.LinkAdd(link) })
	if _, err := b.Attach(t.Context(), ep); err == nil {
		t.Error("took over another's interface")
	}
	n.Host.Do(func() error { return netlink.LinkDel(link) })
	// A port that another process reads from.
	other := afpacket.New(afpacket.Config{})
	if _, err := other.Attach(t.Context(), ep); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Attach(t.Context(), ep); !errors.Is(err, afpacket.ErrPortInUse) {
		t.Errorf("attach beside another: %v, want ErrPortInUse", err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	// A port that a killed process left.
	left := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "sluice-svc"}, PeerName: "sluice-svcp"}
	n.Host.Do(func() error { return netlink.LinkAdd(left) })
	if _, err := b.Attach(t.Context(), ep); err != nil {
		t.Error(err)
	}
}

func TestInlineAttachErrors(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t).Bridge("a", "b")
	b := afpacket.New(afpacket.Config{})
	t.Cleanup(func() { b.Close() })
	good := inlineOf(1, n.Workloads[0], backend.FailOpen)
	cases := []struct {
		name   string
		change func(*backend.Endpoint)
	}{
		{"no address", func(e *backend.Endpoint) { e.MAC = [6]byte{} }},
		{"group address", func(e *backend.Endpoint) { e.MAC[0] |= 1 }},
		{"tag as address", func(e *backend.Endpoint) { e.MAC = [6]byte{0x02, 0x53, 0x4c} }},
		{"no hook", func(e *backend.Endpoint) { e.Hook.Interface, e.Hook.Index = "none", 0 }},
		{"other hook", func(e *backend.Endpoint) { e.Hook.Index += 100 }},
		{"no namespace", func(e *backend.Endpoint) { e.Hook.NetNS += "-none" }},
	}
	try := func(port bool) {
		for _, c := range cases {
			ep := good
			c.change(&ep)
			if _, err := b.Attach(t.Context(), ep); err == nil {
				t.Errorf("%s: attached", c.name)
			}
			n.Host.Do(func() error {
				_, err := net.InterfaceByName("sluice-svc")
				if (err == nil) != port {
					return fmt.Errorf("%s: service port is there: %v", c.name, err == nil)
				}
				return nil
			})
		}
	}
	try(false)
	if _, err := b.Attach(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []backend.Endpoint{good, inlineOf(2, n.Workloads[0], backend.FailOpen), inlineOf(1, n.Workloads[1], backend.FailOpen)} {
		if _, err := b.Attach(t.Context(), c); !errors.Is(err, afpacket.ErrEndpoint) {
			t.Errorf("attach twice: %v", err)
		}
	}
	try(true)
}

// The service port is removed and another interface has its number, so that it cannot be
// created again: the queue ends and the fail mode applies.
func TestPortLost(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t).Bridge("a", "b")
	b := afpacket.New(afpacket.Config{PortLinger: time.Minute})
	t.Cleanup(func() { b.Close() })
	a, err := b.Attach(t.Context(), inlineOf(1, n.Workloads[0], backend.FailOpen))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Activate(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		batch := packet.NewBatch(8)
		for {
			err := a.Queues()[0].Recv(batch)
			if err != nil {
				ended <- err
				return
			}
			_ = a.Queues()[0].Settle(batch)
		}
	}()
	time.Sleep(20 * time.Millisecond)
	b.WhileLocked(func() {
		n.Host.Do(func() error {
			l, err := netlink.LinkByName("sluice-svc")
			if err != nil {
				return err
			}
			return errors.Join(netlink.LinkDel(l), netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "x", Index: l.Attrs().Index}}))
		})
	})
	select {
	case err := <-ended:
		if !errors.Is(err, afpacket.ErrPortLost) && !errors.Is(err, io.EOF) {
			t.Errorf("Recv: %v, want ErrPortLost or EOF", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("Recv did not notice")
	}
	if !reaches(t, n.Workloads[0], n.Workloads[1], "udp4") {
		t.Error("fail-open traffic does not pass")
	}
	lost := a.Queues()[0]
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	again, err := b.Attach(t.Context(), inlineOf(1, n.Workloads[0], backend.FailOpen))
	if err != nil {
		t.Fatal(err)
	}
	if again.Queues()[0] == lost || !hasPort(n.Host) {
		t.Error("attached to the port that is gone")
	}
}
