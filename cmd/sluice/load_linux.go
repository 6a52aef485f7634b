package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/internal/priority"
)

// loadFlags are the settings of the dataplane for a busy machine.
type loadFlags struct {
	heartbeat time.Duration
	nice      int
}

const (
	defaultHeartbeat = 500 * time.Millisecond
	// Below this a worker that is merely busy would be taken for dead: it is silent for a tenth of a second when idle.
	leastHeartbeat = 250 * time.Millisecond
	mostHeartbeat  = time.Minute
)

func (l *loadFlags) add(fl *pflag.FlagSet) {
	fl.DurationVar(&l.heartbeat, "heartbeat", defaultHeartbeat, "how long the worker of a packet ring or queue may be silent before its frames follow the fail mode")
	fl.IntVar(&l.nice, "nice", priority.Default, "scheduling priority of this process, -20 (highest) to 19; it needs CAP_SYS_NICE below 0, and 0 leaves it as it is")
}

func (l *loadFlags) check() error {
	switch {
	case l.heartbeat < leastHeartbeat || l.heartbeat > mostHeartbeat:
		return fmt.Errorf("--heartbeat %s: give a time from %s to %s", l.heartbeat, leastHeartbeat, mostHeartbeat)
	case l.nice < -20 || l.nice > 19:
		return fmt.Errorf("--nice %d: give a number from -20 to 19", l.nice)
	}
	return nil
}

// raise sets the scheduling priority, and returns a warning for status where that is not permitted.
func (l *loadFlags) raise(log *slog.Logger) []string {
	if l.nice == 0 {
		return nil
	}
	before, err := priority.Raise(l.nice)
	if err != nil {
		log.Warn("scheduling priority not raised", "nice", before, "want", l.nice, "error", err)
		return []string{fmt.Sprintf("the scheduling priority could not be raised to nice %d (%v): on a busy machine frames may pass without a verdict; give the service CAP_SYS_NICE or LimitNICE=%d", l.nice, err, 20-l.nice)}
	}
	log.Debug("scheduling priority set", "nice", l.nice, "before", before)
	return nil
}

// priorityCheck tries to raise the scheduling priority of one thread, which ends afterwards.
func priorityCheck() check {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- priority.SetThread(priority.Default)
	}()
	c := tried("scheduling priority", <-result, false, fmt.Sprintf("nice %d can be set", priority.Default),
		"on a busy machine the dataplane may not run for longer than --heartbeat, and frames then pass without a verdict, or are dropped in groups that fail closed",
		fmt.Sprintf("give the container or service CAP_SYS_NICE, or LimitNICE=%d", 20-priority.Default))
	if note := autogroup(); c.OK && note != "" {
		c.Detail += "; " + note
	}
	return c
}

// autogroup returns a note where nice values count within a session only (sched(7), "The autogroup feature").
func autogroup() string {
	on, err := os.ReadFile("/proc/sys/kernel/sched_autogroup_enabled")
	if err != nil || strings.TrimSpace(string(on)) != "1" {
		return ""
	}
	if sid, err := unix.Getsid(0); err != nil || sid == 0 {
		return ""
	}
	return "the kernel groups processes by session (kernel.sched_autogroup_enabled=1): outside of a service manager's control groups, the priority counts within the session only"
}
