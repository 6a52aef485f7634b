package wire

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// getsockopt reads an option whose result depends on the buffer's contents, which the library's calls do
// not support. It returns the length of the result.
func getsockopt(fd, level, option int, buf []byte) (int, error) {
	n := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return 0, errno
	}
	return min(int(n), len(buf)), nil
}
