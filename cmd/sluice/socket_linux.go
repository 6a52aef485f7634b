package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenError is the sentence with the reason why an address, which a flag names, is unavailable.
func listenError(flag, addr string, err error) error {
	var host *net.DNSError
	var form *net.AddrError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port taken: something listens on %s already: stop it, or choose another address with %s", addr, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("no right to listen on %s: choose another address with %s", addr, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine does not have the address %s: choose another with %s", addr, flag)
	case errors.As(err, &form):
		return fmt.Errorf("%s %q is not HOST:PORT, such as 127.0.0.1:9473 (%s)", flag, addr, form.Err)
	case errors.As(err, &host):
		return fmt.Errorf("%s %q: there is no port or host of that name: give HOST:PORT, such as 127.0.0.1:9473", flag, addr)
	}
	return fmt.Errorf("cannot listen on %s: %w: choose another with %s", addr, err, flag)
}

// listenSocket opens the unix socket, for root only. A lock beside it distinguishes a daemon that runs
// from the socket file of one that was killed.
func (d *daemon) listenSocket() (net.Listener, error) {
	path := d.flags.socket
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, socketError(dir, err)
		}
		d.later(func() { _ = os.Remove(dir) })
	}
	lock, err := d.lockSocket(path)
	var sys syscall.Errno
	if errors.As(err, &sys) {
		return nil, socketError(dir, err)
	}
	if err != nil {
		return nil, err
	}
	d.lock = lock
	d.later(func() {
		_ = os.Remove(lock.Name())
		lock.Close()
	})
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is not a socket: remove it, or give another with --socket", path)
	}
	_ = os.Remove(path) // of one that was killed; the lock shows that no process uses it
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, socketError(dir, err)
	}
	d.later(func() { l.Close() })
	return l, nil
}

func socketError(dir string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	var se *os.SyscallError
	if errors.As(err, &se) {
		err = se.Err
	}
	return fmt.Errorf("no socket can be made in %s (%w): make the folder writable, or give another place with --socket", dir, err)
}

// lockFile makes and locks a file; unix.EWOULDBLOCK means that another process has it.
func lockFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, err
		}
		// The one who had it may have removed it in between: then this file has no owner.
		var mine, there unix.Stat_t
		if unix.Fstat(int(f.Fd()), &mine) == nil && unix.Stat(path, &there) == nil && mine.Ino == there.Ino && mine.Dev == there.Dev {
			_ = f.Truncate(0) // of one that was ending
			return f, nil
		}
		f.Close()
	}
}
