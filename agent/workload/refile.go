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

// A workloads file is read again when it changes. Whoever writes it in place leaves it half written for a moment, so it
// counts only when it has been left alone for a while, and what cannot be used leaves in force what
// it said before.
const (
	fileQuiet = 300 * time.Millisecond
	// fileOpenEnd is for a file that does not end with the end of a line: more may come.
	fileOpenEnd = 3 * time.Second
)

// refile follows the changes of one workloads file. The watcher's goroutine uses it.
type refile struct {
	path string
	// used is the content that counts, refused the one that was found unusable last.
	used, refused []byte
	fresh         []byte    // content that is new; nil: none is
	since         time.Time // of fresh
	gone          time.Time // since when it cannot be read; zero: it can
	note          string
}

func newRefile(path string, used []byte) *refile {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return &refile{path: path, used: used}
}

// concerns says whether a change in a directory may be the file's. Names with two dots are how mounted
// configurations are swapped.
func (r *refile) concerns(name string) bool {
	return filepath.Dir(name) == filepath.Dir(r.path) && (name == r.path || strings.HasPrefix(filepath.Base(name), ".."))
}

// look reads the file. descs are valid with changed; again is when to look once more, zero is at the next change.
func (r *refile) look(now time.Time) (descs []Description, changed bool, again time.Duration) {
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
		err = fmt.Errorf("workloads file %s: it is empty: write `workloads: []` if it is to describe nothing", r.path)
	}
	if err != nil {
		r.refused, r.note = data, keeps(err)
		return nil, false, 0
	}
	r.used, r.refused, r.note = data, nil, ""
	return descs, true, 0
}

// quietOf is how long a content must have been left alone.
func quietOf(data []byte) time.Duration {
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return fileOpenEnd
	}
	return fileQuiet
}

func keeps(err error) string { return err.Error() + "; what it said before counts" }

// unreadable notes that the file cannot be read, if that stays so: it may be being replaced.
func (r *refile) unreadable(err error, now time.Time) (again time.Duration) {
	if r.gone.IsZero() {
		r.gone = now
	}
	if left := fileQuiet - now.Sub(r.gone); left > 0 {
		return left
	}
	if _, serr := os.Stat(r.path); errors.Is(serr, fs.ErrNotExist) {
		err = fmt.Errorf("workloads file %s: it is gone", r.path)
	}
	r.fresh, r.refused, r.note = nil, nil, keeps(err)
	return 0
}
