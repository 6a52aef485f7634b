package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// queueLimit is how many packets may wait in a kernel queue.
const queueLimit = 1 << 20

// source is one bound kernel queue.
type source struct {
	num  uint16
	file *os.File
	conn syscall.RawConn
}

// bind opens queue num of the namespace behind ns. It receives packets once rules send some; rules
// that a killed process left do so at once.
func bind(ns *os.File, num uint16, cfg Config, failOpen bool) (*source, error) {
	c, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(ns.Fd())})
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	s := &source{num: num}
	err = errors.Join(s.dup(c, cfg.Buffer), c.Close())
	if err == nil {
		err = s.configure(failOpen)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// dup takes a descriptor of its own of a netlink socket, which is read and written without the
// library: its reader allocates for every attribute.
func (s *source) dup(c *netlink.Conn, buffer int) error {
	raw, err := c.SyscallConn()
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

// configure binds the queue and sets it up, by one message: the kernel drops packets that come
// between the two. No acknowledgement is asked for, as packets may precede it; a refusal is the
// first message of the socket, since a queue that was not bound sends none.
func (s *source) configure(failOpen bool) error {
	var err error
	cerr := s.conn.Control(func(p uintptr) {
		fd := int(p)
		if err = unix.Sendto(fd, bindRequest(s.num, failOpen), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return
		}
		b := make([]byte, nlHeader+genHeader)
		n, _, rerr := unix.Recvfrom(fd, b, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if rerr != nil || n < nlHeader+4 || binary.NativeEndian.Uint16(b[4:]) != typeError {
			return // nothing yet, a packet, or a lack of room, which the reader handles
		}
		if code := int32(binary.NativeEndian.Uint32(b[nlHeader:])); code < 0 {
			err = unix.Errno(-code)
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// bindRequest returns the message that binds a queue (linux/netfilter/nfnetlink_queue.h,
// NFQNL_MSG_CONFIG): the first copyRange bytes of packets are copied, offloaded ones are not cut.
func bindRequest(num uint16, failOpen bool) []byte {
	flags := uint32(flagGSO)
	if failOpen {
		flags |= flagFailOpen
	}
	b := make([]byte, nlHeader+genHeader, 80)
	binary.NativeEndian.PutUint16(b[4:], typeConfig)
	binary.NativeEndian.PutUint16(b[6:], nlRequest)
	binary.NativeEndian.PutUint32(b[8:], 1) // the sequence number
	binary.BigEndian.PutUint16(b[18:], num)
	attr := func(kind uint16, value ...byte) {
		b = binary.NativeEndian.AppendUint16(b, uint16(4+len(value)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	word := func(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
	attr(configCommand, commandBind, 0, 0, unix.AF_UNSPEC)
	attr(configParams, append(word(copyRange), copyPacket)...)
	attr(configLimit, word(queueLimit)...)
	attr(configMask, word(flags)...)
	attr(configFlags, word(flags)...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	return b
}

// close unbinds; the kernel drops packets still in the queue.
func (s *source) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// taken reports whether another program uses the queue number.
func taken(err error) bool { return errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EPERM) }
