package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

const (
	// predecessorWait is how long a start waits for a predecessor that is ending.
	predecessorWait = 60 * time.Second
	// storeLockWait and portWait are the same for what a predecessor releases right after its socket.
	storeLockWait = 10 * time.Second
	portWait      = 5 * time.Second
	// askEvery is how often a predecessor is asked whether it is running, and askWait how long for an answer.
	askEvery = 2 * time.Second
	askWait  = time.Second
	lockPoll = 50 * time.Millisecond
)

// ending is the contents of the lock file of a daemon that is ending.
const ending = "ending\n"

// lockSocket takes the lock of a socket. It waits for a predecessor that is ending, and fails at once where
// another sluice is running.
func (d *daemon) lockSocket(path string) (*os.File, error) {
	lock, err := lockFile(path + ".lock")
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return lock, err
	}
	begin := time.Now()
	var asked time.Time
	for errors.Is(err, unix.EWOULDBLOCK) {
		switch {
		case time.Since(begin) > predecessorWait:
			return nil, fmt.Errorf("the sluice before on %s has been ending for %s: kill it, or give this one its own --socket, --data and --listen", path, predecessorWait)
		case time.Since(asked) < askEvery:
		case running(path):
			return nil, fmt.Errorf("another sluice is listening on %s: stop it, or give this one its own --socket, --data and --listen", path)
		default:
			if asked.IsZero() {
				d.log.Warn("another sluice is ending, waiting for it", "socket", path, "limit", predecessorWait)
			}
			asked = time.Now()
		}
		time.Sleep(lockPoll)
		lock, err = lockFile(path + ".lock")
	}
	if err == nil {
		d.log.Info("the other sluice has ended", "socket", path, "took", time.Since(begin).Round(time.Millisecond))
	}
	return lock, err
}

// running reports whether the sluice of a socket answers, and is not ending. One that was killed may have its
// lock and its socket while the kernel removes it.
func running(path string) bool {
	if b, err := os.ReadFile(path + ".lock"); err == nil && string(b) == ending {
		return false
	}
	conn, err := dialSocket(path)
	if err != nil {
		return false
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), askWait)
	defer cancel()
	_, err = controlv1.NewControlClient(conn).Status(ctx, &controlv1.StatusRequest{})
	return err == nil
}

// markEnding notes in the lock file that this daemon is ending.
func markEnding(lock *os.File) {
	if lock != nil {
		_, _ = lock.WriteAt([]byte(ending), 0) // without it a successor asks
	}
}

// listenTCP is net.Listen, which waits for a port that a predecessor is about to release.
func (d *daemon) listenTCP(addr string) (net.Listener, error) {
	begin := time.Now()
	for said := false; ; said = true {
		l, err := net.Listen("tcp", addr)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Since(begin) > portWait {
			return l, err
		}
		if !said {
			d.log.Warn("port taken, waiting for it", "address", addr, "limit", portWait)
		}
		time.Sleep(lockPoll)
	}
}
