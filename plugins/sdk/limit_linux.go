package sdk

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/plugins/wire"
)

// limit restricts this process to what a parser needs: bounded memory and files, no core files, no
// inspection by other processes of the account. The host sets the same limits where permitted; each is
// useful alone, so none is an error.
func limit() {
	for key, what := range map[string]int{wire.SpaceKey: unix.RLIMIT_AS, wire.DataKey: unix.RLIMIT_DATA, wire.TasksKey: unix.RLIMIT_NPROC} {
		if n, err := strconv.ParseUint(os.Getenv(key), 10, 64); err == nil {
			_ = unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n})
		}
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: wire.MaxFiles, Max: wire.MaxFiles})
	_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: wire.MaxFile, Max: wire.MaxFile})
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}
