package atomicfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sluicenet/sluice/internal/atomicfile"
)

// content checks what a folder holds: names and contents.
func content(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			data = []byte(err.Error())
		}
		got[e.Name()] = string(data)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"first", "2", ""} {
		if err := atomicfile.Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		content(t, dir, map[string]string{"f": text})
	}
}

// A file that a killed process left lends the new one neither its permissions nor, as a link, its target.
func TestLeftOver(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "other")
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(outside, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, leave := range map[string]func() error{
		"wide": func() error { return os.WriteFile(path+atomicfile.Suffix, []byte("left over, and longer"), 0o644) },
		"link": func() error { return os.Symlink(outside, path+atomicfile.Suffix) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := leave(); err != nil {
				t.Fatal(err)
			}
			if err := atomicfile.Write(path, []byte("new"), 0o600); err != nil {
				t.Fatal(err)
			}
			content(t, dir, map[string]string{"f": "new"})
			if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
				t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
			}
		})
	}
	if data, _ := os.ReadFile(outside); string(data) != "other" {
		t.Errorf("the file behind the link holds %q", data)
	}
}

// After each kind of failure the old file is whole, and nothing is left beside it.
func TestFailures(t *testing.T) {
	fail := map[string]func(t *testing.T, path string) error{
		"aborted": func(_ *testing.T, path string) error {
			f, err := atomicfile.Create(path, 0o600)
			if err != nil {
				return err
			}
			_, _ = f.WriteString("half")
			return f.Abort()
		},
		"closed before": func(t *testing.T, path string) error {
			f, err := atomicfile.Create(path, 0o600)
			if err != nil {
				return err
			}
			f.Close()
			for what, commit := range map[string]func() error{"Commit": f.Commit, "CommitUnsynced": f.CommitUnsynced} {
				if commit() == nil {
					t.Errorf("%s of a closed file succeeded", what)
				}
			}
			return nil
		},
	}
	for name, run := range fail {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "f")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := run(t, path); err != nil {
				t.Error(err)
			}
			content(t, dir, map[string]string{"f": "old"})
		})
	}
	t.Run("folder in the way", func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := atomicfile.Write(path, []byte("new"), 0o600); err == nil {
			t.Error("a folder was replaced")
		}
		content(t, dir, map[string]string{"f": "read " + path + ": is a directory"})
	})
	t.Run("no folder", func(t *testing.T) {
		if err := atomicfile.Write(filepath.Join(t.TempDir(), "none", "f"), nil, 0o600); !os.IsNotExist(err) {
			t.Errorf("got %v, want that the folder does not exist", err)
		}
	})
}

// Readers find one content or the other, whole, however often it is replaced meanwhile.
func TestReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	long := make([]byte, 1<<16)
	for i := range long {
		long[i] = 'x'
	}
	if err := atomicfile.Write(path, long, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for i := range 200 {
			f, err := atomicfile.Create(path, 0o600)
			if err == nil {
				_, err = f.Write(long[:len(long)>>(i%2)])
			}
			if err == nil {
				err = f.CommitUnsynced()
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for {
		data, err := os.ReadFile(path)
		if err != nil || len(data) != len(long) && len(data) != len(long)/2 {
			t.Fatalf("read %d bytes, %v", len(data), err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}
