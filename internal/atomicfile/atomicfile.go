// Package atomicfile replaces files atomically: a reader of the path finds the old or the new content,
// never a part of either, and a failed replacement leaves nothing behind. It is not for files that are
// appended to.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Suffix is the suffix of the temporary file, in the same folder. It remains only if the process was killed;
// the next replacement of the same path removes it.
const Suffix = ".new"

// Write replaces the file at path by data, also across a loss of power: when Write returns nil, the
// new content is on the disk under its name.
func Write(path string, data []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.Commit()
}

// File is a replacement that is being written. It must end by Commit, CommitUnsynced or Abort. Replacements of
// the same path must not overlap.
type File struct {
	*os.File
	path string
}

// Create begins to replace the file at path by one with these permissions (before umask).
func Create(path string, mode fs.FileMode) (*File, error) {
	// A temporary file of a killed process may have other permissions, or be a link: it is not opened.
	if err := os.Remove(path + Suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(path+Suffix, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

// Commit renames the replacement into place, as Write does. After an error the old file is unchanged.
func (f *File) Commit() error {
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Abort())
	}
	if err := f.CommitUnsynced(); err != nil {
		return err
	}
	// rename(2) is on the disk once the directory is (fsync(2), "Calling fsync() does not
	// necessarily ensure ...").
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// CommitUnsynced is Commit without waiting for the disk: the content survives the process, and after a loss of
// power the file may be empty. It is for content that the reader does not need.
func (f *File) CommitUnsynced() error {
	if err := f.Close(); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), f.path); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Abort drops the replacement; the old file stays.
func (f *File) Abort() error { return errors.Join(f.Close(), os.Remove(f.Name())) }
