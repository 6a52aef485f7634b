package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// found is a file of the plugin folder.
type found struct {
	name, path string
	id         fileID
	changed    time.Time // last change of content, owner or permissions
	executable bool
}

// plugin returns the plugin in the file.
func (f *found) plugin() Plugin {
	p := File(f.path)
	p.Name = f.name
	return p
}

// fileID identifies one content of a file.
type fileID struct {
	dev, ino uint64
	size     int64
	written  int64 // ns since the epoch
}

// refusal is an error for which a file is not executed. It names the file and what to do.
type refusal struct{ text string }

// Error implements error.
func (r refusal) Error() string { return r.text }

// File returns the plugin in a file, which is executed only if its owner and permissions are safe.
func File(path string) Plugin {
	return Plugin{Name: nameOf(filepath.Base(path)), Path: path, guarded: true}
}

// nameOf returns the name of a plugin: that of its file, with unprintable characters escaped.
func nameOf(file string) string {
	if q := strconv.Quote(file); q != `"`+file+`"` {
		return q[1 : len(q)-1]
	}
	return file
}

// Find lists the files of a plugin folder by name. Hidden and irregular files are skipped. A folder that
// others than its
// owner may write is refused, because its content affects verdicts.
func Find(dir string) ([]Plugin, error) {
	files, err := scan(dir)
	if err != nil {
		return nil, err
	}
	var out []Plugin
	for _, f := range files {
		out = append(out, File(f.path))
	}
	return out, nil
}

// scan is Find with the data to detect changes.
func scan(dir string) ([]found, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	if err == nil {
		err = ownersOnly(dir, info)
	}
	var entries []fs.DirEntry
	if err == nil {
		entries, err = os.ReadDir(dir) // by name
	}
	if err != nil {
		return nil, fmt.Errorf("plugin folder: %w", err)
	}
	var out []found
	for _, e := range entries {
		f := found{name: nameOf(e.Name()), path: filepath.Join(dir, e.Name())}
		info, err := os.Stat(f.path)
		if strings.HasPrefix(f.name, ".") || err == nil && !info.Mode().IsRegular() || e.Type()&fs.ModeSymlink == 0 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil { // else a dangling link, which its start reports
			f.id, f.changed = identify(info)
			f.executable = info.Mode().Perm()&0o111 != 0
		}
		out = append(out, f)
	}
	return out, nil
}

// ownersOnly checks that only the owner, who must be root or this process's user, may write a file or folder.
func ownersOnly(path string, info os.FileInfo) error {
	if !trusted(info) {
		return refusal{path + " belongs to neither root nor the user that sluice runs as: change the owner with chown"}
	}
	if info.Mode().Perm()&0o022 != 0 {
		return refusal{fmt.Sprintf("%s is writable by others (%s): use chmod go-w", path, info.Mode().Perm())}
	}
	return nil
}

// openPlugin opens a plugin's file to be executed. The checks apply to the open descriptor.
func openPlugin(p *Plugin) (*os.File, error) {
	f, err := openFile(p.Path)
	if err != nil {
		return nil, err
	}
	if !p.guarded {
		return f, nil
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = refusal{p.Path + " is not a regular file: a plugin is an executable"}
	case info.Mode().Perm()&0o111 == 0:
		err = refusal{fmt.Sprintf("%s is not executable (%s): use chmod +x, or move it elsewhere if it is no plugin", p.Path, info.Mode().Perm())}
	default:
		err = ownersOnly(p.Path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
