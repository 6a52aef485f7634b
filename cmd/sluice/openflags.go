package main

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluicenet/sluice/core/engine"
)

// openFlags are the settings for connections that are open and silent, and for how many are
// remembered.
type openFlags struct {
	idleTCP, idleUDP time.Duration
	atSwitch         string
	sessions         int
}

// Values of --open-at-switch.
const (
	openRefuse = "refuse"
	openKeep   = "keep"
)

// Idle times. RFC 5382 REQ-5 asks for 2 h 4 min for TCP, RFC 4787 REQ-5 for 2 min at least for UDP, better 5.
const (
	defaultIdleTCP = 2*time.Hour + 4*time.Minute
	defaultIdleUDP = 5 * time.Minute
	leastIdleTCP   = time.Minute
	leastIdleUDP   = 30 * time.Second
	mostIdle       = 7 * 24 * time.Hour
)

// Sizes of a table of sessions.
const (
	defaultSessions = 1 << 20
	leastSessions   = 1 << 10
	mostSessions    = 1 << 26
)

func (o *openFlags) add(fl *pflag.FlagSet) {
	fl.DurationVar(&o.idleTCP, "idle-tcp", defaultIdleTCP, "how long a silent TCP connection is remembered, also one that an end has half closed. One that a socket of the workload holds open is remembered for as long; any other is judged like a new one when it speaks again, and not refused for its age")
	fl.DurationVar(&o.idleUDP, "idle-udp", defaultIdleUDP, "the same for conversations over UDP")
	fl.StringVar(&o.atSwitch, "open-at-switch", openRefuse, "refuse or keep: what happens to open connections that no rule allows when their group is switched to protect, or when this program begins to enforce. Kept ones are violations until they end")
	fl.IntVar(&o.sessions, "sessions", defaultSessions, "how many sessions each table holds at most: a watched workload has a table of its own, enforced ones share one for each packet queue, and one workload gets at most 7/8 of it. A session takes about 1 KiB, so a full table of the default takes about 1 GiB; memory is allocated as sessions begin")
}

func (o *openFlags) check() error {
	switch {
	case o.idleTCP < leastIdleTCP || o.idleTCP > mostIdle:
		return fmt.Errorf("--idle-tcp %s: give a time from %s to %s", o.idleTCP, leastIdleTCP, mostIdle)
	case o.idleUDP < leastIdleUDP || o.idleUDP > mostIdle:
		return fmt.Errorf("--idle-udp %s: give a time from %s to %s", o.idleUDP, leastIdleUDP, mostIdle)
	case o.atSwitch != openRefuse && o.atSwitch != openKeep:
		return fmt.Errorf("--open-at-switch %q: give refuse or keep", o.atSwitch)
	case o.sessions < leastSessions || o.sessions > mostSessions:
		return fmt.Errorf("--sessions %d: give a number from %d to %d", o.sessions, leastSessions, mostSessions)
	}
	return nil
}

// apply sets them in the engine's configuration.
func (o *openFlags) apply(c engine.Config) engine.Config {
	c.Timeouts.Established, c.Timeouts.UDP = int64(o.idleTCP), int64(o.idleUDP)
	c.MaxSessions = o.sessions
	c.KeepOpen = o.atSwitch == openKeep
	return c
}
