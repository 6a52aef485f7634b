package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFolders removes what a process left that was killed, and nothing that is in use, young or a link.
func TestFolders(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	old := time.Now().Add(-time.Hour)
	at := func(name string) string { return filepath.Join(os.TempDir(), folderPrefix+name) }
	for _, name := range []string{"left", "used", "young"} {
		if err := os.MkdirAll(filepath.Join(at(name), "plugin-dir1"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(at("used"), at("link")); err != nil {
		t.Fatal(err)
	}
	used, err := lockFolder(at("used"))
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	for _, name := range []string{"left", "used"} {
		if err := os.Chtimes(at(name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := openFolder()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for name, want := range map[string]bool{"left": false, "used": true, "young": true, "link": true} {
		if _, err := os.Lstat(at(name)); (err == nil) != want {
			t.Errorf("%s: there is %v, want %v", name, err == nil, want)
		}
	}
}
