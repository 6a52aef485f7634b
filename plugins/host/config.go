// Package host runs parser plugins: it starts each as a process without privileges,
// watches it, starts it again when it dies or hangs, and gives the engine's workers a detect.Remote that
// asks all of them. It parses nothing itself and knows no protocol.
package host

import (
	"log/slog"
	"time"
)

// Plugin is one executable.
type Plugin struct {
	// Name is used in logs and status; it need not be what the plugin calls itself.
	Name string
	Path string
	Args []string
	// Env is added to the little that the process gets.
	Env []string

	guarded bool // owner and permissions are checked before it is executed
}

// Config configures a host. Plugins or Dir is required; the zero value of everything else is usable.
type Config struct {
	// Plugins stand in order: earlier ones win between equally strong claims. Each of them must start.
	Plugins []Plugin
	// Dir is a folder of plugins, which follow those of Plugins by name; "" is none. A file in it that does not start keeps nothing
	// else from running. The folder is watched: files may be added, exchanged and removed.
	Dir string
	// Strict makes an executable of Dir that does not start an error of Start, and Dir is not watched.
	Strict bool
	// Known is a file in which the host remembers what the plugins of Dir had parsers for; "" is none.
	Known string
	// Numbers gives new applications their numbers; nil is a process that shares them with nobody.
	Numbers Numbers
	Logger  *slog.Logger
	// User is the account that plugins run as when the host runs as root; "" is nobody.
	User string
	// Deadline is how long a plugin may leave a message or a ping without an answer before it counts as hung;
	// 0 is 2 s.
	Deadline time.Duration
	// StartTimeout is how long it may take to start; 0 is 10 s.
	StartTimeout time.Duration
	// Wait is how long Start waits for the plugins of Dir, which start on after that; 0 is 2 s.
	Wait time.Duration
	// FirstDelay and LastDelay bound the wait before a restart, which doubles; 0 is 100 ms and 10 s.
	FirstDelay, LastDelay time.Duration
	// Restarts is how many times in a row a plugin is started again at these delays; 0 is 10. A plugin that ran for 30 s begins
	// anew.
	Restarts int
	// SlowDelay is the wait before each further restart, and the longest before one of a plugin that never ran; 0 is
	// one minute. A change of the file ends the wait.
	SlowDelay time.Duration
	// Poll is how often Dir is read, beside whenever the kernel reports a change; 0 is 2 s.
	Poll time.Duration
	// Settle is how long a file must stay as it is before it is used; 0 is 300 ms.
	Settle time.Duration
	// Drain is how long a plugin that another file replaced goes on with the sessions that it has; 0 is 12 s, which is longer
	// than any session is identified.
	Drain time.Duration
	// Memory is what a plugin's heap should stay below, in bytes (GOMEMLIMIT); 0 is 512 MiB. A quarter and 256 MiB
	// more is what it gets at most; then it dies. Its address space is limited to 8 times that, and 4 GiB at least.
	Memory int64
}

func (c *Config) defaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.User == "" {
		c.User = "nobody"
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
