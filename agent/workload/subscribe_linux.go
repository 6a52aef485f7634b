package workload

import (
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// subscriptions are netlink sockets inside namespaces that report changes of their interfaces and
// addresses; one goroutine serves all of them. A socket keeps its namespace alive, so it must be removed
// as soon as the namespace's name is.
type subscriptions struct {
	// changed receives the inode of a changed namespace.
	changed chan uint64
	epoll   *os.File
	epfd    int
	done    chan struct{}
	stop    chan struct{}

	mu    sync.Mutex
	socks map[int32]*subscription // by descriptor
	byIno map[uint64]*subscription
}

type subscription struct {
	sock *nl.NetlinkSocket
	ino  uint64
}

func newSubscriptions() (*subscriptions, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	// An epoll descriptor is pollable itself, so that Close ends the wait.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	s := &subscriptions{changed: make(chan uint64, 64), epoll: os.NewFile(uintptr(fd), "epoll"), epfd: fd, done: make(chan struct{}),
		stop: make(chan struct{}), socks: map[int32]*subscription{}, byIno: map[uint64]*subscription{}}
	go s.serve()
	return s, nil
}

// add subscribes to the namespace at path.
func (s *subscriptions) add(path string, ino uint64) error {
	ns, err := openNS(path, ino)
	if err != nil {
		return err
	}
	defer ns.Close()
	sock, err := nl.SubscribeAt(ns, netns.None(), unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
	if err != nil {
		return fmt.Errorf("netlink subscription: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fd := int32(sock.GetFd())
	sub := &subscription{sock, ino}
	s.socks[fd], s.byIno[ino] = sub, sub
	if err := unix.EpollCtl(s.epfd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: fd}); err != nil {
		s.drop(sub)
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

func (s *subscriptions) remove(ino uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.byIno[ino]; sub != nil {
		s.drop(sub)
	}
}

// drop closes a subscription, which removes it from the epoll set. s.mu is held.
func (s *subscriptions) drop(sub *subscription) {
	delete(s.socks, int32(sub.sock.GetFd()))
	delete(s.byIno, sub.ino)
	sub.sock.Close()
}

func (s *subscriptions) close() {
	close(s.stop)
	s.epoll.Close()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.byIno {
		s.drop(sub)
	}
}

func (s *subscriptions) serve() {
	defer close(s.done)
	conn, err := s.epoll.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 32)
	for {
		n := 0
		err := conn.Read(func(fd uintptr) bool {
			n, _ = unix.EpollWait(int(fd), events, 0)
			return n > 0
		})
		if err != nil {
			return
		}
		for _, e := range events[:n] {
			ino, ok := s.drain(e.Fd)
			if !ok {
				continue
			}
			select {
			case s.changed <- ino:
			case <-s.stop:
				return
			}
		}
	}
}

// drain discards queued messages, because changes are read again. An overrun (ENOBUFS) is a change like any
// other.
func (s *subscriptions) drain(fd int32) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.socks[fd]
	if sub == nil {
		return 0, false
	}
	var b [64]byte
	for range 1024 {
		if _, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_DONTWAIT|unix.MSG_TRUNC); err != nil && err != unix.ENOBUFS && err != unix.EINTR {
			break
		}
	}
	return sub.ino, true
}
