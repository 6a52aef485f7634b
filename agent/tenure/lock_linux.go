package tenure

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the file in the data folder that a run locks and writes its id to.
const lockName = "agent.lock"

// errHeld means that another process has the lock.
var errHeld = errors.New("the folder is in use")

// lock is a locked folder. The kernel releases it with the process, however that ends.
type lock struct{ f *os.File }

// takeLock locks a folder for a run, also one that cannot be written, and returns the previous run, "" if
// there was none. Its error is errHeld if another process has the lock.
func takeLock(folder, run string) (*lock, string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, "", err
	}
	path := filepath.Join(folder, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EROFS) {
		f, err = os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, "", err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, "", errHeld
		}
		return nil, "", err
	}
	before, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		f.Close()
		return nil, "", err
	}
	// On a full or read-only disk the next run does not know this one, and waits for the end of its lease.
	line := run + "\n"
	if _, err := f.WriteAt([]byte(line), 0); err == nil {
		_ = f.Truncate(int64(len(line)))
	}
	return &lock{f}, strings.TrimSpace(string(before)), nil
}

func (l *lock) release() { l.f.Close() }
