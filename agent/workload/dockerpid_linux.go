package workload

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// cgroupRoots are where hierarchies that hold containers are mounted: version 1's, then version 2's.
var cgroupRoots = []string{"/sys/fs/cgroup/pids", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup"}

// firstProcess is a process of a container, found through its control group, 0 if there is none. The
// group has one as soon as the runtime made the container's namespaces, while the
// daemon answers no question about it before the start is done.
func firstProcess(c *dockerContainer) int {
	names := []string{filepath.Join("docker", c.id), filepath.Join("system.slice", "docker-"+c.id+".scope")}
	if c.parent != "" {
		names = []string{filepath.Join(c.parent, c.id), filepath.Join(c.parent, "docker-"+c.id+".scope")}
	}
	for _, root := range cgroupRoots {
		for _, name := range names {
			data, err := os.ReadFile(filepath.Join(root, name, "cgroup.procs"))
			if err != nil {
				continue
			}
			line, _, _ := bytes.Cut(data, []byte{'\n'})
			if pid, err := strconv.Atoi(string(line)); err == nil && pid > 0 {
				return pid
			}
		}
	}
	return 0
}

func netnsOf(pid int) string { return filepath.Join("/proc", strconv.Itoa(pid), "ns/net") }

// peerProcess is the process at the other end of a unix socket, 0 if it cannot be known.
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
