package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// known stores the transports of the folder's plugins as of their last run, across restarts of this
// process. So sessions count as unidentified because of a plugin that does not start, but not because of a
// file that never was one.
type known struct {
	path string // "" stores nothing
	log  *slog.Logger
	mu   sync.Mutex
	of   map[string]transports // by name; guarded by mu
}

// transports are the transports of a plugin's parsers.
type transports struct {
	TCP bool `json:"tcp"`
	UDP bool `json:"udp"`
}

// openKnown reads the file. An unreadable one counts as missing.
func openKnown(path string, log *slog.Logger) *known {
	k := &known{path: path, log: log, of: map[string]transports{}}
	if path == "" {
		return k
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &k.of)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("protocols of plugins unreadable, starting empty", "path", path, "error", err)
	}
	if k.of == nil || err != nil {
		k.of = map[string]transports{}
	}
	return k
}

func (k *known) get(name string) transports {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of[name]
}

func (k *known) set(name string, t transports) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if was, ok := k.of[name]; !ok || was != t {
		k.of[name] = t
		k.save()
	}
}

// retain deletes all but some.
func (k *known) retain(keep func(name string) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.of)
	maps.DeleteFunc(k.of, func(name string, _ transports) bool { return !keep(name) })
	if len(k.of) != n {
		k.save()
	}
}

// save writes the file. The lock is held.
func (k *known) save() {
	if k.path == "" {
		return
	}
	b, err := json.Marshal(k.of)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(k.path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(k.path+".new", append(b, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(k.path+".new", k.path)
	}
	if err != nil {
		k.log.Warn("protocols of plugins not saved", "error", fmt.Errorf("write %s: %w", k.path, err))
	}
}
