//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Ports of the server.
const (
	portStream = 5001
	portEcho   = 7000
	portUDP    = 7001
	portHTTP   = 8000
)

// Sizes of what is sent.
const (
	chunk       = 128 << 10 // of one write or read of a stream
	period      = 251 << 10 // after which a stream repeats itself: no multiple of a chunk or a frame
	bodySize    = 1024
	echoSize    = 64
	datagram    = 22 // 64-byte frames with IPv4
	udpFlows    = 16
	openAtOnce  = 32
	patience    = 5 * time.Second // until a silent peer is an error
	udpBuffer   = 32 << 20
	trailerSize = 16 // the receiver's answer at a stream's end: bytes taken, bytes wrong
)

// pattern is what streams carry, one period and a chunk more, so that a chunk can begin
// anywhere in the period.
func pattern() []byte {
	p := make([]byte, period+chunk)
	x := uint64(0x9e3779b97f4a7c15)
	for i := range period {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x >> 32)
	}
	copy(p[period:], p[:chunk])
	return p
}

// body is what HTTP answers carry.
func body() []byte { return pattern()[:bodySize] }

var httpRequest = []byte("GET /item HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: close\r\n\r\n")

// httpResponse is the whole answer.
func httpResponse() []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", bodySize)
	return append([]byte(head), body()...)
}

// blocking is a socket of its own descriptor, off the runtime's poller: one system call
// for each read and write, and no wake-up by way of a scheduler in latencies.
type blocking struct {
	f  *os.File
	fd int
}

// unpoll takes a connection off the poller; c itself is closed. A peer that is silent
// for too long is an error.
func unpoll(c interface {
	File() (*os.File, error)
	Close() error
}) (blocking, error) {
	f, err := c.File()
	c.Close()
	if err != nil {
		return blocking{}, fmt.Errorf("take socket: %w", err)
	}
	b := blocking{f: f, fd: int(f.Fd())}
	tv := unix.NsecToTimeval(int64(patience))
	for _, opt := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(b.fd, unix.SOL_SOCKET, opt, &tv); err != nil {
			f.Close()
			return blocking{}, fmt.Errorf("set time limit: %w", err)
		}
	}
	return b, nil
}

func (b blocking) close() { b.f.Close() }

// read reads once; 0 and nil is the end.
func (b blocking) read(p []byte) (int, error) {
	for {
		n, err := unix.Read(b.fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// readFull reads until p is full.
func (b blocking) readFull(p []byte) error {
	for len(p) > 0 {
		n, err := b.read(p)
		if err == nil && n == 0 {
			err = net.ErrClosed
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// write writes once and returns how much was written.
func (b blocking) write(p []byte) (int, error) {
	for {
		n, err := unix.Write(b.fd, p)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

// writeFull writes all of p.
func (b blocking) writeFull(p []byte) error {
	for len(p) > 0 {
		n, err := b.write(p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// dial connects from one of the client's addresses.
func dial(ipv6 bool, source, port int) (blocking, error) {
	d := net.Dialer{Timeout: patience, FallbackDelay: -1, LocalAddr: &net.TCPAddr{IP: sourceAddr(ipv6, source).AsSlice()}, Control: lateBind}
	c, err := d.Dial("tcp", netip.AddrPortFrom(serverAddr(ipv6), uint16(port)).String())
	if err != nil {
		return blocking{}, err
	}
	return unpoll(c.(*net.TCPConn))
}

// lateBind lets the kernel choose the port when it knows both addresses.
func lateBind(_, _ string, raw syscall.RawConn) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

// differ counts the bytes in which a and b, of one length, differ.
func differ(a, b []byte) (n uint64) {
	if bytes.Equal(a, b) {
		return 0
	}
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

// sockaddr is an address for system calls.
func sockaddr(a netip.Addr, port int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: port}
}

// socketTCP opens a socket that does not block.
func socketTCP(ipv6 bool) (int, error) {
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}
