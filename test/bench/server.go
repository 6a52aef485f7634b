//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// server is the child in the server's namespace: it takes and verifies streams and
// datagrams, answers short HTTP connections and echoes.
type server struct {
	pattern  []byte
	received atomic.Uint64 // datagrams
	bad      atomic.Uint64 // datagrams that are not as they were sent
}

// udpResult is what came of the datagrams since the last answer.
type udpResult struct {
	Received uint64 `json:"received"`
	Bad      uint64 `json:"bad"`
}

func openServer(p params) (handler, error) {
	s := &server{pattern: pattern()}
	addr := serverAddr(p.IPv6)
	for port, serve := range map[int]func(blocking){portStream: s.stream, portEcho: echo} {
		l, err := net.Listen("tcp", netip.AddrPortFrom(addr, uint16(port)).String())
		if err != nil {
			return nil, err
		}
		go accept(l, serve)
	}
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, portUDP)))
	if err != nil {
		return nil, err
	}
	b, err := unpoll(u)
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBuffer); err != nil {
		return nil, fmt.Errorf("set receive buffer: %w", err)
	}
	go s.datagrams(b)
	h, err := openHTTP(p.IPv6)
	if err != nil {
		return nil, err
	}
	go h.serve()
	return s, nil
}

// handle reports the datagrams.
func (s *server) handle(request) (any, error) {
	return udpResult{Received: s.received.Swap(0), Bad: s.bad.Swap(0)}, nil
}

// Close leaves everything to the end of the process.
func (s *server) Close() error { return nil }

// accept gives every connection a thread of its own.
func accept(l net.Listener, serve func(blocking)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			b, err := unpoll(c.(*net.TCPConn))
			if err != nil {
				return
			}
			defer b.close()
			serve(b)
		}()
	}
}

// stream reads to the end, compares every byte, and answers with what it found.
func (s *server) stream(b blocking) {
	buf := make([]byte, chunk)
	var total, bad uint64
	for at := 0; ; {
		n, err := b.read(buf)
		if err != nil {
			return
		}
		if n == 0 {
			break
		}
		bad += differ(buf[:n], s.pattern[at:at+n])
		total += uint64(n)
		at = (at + n) % period
	}
	var answer [trailerSize]byte
	binary.BigEndian.PutUint64(answer[:], total)
	binary.BigEndian.PutUint64(answer[8:], bad)
	_ = b.writeFull(answer[:])
}

// echo sends back what it reads.
func echo(b blocking) {
	_ = unix.SetsockoptInt(b.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	var buf [echoSize]byte
	for b.readFull(buf[:]) == nil && b.writeFull(buf[:]) == nil {
	}
}

// datagrams counts and compares.
func (s *server) datagrams(b blocking) {
	runtime.LockOSThread()
	var buf [2048]byte
	for {
		n, err := b.read(buf[:])
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if err != nil {
			return
		}
		s.received.Add(1)
		if n != datagram || !bytes.Equal(buf[8:n], s.pattern[8:n]) {
			s.bad.Add(1)
		}
	}
}

// httpServer answers each connection once; one thread for all of them.
type httpServer struct {
	listener, epoll int
	response        []byte
	buf             [4096]byte
}

func openHTTP(ipv6 bool) (*httpServer, error) {
	h := &httpServer{response: httpResponse()}
	var err error
	if h.listener, err = socketTCP(ipv6); err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if err := unix.SetsockoptInt(h.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return nil, fmt.Errorf("set up socket: %w", err)
	}
	if err := unix.Bind(h.listener, sockaddr(serverAddr(ipv6), portHTTP)); err != nil {
		return nil, fmt.Errorf("bind to port %d: %w", portHTTP, err)
	}
	if err := unix.Listen(h.listener, 4096); err != nil {
		return nil, fmt.Errorf("listen on port %d: %w", portHTTP, err)
	}
	if h.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("open epoll: %w", err)
	}
	return h, h.watch(h.listener)
}

func (h *httpServer) watch(fd int) error {
	return unix.EpollCtl(h.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (h *httpServer) serve() {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(h.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return
		}
		for i := range max(n, 0) {
			if fd := int(events[i].Fd); fd == h.listener {
				h.accept()
			} else {
				h.answer(fd)
			}
		}
	}
}

func (h *httpServer) accept() {
	for {
		fd, _, err := unix.Accept4(h.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		if h.watch(fd) != nil {
			unix.Close(fd)
		}
	}
}

// answer reads the request, which is one small segment, and closes after the response.
func (h *httpServer) answer(fd int) {
	n, err := unix.Read(fd, h.buf[:])
	if err == unix.EAGAIN {
		return
	}
	if err == nil && bytes.Equal(h.buf[:max(n, 0)], httpRequest) {
		_, _ = unix.Write(fd, h.response)
	}
	unix.Close(fd)
}
