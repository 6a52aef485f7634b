package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// self is the namespace of the calling thread; /proc/self would be that of the
// process's first thread.
const self = "/proc/thread-self/ns/net"

// Do runs fn inside the network namespace at path and waits for it. An empty
// path means that fn stays where it is. Sockets and files that fn opens keep
// belonging to that namespace; goroutines that it starts do not run in it.
//
// fn runs on a goroutine of its own that is locked to its thread, so it must
// not call runtime.Goexit (testing.T.FailNow does). If the return fails the
// thread is never unlocked and ends with its goroutine; the error then wraps ErrStranded.
func Do(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	target, err := Open(path)
	if err != nil {
		return err
	}
	defer target.Close()
	done := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { done <- err }()
		err = onThread(target, fn)
	}()
	return <-done
}

// onThread runs fn in target on the calling goroutine, which ends afterwards.
func onThread(target *os.File, fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(self)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own network namespace: %w", err)
	}
	defer home.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter network namespace %s: %w", target.Name(), err)
	}
	// Set before fn runs, so that a fn which never returns leaves the thread locked.
	ferr := fn()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(ferr, fmt.Errorf("leave network namespace %s: %w: %w", target.Name(), ErrStranded, err))
	}
	runtime.UnlockOSThread()
	return ferr
}

// Open opens the namespace at path; empty is the calling thread's own.
func Open(path string) (*os.File, error) {
	if path == "" {
		path = self
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return f, nil
}

// ID identifies a namespace during its life, independently of paths.
type ID struct{ Dev, Ino uint64 }

// Identity returns the ID of the namespace at path; empty is the calling thread's own.
func Identity(path string) (ID, error) {
	if path == "" {
		path = self
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return ID{}, fmt.Errorf("identify network namespace: %w", &fs.PathError{Op: "stat", Path: path, Err: err})
	}
	return ID{st.Dev, st.Ino}, nil
}

// Create makes a named namespace, like "ip netns add". It is an error when the
// name is taken.
func Create(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("create network namespace %q: %w", name, err)
	}
	if err := shareDir(); err != nil {
		return err
	}
	path := Named(name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("create network namespace: %w", err)
	}
	f.Close()
	done := make(chan error, 1)
	go func() { done <- bindNew(path) }()
	if err := <-done; err != nil {
		os.Remove(path)
		return fmt.Errorf("create network namespace %s: %w", name, err)
	}
	return nil
}

// bindNew gives the calling thread a new namespace, binds it to path and
// returns. Its goroutine ends afterwards.
func bindNew(path string) error {
	runtime.LockOSThread()
	home, err := os.Open(self)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("unshare: %w", err)
	}
	merr := unix.Mount(self, path, "none", unix.MS_BIND, "")
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(merr, fmt.Errorf("%w: %w", ErrStranded, err))
	}
	runtime.UnlockOSThread()
	if merr != nil {
		return fmt.Errorf("bind: %w", merr)
	}
	return nil
}

// shareDir makes Dir a shared mount, as iproute2 does, so that deleting a name
// in one mount namespace releases it in all of them.
func shareDir() error {
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return fmt.Errorf("create namespace directory: %w", err)
	}
	lock, err := os.Open(Dir)
	if err != nil {
		return fmt.Errorf("open namespace directory: %w", err)
	}
	defer lock.Close()
	// iproute2 takes the same lock: two bind mounts on top of each other hide names.
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock namespace directory: %w", err)
	}
	err = unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("share namespace directory: %w", err)
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind namespace directory: %w", err)
	}
	if err := unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share namespace directory: %w", err)
	}
	return nil
}

// Delete removes the name. The namespace itself ends when it is no longer used.
func Delete(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("delete network namespace %q: %w", name, err)
	}
	path := Named(name)
	// EINVAL: the file is there but nothing is mounted on it.
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("delete network namespace: %w", err)
	}
	return nil
}

// List returns the names in Dir, sorted.
func List() ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}
