// Package host runs parser plugins: it starts each as an unprivileged process, watches it, restarts it
// after a crash or hang, and provides the engine's workers with a detect.Remote that queries all of
// them. It does not parse and contains no protocol.
package host

import (
	"log/slog"
	"time"
)

// Plugin is one executable.
type Plugin struct {
	// Name is used in logs and status; it may differ from the plugin's own name.
	Name string
	Path string
	Args []string
	// Env is added to the minimal environment of the process.
	Env []string

	guarded bool // owner and permissions are checked before it is executed
}

// Config configures a host. Plugins or Dir is required; the zero value of everything else is usable.
type Config struct {
	// Plugins are in order of precedence: earlier ones win between equally strong claims. Each must start.
	Plugins []Plugin
	// Dir is a folder of plugins, which follow those of Plugins by name; "" is none. A file
	// in it that does not start does not affect others. The folder is watched: files may be added, replaced
	// and removed.
	Dir string
	// Strict makes it an error of Start if an executable of Dir does not start, and disables the watch of Dir.
	Strict bool
	// Known is a file that stores the protocols of the plugins of Dir; "" is none.
	Known string
	// Numbers assigns numbers to new applications; nil assigns them for this process alone.
	Numbers Numbers
	Logger  *slog.Logger
	// User is the account that plugins run as when the host runs as root; "" is one for each process that
	// nothing else has.
	User string
	// Deadline is the time to answer a message or a ping, after which a plugin is hung; 0 is 2 s.
	Deadline time.Duration
	// StartTimeout bounds a plugin's start; 0 is 10 s.
	StartTimeout time.Duration
	// Wait is how long Start waits for the plugins of Dir, which start on after that; 0 is 2 s.
	Wait time.Duration
	// FirstDelay and LastDelay bound the wait before a restart, which doubles; 0 is 100 ms and 10 s.
	FirstDelay, LastDelay time.Duration
	// Restarts is how many times in a row a plugin is started again at these delays; 0 is 10. A run of
	// 30 s resets the count.
	Restarts int
	// SlowDelay is the delay of each further restart, and the maximum for a plugin that never ran; 0 is one
	// minute. A change of the file ends the delay.
	SlowDelay time.Duration
	// Poll is the interval of reading Dir, in addition to the kernel's notifications; 0 is 2 s.
	Poll time.Duration
	// Settle is how long a file must be unchanged before it is used; 0 is 300 ms.
	Settle time.Duration
	// Drain is how long a replaced plugin keeps its sessions; 0 is 12 s, longer than any identification.
	Drain time.Duration
	// Memory is the soft limit of a plugin's heap in bytes (GOMEMLIMIT); 0 is 512 MiB. Its hard limit is a
	// quarter and 256 MiB more. Its address space is limited to 8 times that, at least 4 GiB.
	Memory int64
}

func (c *Config) defaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Numbers == nil {
		c.Numbers = ownNumbers{}
	}
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Deadline, 2*time.Second)
	set(&c.StartTimeout, 10*time.Second)
	set(&c.Wait, 2*time.Second)
	set(&c.FirstDelay, 100*time.Millisecond)
	set(&c.LastDelay, 10*time.Second)
	set(&c.SlowDelay, time.Minute)
	set(&c.Poll, 2*time.Second)
	set(&c.Settle, 300*time.Millisecond)
	set(&c.Drain, 12*time.Second)
	if c.Restarts == 0 {
		c.Restarts = 10
	}
	if c.Memory == 0 {
		c.Memory = 512 << 20
	}
}
