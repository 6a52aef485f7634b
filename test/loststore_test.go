package test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// file returns the path of a file in the data folder.
func (p *program) file(name string) string { return filepath.Join(p.dir, "data", name) }

// copyStore copies the store, or a copy of it back.
func copyStore(t *testing.T, to, from string) {
	t.Helper()
	if err := copyFile(to, from); err != nil {
		t.Fatal(err)
	}
}

// damage overwrites the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := len(data) / 8; i < len(data); i++ {
		data[i] = 0xa5
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readOnly makes the data folder read-only until undo is called.
func (p *program) readOnly() (undo func()) {
	p.t.Helper()
	data := filepath.Join(p.dir, "data")
	if err := unix.Mount(data, data, "", unix.MS_BIND, ""); err != nil {
		p.t.Fatal(err)
	}
	undo = func() { _ = unix.Unmount(data, unix.MNT_DETACH) }
	p.t.Cleanup(undo)
	if err := unix.Mount("", data, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		p.t.Fatal(err)
	}
	return undo
}

// TestLostStore: whatever becomes of the store while Sluice is down, what is protected stays protected, and
// status, log and health show it, until a user accepts the store.
func TestLostStore(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	d := l.start()
	l.learned()
	d.stop()
	old, good := filepath.Join(l.dir, "old.db"), filepath.Join(l.dir, "good.db")
	db := l.file("sluice.db")
	copyStore(t, old, db)
	d = l.start()
	l.run("mode", "set", "web", "api", "protect")
	l.refused("protect", l.intruder, 9090)
	d.stop()
	copyStore(t, good, db)
	address := freePort(t)
	l.args = append(l.args, "--listen", address)
	for _, c := range []struct {
		name string
		harm func() (undo func())
		want string // in status and health; "" where nothing is wrong
	}{
		{"no store", func() func() { os.Remove(db); return nil }, "sluice store accept"},
		{"an older store", func() func() { copyStore(t, db, old); return nil }, "sluice store accept"},
		{"a damaged store", func() func() { damage(t, db); return nil }, "is damaged"},
		{"a folder in its place", func() func() { os.Remove(db); _ = os.Mkdir(db, 0o700); return func() { os.Remove(db) } }, "is a directory"},
		{"a read-only data folder", l.readOnly, "read-only file system"},
		{"a damaged policy file and no store", func() func() { l.damagePolicy(); os.Remove(db); return nil }, "sluice store accept"},
	} {
		undo := c.harm()
		d := l.start()
		l.stillProtected(c.name, address, c.want)
		d.kill()
		if undo != nil {
			undo()
		}
		os.Remove(db)
		copyStore(t, db, good)
	}
	os.Remove(db)
	d = l.start()
	l.stillProtected("no store again", address, "sluice store accept")
	if out := l.run("store", "accept"); !strings.Contains(out, "accepted") {
		t.Errorf("store accept: %s", out)
	}
	until(t, patience, "everything passes once the store is accepted", func() error {
		c, err := l.intruder.TryDial("tcp4", l.api.Addr("tcp4", 9090), time.Second)
		if err == nil {
			c.Close()
		}
		return err
	})
	d.stop()
}

// damagePolicy damages the stored policy, but for its copy.
func (p *program) damagePolicy() {
	p.t.Helper()
	files, _ := filepath.Glob(p.file("policy-*.json"))
	if len(files) != 1 {
		p.t.Fatalf("policy files %v, want one", files)
	}
	damage(p.t, files[0])
}

// stillProtected checks that what was refused is refused, that what was allowed works, and what is shown.
func (l *lab) stillProtected(when, address, want string) {
	l.t.Helper()
	until(l.t, patience, when+": both protected", func() error {
		if out := l.run("workloads"); strings.Count(out, " inline") < 2 {
			return errors.New(out)
		}
		return nil
	})
	l.refused(when, l.intruder, 9090)
	if err := l.get(l.web, "tcp4"); err != nil {
		l.t.Errorf("%s: what is allowed: %v", when, err)
	}
	until(l.t, patience, when+": shown in status and health", func() error {
		out := l.run("status")
		_, code, err := fetchURL("http://" + address + "/healthz")
		if err != nil || (code != http.StatusOK) != (want != "") || !strings.Contains(out, want) {
			return fmt.Errorf("health %d, %v, status without %q:\n%s", code, err, want, out)
		}
		return nil
	})
	if strings.HasPrefix(want, "sluice") || want == "" {
		return
	}
	if _, err := l.try("mode", "set", "web", "discover"); err == nil || !strings.Contains(err.Error(), "nothing can be changed") {
		l.t.Errorf("%s: a change: %v", when, err)
	}
}
