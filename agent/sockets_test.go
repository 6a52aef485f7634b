package agent

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/internal/netns"
	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// TestSockets reads real sockets of every kind in a namespace: what serves, what is bound, and what is open.
func TestSockets(t *testing.T) {
	testnet.RequireRoot(t)
	b := testnet.New(t).Bridge("web", "api")
	web, api := b.Workloads[0], b.Workloads[1]
	api.Sysctl("net/ipv4/ip_local_port_range", "33000 60999")
	api.Listen("tcp", ":50051") // both families, by one IPv6 socket
	api.Listen("tcp4", "127.0.0.1:8081")
	api.Listen("tcp6", "[::]:8082")
	api.ListenPacket("udp", ":5353")
	api.ListenPacket("udp4", ":40000") // may be a client's
	api.ListenPacket("udp6", ":32900") // is none: the kernel gives ports from 33000 on
	api.ListenPacket("udp", ":61000")
	shared(t, api, 7946)
	shared(t, api, 7946)
	open := map[role.Tuple]role.Side{}
	for _, family := range []string{"4", "6"} {
		c := web.Dial("tcp"+family, api.Addr("tcp"+family, 50051))
		open[tupleOf(c.RemoteAddr(), c.LocalAddr(), packet.ProtoTCP)] = role.Server
		out := api.Dial("udp"+family, web.Addr("udp"+family, 514))
		open[tupleOf(out.LocalAddr(), out.RemoteAddr(), packet.ProtoUDP)] = role.Client
	}
	web.Listen("tcp", ":9000")
	api.Dial("tcp4", web.Addr("tcp4", 9000)) // opened by api: its port is in no list, which says enough

	l, err := socketsOf(api.Path, true)
	if err != nil {
		t.Fatal(err)
	}
	want := map[role.Port]bool{}
	for _, n := range []uint16{50051, 8081, 8082} {
		want[role.Port{Proto: packet.ProtoTCP, Port: n}] = true
	}
	for _, n := range []uint16{5353, 32900, 61000, 7946} {
		want[role.Port{Proto: packet.ProtoUDP, Port: n}] = true
	}
	if got := fmt.Sprint(l.listening); got != fmt.Sprint(want) || !l.complete {
		t.Errorf("serves %s, complete %v, want %v", got, l.complete, want)
	}
	for _, n := range []uint16{5353, 40000, 32900, 61000, 7946} {
		if !l.bound[n] {
			t.Errorf("udp/%d is not among the bound ports %v", n, l.bound)
		}
	}
	if got := fmt.Sprint(l.live); got != fmt.Sprint(open) {
		t.Errorf("open: got %s, want %v", got, open)
	}
	if l, err = socketsOf(api.Path, false); err != nil || fmt.Sprint(l.listening) != fmt.Sprint(want) {
		t.Errorf("read again: serves %v, %v", l, err)
	}
	if _, err := socketsOf("/run/netns/there-is-none", true); err == nil {
		t.Error("a namespace that is not there was read")
	}
}

// shared binds a UDP port together with other sockets (SO_REUSEPORT).
func shared(t *testing.T, ns *testnet.Workload, port int) {
	t.Helper()
	err := netns.Do(ns.Path, func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet6{Port: port})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tupleOf(local, remote net.Addr, proto uint8) role.Tuple {
	l, r := netip.MustParseAddrPort(local.String()), netip.MustParseAddrPort(remote.String())
	return role.Tuple{Local: packet.AddrFrom(l.Addr()), Remote: packet.AddrFrom(r.Addr()), LocalPort: l.Port(), RemotePort: r.Port(), Proto: proto}
}

// TestManySockets: beyond the bound the list is not complete, and is reported as such.
func TestManySockets(t *testing.T) {
	l := &socketList{complete: true, listening: map[role.Port]bool{}, bound: map[uint16]bool{}, live: map[role.Tuple]role.Side{}, open: map[role.Tuple]bool{}}
	for n := range 2 * maxListening {
		l.serves(packet.ProtoTCP, uint16(n))
		l.connection(&diagSocket{state: 1, t: role.Tuple{LocalPort: uint16(n), RemotePort: uint16(n >> 4)}})
	}
	if l.complete || len(l.listening) != maxListening || len(l.live) != maxLive {
		t.Errorf("complete %v with %d ports and %d connections", l.complete, len(l.listening), len(l.live))
	}
}
