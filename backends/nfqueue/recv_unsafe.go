//go:build linux

package nfqueue

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr (recvmmsg(2)); Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// slots is the memory that messages are received into. It is mapped, so that only used parts
// take memory.
type slots struct {
	mem  []byte
	hdrs []mmsghdr
	iovs []unix.Iovec
}

func newSlots(n int) (*slots, error) {
	mem, err := unix.Mmap(-1, 0, n*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map %d slots: %w", n, err)
	}
	s := &slots{mem: mem, hdrs: make([]mmsghdr, n), iovs: make([]unix.Iovec, n)}
	for i := range n {
		s.iovs[i].Base = &mem[i*slotSize]
		s.iovs[i].SetLen(slotSize)
		s.hdrs[i].hdr.Iov = &s.iovs[i]
		s.hdrs[i].hdr.SetIovlen(1)
	}
	return s, nil
}

// receive receives up to n messages from the socket without waiting.
func (s *slots) receive(fd uintptr, n int) (int, unix.Errno) {
	got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&s.hdrs[0])), uintptr(min(n, len(s.hdrs))), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), 0
}

// at returns message i of the last receive.
func (s *slots) at(i int) []byte {
	base := i * slotSize
	n := min(int(s.hdrs[i].len), slotSize)
	return s.mem[base : base+n : base+n]
}

// memory is the result of SO_MEMINFO.
type memory [memWords]uint32

// read reads the memory of a socket.
func (m *memory) read(fd uintptr) error {
	size := uint32(unsafe.Sizeof(*m))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(m)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (s *slots) free() error { return unix.Munmap(s.mem) }
