// Package host runs parser plugins: it starts each as a process without privileges,
// watches it, starts it again when it dies or hangs, and gives the engine's workers a detect.Remote that
// asks all of them. It parses nothing itself and knows no protocol.
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Plugin is one executable.
type Plugin struct {
	// Name stands in logs; it need not be what the plugin calls itself.
	Name string
	Path string
	Args []string
	// Env is added to the little that the process gets.
	Env []string
}

// Config says what a host runs. Only Plugins is required; the zero value of everything else is usable.
type Config struct {
	// Plugins stand in order: earlier ones win between equally strong claims.
	Plugins []Plugin
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
	// FirstDelay and LastDelay bound the wait before a restart, which doubles; 0 is 100 ms and 10 s.
	FirstDelay, LastDelay time.Duration
	// Restarts is how many times in a row a plugin is started again before it is given up; 0 is
	// 10. A plugin that ran for 30 s begins anew.
	Restarts int
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
	set(&c.FirstDelay, 100*time.Millisecond)
	set(&c.LastDelay, 10*time.Second)
	if c.Restarts == 0 {
		c.Restarts = 10
	}
	if c.Memory == 0 {
		c.Memory = 512 << 20
	}
}

// Find lists the executables of a plugin folder by name. Hidden files and what is not executable are
// passed over; a folder or file that others than its owner may write is refused, since its
// content decides what is let through.
func Find(dir string) ([]Plugin, error) {
	if err := guarded(dir); err != nil {
		return nil, fmt.Errorf("plugin folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("plugin folder: %w", err)
	}
	var out []Plugin
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := os.Stat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("plugin folder: %w", err)
		}
		if err != nil || strings.HasPrefix(e.Name(), ".") || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			continue
		}
		if err := guarded(path); err != nil {
			return nil, fmt.Errorf("plugin folder: %w", err)
		}
		out = append(out, Plugin{Name: e.Name(), Path: path})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// guarded says whether only the owner may write a file or folder.
func guarded(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !trusted(info) {
		return fmt.Errorf("%s belongs to neither root nor the user that sluice runs as: change that with chown", path)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s may be written by others (%s): take that away with chmod go-w", path, info.Mode().Perm())
	}
	return nil
}
