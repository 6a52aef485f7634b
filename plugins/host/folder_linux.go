package host

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	folderPrefix = "sluice-plugins-"
	// folderYoung is the minimum age of an unowned folder: a younger one may be in creation.
	folderYoung = time.Minute
)

// openFolder creates the folder of the plugins' sockets. It is locked while lock is open, so that folders
// of killed processes are recognised, and removed here.
func openFolder() (lock *os.File, err error) {
	sweepFolders()
	dir, err := os.MkdirTemp("", folderPrefix)
	if err == nil {
		lock, err = lockFolder(dir)
	}
	if err == nil {
		// Each plugin's own folder in it is closed to others.
		err = lock.Chmod(0o711)
	}
	if err != nil {
		return nil, fmt.Errorf("folder of the plugins' sockets: %w", err)
	}
	return lock, nil
}

// lockFolder locks a folder; it returns an error if another process has the lock.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

// sweepFolders removes the folders of killed processes, as far as possible.
func sweepFolders() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < folderYoung {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
			continue
		}
		if lock, err := lockFolder(dir); err == nil {
			_ = os.RemoveAll(dir)
			lock.Close()
		}
	}
}
