//go:build linux

package afpacket_test

import (
	"context"
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/sluicenet/sluice/backends/afpacket"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestTapsInOrder sends datagrams by two interfaces of a namespace in turns: one queue has the frames
// of both taps, in the order in which they were sent, and continues when one of them is closed.
func TestTapsInOrder(t *testing.T) {
	testnet.RequireRoot(t)
	n := testnet.New(t)
	br := n.Bridge("a", "b")
	w := br.Workloads[0]
	secondInterface(t, br, w)
	b := afpacket.New(afpacket.Config{TapRetire: 20 * time.Millisecond})
	t.Cleanup(func() { b.Close() })
	var taps []backend.Attachment
	for id, name := range []string{"eth0", "eth1"} {
		a, err := b.Attach(context.Background(), backend.Endpoint{ID: uint32(id + 1), Kind: backend.Tap, NetNS: w.Path, Interface: name})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Activate(); err != nil {
			t.Fatal(err)
		}
		taps = append(taps, a)
	}
	q := taps[0].Queues()[0]
	if taps[1].Queues()[0] != q {
		t.Fatal("the taps have different queues")
	}
	// Without listeners the error of one datagram would be that of the next, which is not sent.
	br.Workloads[1].ListenPacket("udp4", "10.77.0.2:9000")
	br.Host.ListenPacket("udp4", "10.78.0.254:9000")
	conns := [2]net.Conn{w.Dial("udp4", "10.77.0.2:9000"), w.Dial("udp4", "10.78.0.254:9000")}
	send := func(from, to uint32, conns ...net.Conn) {
		data := make([]byte, 40)
		for i := from; i < to; i++ {
			binary.BigEndian.PutUint32(data, i)
			if _, err := conns[i%uint32(len(conns))].Write(data); err != nil {
				t.Error(err)
			}
			if i%64 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}
	const half = 1000
	go send(0, half, conns[0], conns[1])
	receive(t, q, 0, half, func(i uint32) uint32 { return 1 + i%2 })
	if err := taps[1].Close(); err != nil {
		t.Fatal(err)
	}
	go send(half, 2*half, conns[0])
	receive(t, q, half, 2*half, func(uint32) uint32 { return 1 })
}

// receive reads datagrams numbered from a number on, and fails where one is missing, out of order or
// not of its endpoint.
func receive(t *testing.T, q backend.Queue, from, to uint32, endpoint func(uint32) uint32) {
	t.Helper()
	batch := packet.NewBatch(256)
	for until := time.Now().Add(30 * time.Second); from < to; {
		if time.Now().After(until) {
			t.Fatalf("datagram %d did not come", from)
		}
		if err := q.Recv(batch); err != nil {
			t.Fatal(err)
		}
		for _, f := range batch.All() {
			if f.Dir != packet.Egress || len(f.Data) < 46 || f.Data[12] != 8 || f.Data[13] != 0 || f.Data[23] != unix.IPPROTO_UDP {
				continue
			}
			if got := binary.BigEndian.Uint32(f.Data[42:]); got != from || f.Endpoint != endpoint(from) {
				t.Fatalf("datagram %d of endpoint %d, want %d of %d", got, f.Endpoint, from, endpoint(from))
			}
			from++
		}
		if err := q.Settle(batch); err != nil {
			t.Fatal(err)
		}
	}
}

// secondInterface gives a workload eth1, 10.78.0.1, with the host at 10.78.0.254.
func secondInterface(t *testing.T, br *testnet.Bridge, w *testnet.Workload) {
	t.Helper()
	ns, err := netns.Open(w.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	up := func(name, addr string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	br.Host.Do(func() error {
		la := netlink.NewLinkAttrs()
		la.Name = "second"
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: "eth1", PeerNamespace: netlink.NsFd(int(ns.Fd()))}); err != nil {
			return err
		}
		return up("second", "10.78.0.254/24")
	})
	w.Do(func() error { return up("eth1", "10.78.0.1/24") })
}
