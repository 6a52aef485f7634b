package sdk

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/plugins/wire"
)

// limit takes from this process what a parser never needs: memory and files without bounds, core files,
// being looked into by others of the same account. The host asks for the same where it may; each is worth having alone, so none
// is an error.
func limit() {
	for key, what := range map[string]int{wire.SpaceKey: unix.RLIMIT_AS, wire.DataKey: unix.RLIMIT_DATA} {
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
