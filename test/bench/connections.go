//go:build linux

package main

import (
	"bytes"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// connector keeps a number of short HTTP connections open, each of which connects, asks,
// reads the whole answer and closes; one thread for all of them.
type connector struct {
	ipv6     bool
	epoll    int
	to       unix.Sockaddr
	from     [sources]unix.Sockaddr
	response []byte
	calls    map[int]*call // by descriptor
	next     int           // source address
	res      result
}

// call is one connection.
type call struct {
	connected bool
	got       int
	buf       [4096]byte
}

// connections opens connections for a while and counts those that were answered.
func (l *load) connections(d time.Duration) (result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &connector{ipv6: l.ipv6, to: sockaddr(serverAddr(l.ipv6), portHTTP), response: httpResponse(), calls: map[int]*call{}}
	for i := range c.from {
		c.from[i] = sockaddr(sourceAddr(l.ipv6, i), 0)
	}
	var err error
	if c.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return c.res, fmt.Errorf("open epoll: %w", err)
	}
	defer unix.Close(c.epoll)
	defer func() {
		for fd := range c.calls {
			unix.Close(fd)
		}
	}()
	begin := time.Now()
	free := make([]*call, openAtOnce)
	for i := range free {
		free[i] = new(call)
	}
	events := make([]unix.EpollEvent, openAtOnce)
	for time.Since(begin) < d {
		for _, x := range free {
			if err := c.open(x); err != nil {
				return c.res, err
			}
		}
		free = free[:0]
		n, err := unix.EpollWait(c.epoll, events, 100)
		if err != nil && err != unix.EINTR {
			return c.res, fmt.Errorf("wait: %w", err)
		}
		for _, e := range events[:max(n, 0)] {
			if x := c.calls[int(e.Fd)]; c.step(int(e.Fd), x) {
				free = append(free, x)
			}
		}
	}
	c.res.Seconds = time.Since(begin).Seconds()
	return c.res, nil
}

// open begins a connection.
func (c *connector) open(x *call) error {
	x.connected, x.got = false, 0
	fd, err := socketTCP(c.ipv6)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	c.calls[fd] = x
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("set up socket: %w", err)
	}
	if err := unix.Bind(fd, c.from[c.next]); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	c.next = (c.next + 1) % sources
	if err := unix.Connect(fd, c.to); err != nil && err != unix.EINPROGRESS {
		return fmt.Errorf("connect: %w", err)
	}
	return unix.EpollCtl(c.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLIN, Fd: int32(fd)})
}

// step continues a connection and reports whether it has ended.
func (c *connector) step(fd int, x *call) bool {
	if !x.connected {
		if _, err := unix.Write(fd, httpRequest); err != nil {
			return c.closeConn(fd, false)
		}
		x.connected = true
		if err := unix.EpollCtl(c.epoll, unix.EPOLL_CTL_MOD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return c.closeConn(fd, false)
		}
		return false
	}
	for {
		n, err := unix.Read(fd, x.buf[x.got:])
		switch {
		case err == unix.EAGAIN || err == unix.EINTR:
			return false
		case err != nil:
			return c.closeConn(fd, false)
		case n == 0:
			if !bytes.Equal(x.buf[:x.got], c.response) {
				c.res.Bad++
				return c.closeConn(fd, false)
			}
			return c.closeConn(fd, true)
		}
		x.got += n
	}
}

func (c *connector) closeConn(fd int, answered bool) bool {
	unix.Close(fd)
	delete(c.calls, fd)
	if answered {
		c.res.Count++
	} else {
		c.res.Errors++
	}
	return true
}
