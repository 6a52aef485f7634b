package appnames

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/internal/atomicfile"
)

// fileFormat is the version of the copy on disk.
const fileFormat = 1

type file struct {
	Format int               `json:"format"`
	Apps   map[string]app.ID `json:"apps"`
}

// restore loads the file, which need not exist.
func (n *Names) restore() error {
	if n.cfg.File == "" {
		return nil
	}
	data, err := os.ReadFile(n.cfg.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		return fmt.Errorf("%s: %w", n.cfg.File, err)
	}
	if f.Format != fileFormat {
		return fmt.Errorf("%s has format %d, this sluice reads %d", n.cfg.File, f.Format, fileFormat)
	}
	var errs []error
	for name, id := range f.Apps {
		errs = append(errs, n.register(name, id))
	}
	return errors.Join(errs...)
}

// save replaces the file if its contents differ.
func (n *Names) save() error {
	if n.cfg.File == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	data, err := json.MarshalIndent(file{fileFormat, n.ids}, "", "  ")
	if err != nil {
		return fmt.Errorf("names of applications: %w", err)
	}
	data = append(data, '\n')
	if old, err := os.ReadFile(n.cfg.File); err == nil && bytes.Equal(old, data) || err != nil && len(n.ids) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(n.cfg.File), 0o700); err != nil {
		return fmt.Errorf("names of applications: %w", err)
	}
	if err := atomicfile.Write(n.cfg.File, data, 0o600); err != nil {
		return fmt.Errorf("names of applications: %w", err)
	}
	return nil
}
