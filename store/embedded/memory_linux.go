package embedded

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// MemoryFile returns the path of an empty file in memory, for Open, and a function that frees it.
func MemoryFile() (path string, free func(), err error) {
	fd, err := unix.MemfdCreate("sluice-store", unix.MFD_CLOEXEC)
	if err != nil {
		return "", nil, fmt.Errorf("make a store in memory: %w", err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }, nil
}
