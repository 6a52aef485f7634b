package nfqueue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	library "github.com/florianl/go-nfqueue/v2"
	"golang.org/x/sys/unix"
)

// source is one bound kernel queue. The library opens, binds and sets flags; its reader,
// which allocates for every attribute, is parked, and a duplicate descriptor is read instead.
type source struct {
	num    uint16
	lib    *library.Nfqueue
	cancel context.CancelFunc
	parked chan struct{} // closed when the reader is parked
	leave  chan struct{} // closed to release it
	file   *os.File
	conn   syscall.RawConn
}

// bind opens queue num of the namespace behind ns. It receives packets once rules send some.
func bind(ns *os.File, num uint16, cfg Config, failOpen bool) (*source, error) {
	flags := uint32(flagGSO)
	if failOpen {
		flags |= flagFailOpen
	}
	lib, err := library.Open(&library.Config{
		NetNS: int(ns.Fd()), NfQueue: num, MaxPacketLen: copyRange, MaxQueueLen: 1 << 20,
		Copymode: library.NfQnlCopyPacket, Flags: flags, AfFamily: unix.AF_UNSPEC,
	})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	s := &source{num: num, lib: lib, parked: make(chan struct{}), leave: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	err = lib.RegisterWithErrorFunc(ctx, func(library.Attribute) int { return 0 }, s.park)
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("bind: %w", err), lib.Con.Close())
	}
	if err := lib.Con.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return nil, errors.Join(fmt.Errorf("park reader: %w", err), s.close())
	}
	<-s.parked
	if err := s.dup(cfg.Buffer); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// park is where the library's reader waits for the end.
func (s *source) park(error) int {
	close(s.parked)
	<-s.leave
	return 1
}

// dup returns the descriptor that is read.
func (s *source) dup(buffer int) error {
	raw, err := s.lib.Con.SyscallConn()
	if err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	var fd int
	var derr error
	if err := raw.Control(func(p uintptr) {
		if fd, derr = unix.FcntlInt(p, unix.F_DUPFD_CLOEXEC, 3); derr != nil {
			return
		}
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
		}
		// A rejected verdict returns an error message; the text of the request is not needed.
		_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
		derr = unix.SetNonblock(fd, true)
	}); err != nil {
		return fmt.Errorf("descriptor: %w", err)
	}
	if derr != nil {
		return fmt.Errorf("descriptor: %w", derr)
	}
	s.file = os.NewFile(uintptr(fd), "nfqueue")
	s.conn, err = s.file.SyscallConn()
	return err
}

// close unbinds; the kernel drops packets still in the queue.
func (s *source) close() error {
	s.cancel()
	close(s.leave)
	err := s.lib.Close()
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}

// taken reports whether another program uses the queue number.
func taken(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) }
