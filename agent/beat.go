package agent

import (
	"os"
	"path/filepath"
	"time"
)

// beatFile is a file whose time of modification is when the agent last ran while it enforced
// something: after a crash, the period without an agent is known from it.
type beatFile struct {
	path string // "" keeps none
	// before is when the previous run enforced something last, until that is reported; zero where it did not.
	before time.Time
}

func newBeatFile(folder, node string) *beatFile {
	b := &beatFile{}
	if folder != "" {
		b.path = filepath.Join(folder, "enforced-"+fileName(node))
	}
	return b
}

// open reads what the previous run left. The caller has the folder to itself.
func (b *beatFile) open() {
	if b.path == "" {
		return
	}
	if info, err := os.Stat(b.path); err == nil {
		b.before = info.ModTime()
	}
}

// touch writes down that the agent enforces something; where it does not there is no file.
func (b *beatFile) touch(now time.Time, enforces bool) {
	switch {
	case b.path == "":
	case !enforces && b.before.IsZero():
		_ = os.Remove(b.path)
	case enforces:
		// A failure costs a report after the next crash, nothing now.
		if err := os.Chtimes(b.path, now, now); os.IsNotExist(err) {
			if os.WriteFile(b.path, nil, 0o600) == nil {
				_ = os.Chtimes(b.path, now, now)
			}
		}
	}
}
