package workload

import (
	"net"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

func netnsOf(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "ns/net") }

// peerProcess returns the process at the other end of a unix socket, 0 if unknown.
func peerProcess(c *net.UnixConn) int32 {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	pid := int32(0)
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	return pid
}
