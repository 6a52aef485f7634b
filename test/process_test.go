package test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// roleVariable has what a process of the test binary plays instead of running tests: a real process
// in a namespace, whose sockets are its own.
const roleVariable = "SLUICE_TEST_ROLE"

// play plays a role: "serve tcp ADDR", "serve udp ADDR", "dial tcp ADDR TIMES" (short connections), "mapped ADDR" (an
// IPv6 socket to an IPv4 address) or "ask udp ADDR" (one datagram and its answer, and on until the end of its input).
func play(role string) int {
	f := strings.Fields(role)
	var err error
	switch f[0] {
	case "serve":
		err = parrot(f[1], f[2])
	case "dial":
		times, _ := strconv.Atoi(f[3])
		for range times {
			var c net.Conn
			if c, err = net.Dial(f[1], f[2]); err != nil {
				break
			}
			_, _ = c.Write([]byte("hello"))
			_, err = io.ReadFull(c, make([]byte, 5))
			c.Close()
		}
	case "mapped":
		err = mapped(netip.MustParseAddrPort(f[1]))
	case "ask":
		err = ask(f[1], f[2])
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// parrot echoes until it is killed.
func parrot(network, addr string) error {
	b := make([]byte, 512)
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, addr)
		for err == nil {
			var n int
			var from net.Addr
			if n, from, err = c.ReadFrom(b); err == nil {
				_, _ = c.WriteTo(b[:n], from)
			}
		}
		return err
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() { _, _ = io.Copy(c, c); c.Close() }()
	}
}

// mapped connects an IPv6 socket to an IPv4 address.
func mapped(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()})
}

// ask sends a datagram from a socket that is not connected and waits for the answer.
func ask(network, addr string) error {
	to, err := net.ResolveUDPAddr(network, addr)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP(network, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.WriteTo([]byte("hello"), to); err != nil {
		return err
	}
	if _, _, err = c.ReadFrom(make([]byte, 512)); err == nil {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	return err
}

// start starts a process of a role in a namespace, until the test ends.
func start(t *testing.T, ns *testnet.NS, role string) *testnet.Cmd {
	t.Helper()
	c := ns.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"="+role)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	return c
}

// do runs a process of a role in a namespace to its end.
func do(t *testing.T, ns *testnet.NS, role string) {
	t.Helper()
	c := ns.Command(os.Args[0])
	c.Env = append(os.Environ(), roleVariable+"="+role)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", role, err, out)
	}
}
