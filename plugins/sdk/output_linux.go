package sdk

import (
	"os"

	"golang.org/x/sys/unix"
)

// restoreOutput leads os.Stdout and os.Stderr back to the process's own descriptors. After the handshake go-plugin puts
// pipes in their place, which it reads itself and sends to the host over gRPC: what a process wrote last before it ended
// would never get there. The files stay as they are, since their values may be in use; only what their descriptors
// refer to changes. Where that does not work, go-plugin's pipes go on working.
//
// It must run after go-plugin has set its pipes: the first call of the host comes later.
func restoreOutput() {
	for own, f := range map[int]*os.File{1: os.Stdout, 2: os.Stderr} {
		c, err := f.SyscallConn()
		if err != nil {
			continue
		}
		_ = c.Control(func(fd uintptr) {
			if int(fd) == own {
				return // not replaced, as in tests
			}
			// go-plugin reads until the pipe's end; a writer that is never used keeps it waiting.
			if _, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
				_ = unix.Dup3(own, int(fd), unix.O_CLOEXEC)
			}
		})
	}
}
