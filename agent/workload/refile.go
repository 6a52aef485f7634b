package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A workloads file is read again when it changes. A writer in place leaves it incomplete for a moment, so a
// change applies only after a quiet time, and an invalid file leaves the previous content in force.
const (
	fileQuiet = 300 * time.Millisecond
	// fileOpenEnd is for a file without a final newline: more may follow.
	fileOpenEnd = 3 * time.Second
)

// refile follows the changes of one workloads file. The watcher's goroutine uses it.
type refile struct {
	path string
	// used is the content in force, refused the last invalid one.
	used, refused []byte
	fresh         []byte    // new content; nil for none
	since         time.Time // of fresh
	gone          time.Time // since when it is unreadable; zero: it is readable
	note          string
}

func newRefile(path string, used []byte) *refile {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return &refile{path: path, used: used}
}

// concerns reports whether a change in a directory may affect the file. Mounted configurations are replaced
// by names with two dots.
func (r *refile) concerns(name string) bool {
	return filepath.Dir(name) == filepath.Dir(r.path) && (name == r.path || strings.HasPrefix(filepath.Base(name), ".."))
}

// readChange reads the file. descs are valid with changed; again is when to read it again, zero for the next
// change.
func (r *refile) readChange(now time.Time) (descs []Description, changed bool, again time.Duration) {
	data, err := readFile(r.path)
	if err != nil {
		return nil, false, r.unreadable(err, now)
	}
	r.gone = time.Time{}
	switch {
	case bytes.Equal(data, r.used):
		r.fresh, r.refused, r.note = nil, nil, ""
		return nil, false, 0
	case r.refused != nil && bytes.Equal(data, r.refused):
		return nil, false, 0
	case r.fresh == nil || !bytes.Equal(data, r.fresh):
		r.fresh, r.since = data, now
	}
	if left := quietOf(data) - now.Sub(r.since); left > 0 {
		return nil, false, left
	}
	r.fresh = nil
	descs, err = parseFile(r.path, data)
	if err == nil && len(descs) == 0 && !bytes.Contains(data, []byte("[]")) {
		err = fmt.Errorf("workloads file %s: it is empty: write `workloads: []` for no entries", r.path)
	}
	if err != nil {
		r.refused, r.note = data, withKept(err)
		return nil, false, 0
	}
	r.used, r.refused, r.note = data, nil, ""
	return descs, true, 0
}

// quietOf returns the quiet time that a content needs.
func quietOf(data []byte) time.Duration {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return fileOpenEnd
	}
	return fileQuiet
}

func withKept(err error) string { return err.Error() + "; the previous content stays in force" }

// unreadable handles an unreadable file, if that lasts: it may be in replacement.
func (r *refile) unreadable(err error, now time.Time) (again time.Duration) {
	if r.gone.IsZero() {
		r.gone = now
	}
	if left := fileQuiet - now.Sub(r.gone); left > 0 {
		return left
	}
	if _, serr := os.Stat(r.path); errors.Is(serr, fs.ErrNotExist) {
		err = fmt.Errorf("workloads file %s: it was removed", r.path)
	}
	r.fresh, r.refused, r.note = nil, nil, withKept(err)
	return 0
}
