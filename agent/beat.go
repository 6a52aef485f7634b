package agent

import (
	"os"
	"path/filepath"
	"time"
)

// beatFile is a file whose modification time is when the agent last ran while it enforced
// something: after a crash, it gives the period without an agent.
type beatFile struct {
	path string // "" for no file
	// before is when the previous run last enforced something, until that is reported; zero if it did not.
	before time.Time
}

func newBeatFile(folder, node string) *beatFile {
	b := &beatFile{}
	if folder != "" {
		b.path = filepath.Join(folder, "enforced-"+fileName(node))
	}
	return b
}

// open reads the file of the previous run. The caller holds the lock of the folder.
func (b *beatFile) open() {
	if b.path == "" {
		return
	}
	if info, err := os.Stat(b.path); err == nil {
		b.before = info.ModTime()
	}
}

// touch updates the file while the agent enforces something and removes it otherwise.
func (b *beatFile) touch(now time.Time, enforces bool) {
	switch {
	case b.path == "":
	case !enforces && b.before.IsZero():
		_ = os.Remove(b.path)
	case enforces:
		// An error only costs a report after the next crash.
		if err := os.Chtimes(b.path, now, now); os.IsNotExist(err) {
			if os.WriteFile(b.path, nil, 0o600) == nil {
				_ = os.Chtimes(b.path, now, now)
			}
		}
	}
}
