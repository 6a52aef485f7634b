package sdk

import (
	"os"

	"golang.org/x/sys/unix"
)

// restoreOutput redirects os.Stdout and os.Stderr to the process's own descriptors. After the handshake
// go-plugin replaces them by pipes, whose data it sends to the host over gRPC: the last output before the
// process ends would be lost. The files stay the same, because their values may be in use; only their
// descriptors change. After an error, go-plugin's pipes remain in use.
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
