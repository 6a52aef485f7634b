package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/sluicenet/sluice/core/app"
)

// Names gives numbers to the names that plugins bring, and remembers them in a file, so that
// rules and history mean the same after a restart. A number follows from its name, so that machines agree
// without asking each other but where two names fall on one. The zero value remembers nothing.
type Names struct {
	file string
	mu   sync.Mutex
	ids  map[string]app.ID // guarded by mu
}

// namesFormat is the file's version.
const namesFormat = 1

type namesFile struct {
	Format int               `json:"format"`
	Apps   map[string]app.ID `json:"apps"`
}

// OpenNames reads a file, which need not exist, and makes its names known to package app.
func OpenNames(file string) (*Names, error) {
	n := &Names{file: file, ids: map[string]app.ID{}}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return nil, fmt.Errorf("names of plugins: %w", err)
	}
	var f namesFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("names of plugins: %s: %w", file, err)
	}
	if f.Format != namesFormat {
		return nil, fmt.Errorf("names of plugins: %s has format %d, this sluice reads %d", file, f.Format, namesFormat)
	}
	for name, id := range f.Apps {
		if err := app.Give(name, id); err != nil {
			return nil, fmt.Errorf("names of plugins: %s: %w", file, err)
		}
		n.ids[name] = id
	}
	return n, nil
}

// ID is the number of a name: the listed one, or one of a plugin's, given now if it is new.
func (n *Names) ID(name string) (app.ID, error) {
	if err := app.CheckName(name); err != nil {
		return app.Unknown, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, err := app.Parse(name); err == nil {
		return id, nil
	}
	for attempt := range 64 {
		id := app.Suggest(name, attempt)
		if app.Give(name, id) != nil {
			continue
		}
		if n.ids == nil {
			n.ids = map[string]app.ID{}
		}
		n.ids[name] = id
		return id, n.save()
	}
	return app.Unknown, fmt.Errorf("application %s: no number is free", name)
}

// save writes the file anew, beside the old one and then in its place.
func (n *Names) save() error {
	if n.file == "" {
		return nil
	}
	data, err := json.MarshalIndent(namesFile{namesFormat, n.ids}, "", "  ")
	if err != nil {
		return fmt.Errorf("names of plugins: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(n.file), 0o750); err != nil {
		return fmt.Errorf("names of plugins: %w", err)
	}
	tmp := n.file + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o640); err != nil {
		return fmt.Errorf("names of plugins: %w", err)
	}
	if err := os.Rename(tmp, n.file); err != nil {
		return fmt.Errorf("names of plugins: %w", err)
	}
	return nil
}
