// Package priority raises the scheduling priority of this process, so that other programs do not starve the
// dataplane. It changes nice values only: a real-time policy would let a busy
// dataplane starve the machine.
package priority

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Default is the nice value of a dataplane: nine times the share of a program with nice value 0.
const Default = -10

// Threads that Raise looks for more than once: those that were started meanwhile by threads it had not
// reached yet.
const passes = 3

// Raise sets the nice value of every thread of this process, and returns the value that it had. Threads
// that are started later inherit it. All threads are raised, not only those that judge: a goroutine that
// judges needs a processor of the Go scheduler, which a starved thread may hold.
// It needs CAP_SYS_NICE, or an RLIMIT_NICE of at least 20-nice.
func Raise(nice int) (before int, err error) {
	if before, err = Current(); err != nil {
		return 0, err
	}
	for range passes {
		list, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return before, fmt.Errorf("list threads: %w", err)
		}
		for _, e := range list {
			id, err := strconv.Atoi(e.Name())
			if err != nil {
				continue
			}
			if err := unix.Setpriority(unix.PRIO_PROCESS, id, nice); err != nil && !errors.Is(err, unix.ESRCH) {
				return before, fmt.Errorf("set nice value %d: %w", nice, err)
			}
		}
	}
	return before, nil
}

// SetThread sets the nice value of the calling thread, which the caller has locked. Processes that it starts
// inherit it.
func SetThread(nice int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, nice); err != nil {
		return fmt.Errorf("set nice value %d: %w", nice, err)
	}
	return nil
}

// Current returns the nice value of the calling thread.
func Current() (int, error) {
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return 0, fmt.Errorf("read nice value: %w", err)
	}
	return 20 - raw, nil // the system call returns 20-nice (getpriority(2), "C library/kernel differences")
}
