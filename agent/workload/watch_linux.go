package workload

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// tracked is one followed namespace.
type tracked struct {
	name string
	ino  uint64
	// reported is the workload yielded last; nil while it waits.
	reported *Workload
	// why it waits, as last logged.
	why string
}

// watcher is one run of NetNS.Watch. Everything but subs runs on its caller's goroutine.
type watcher struct {
	src   *NetNS
	yield func(Event) bool
	fs    *fsnotify.Watcher
	subs  *subscriptions
	own   uint64 // the agent's own namespace
	nss   map[string]*tracked
	dirty map[uint64]bool // namespaces, by inode, whose interfaces changed
	inDir bool            // the directory itself is watched
	file  *refile         // the workloads file; nil without
	again <-chan time.Time
	note  string // about the file, as last reported
	// young counts the scans with a name that is not mounted yet.
	young int
}

func newWatcher(s *NetNS) (*watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("file notification: %w", err)
	}
	subs, err := newSubscriptions()
	if err != nil {
		fs.Close()
		return nil, err
	}
	w := &watcher{src: s, fs: fs, subs: subs, nss: map[string]*tracked{}, dirty: map[uint64]bool{}}
	w.own, _ = nsInode("/proc/self/ns/net")
	if s.cfg.File != "" {
		w.file = newRefile(s.cfg.File, s.file)
		w.again = time.After(0) // it may have changed since it was read
	}
	// The parent reports the creation of the directory; without it the poll does.
	_ = fs.Add(filepath.Dir(s.cfg.Dir))
	return w, nil
}

func (w *watcher) close() {
	w.fs.Close()
	w.subs.close()
}

// run gathers notifications for a moment and scans, until ctx ends.
func (w *watcher) run(ctx context.Context) {
	poll := time.NewTicker(w.src.cfg.Poll)
	defer poll.Stop()
	var settle <-chan time.Time
	all := false
	for {
		if settle == nil && w.young > 0 && w.young < 50 {
			settle, all = time.After(100*time.Millisecond), true
		}
		select {
		case <-ctx.Done():
			return
		case e := <-w.fs.Events:
			if !w.concerns(e) && !w.reread(e.Name) {
				continue
			}
			all = true
		case <-w.again:
			if !w.reread("") {
				continue
			}
			all = true
		case <-w.fs.Errors:
			w.reread("")
			all = true // events were lost: scan everything
		case ino := <-w.subs.changed:
			w.dirty[ino] = true
		case <-poll.C:
			w.reread("")
			all = true
		case <-settle:
			settle = nil
			if !w.scan(all) {
				return
			}
			all = false
			continue
		}
		if settle == nil {
			settle = time.After(w.src.cfg.Settle)
		}
	}
}

// reread applies a changed workloads file if it is valid. A change in a directory is given by its name.
func (w *watcher) reread(name string) bool {
	if w.file == nil || name != "" && !w.file.concerns(name) {
		return false
	}
	_ = w.fs.Add(filepath.Dir(w.file.path)) // no effect if it is watched; needed if it was replaced
	descs, changed, again := w.file.readChange(time.Now())
	if w.again = nil; again > 0 {
		w.again = time.After(again)
	}
	if changed {
		w.src.descs = descs
		w.src.cfg.Logger.Info("workloads file read again", "file", w.file.path, "entries", len(descs))
	}
	return changed || w.file.note != w.note
}

// reportNote reports what is wrong with the workloads file, or that it is valid again.
func (w *watcher) reportNote() bool {
	if w.file == nil || w.file.note == w.note {
		return true
	}
	w.note = w.file.note // the agent logs it
	return w.yield(Event{Kind: Noted, About: w.file.path, Note: w.note})
}

func (w *watcher) concerns(e fsnotify.Event) bool {
	if e.Name == w.src.cfg.Dir {
		w.inDir = false // replaced: another directory under the same name
		return true
	}
	return filepath.Dir(e.Name) == w.src.cfg.Dir && e.Op&^fsnotify.Chmod != 0
}

// scan compares the namespaces with the reported ones and yields the difference. With all, every
// namespace is read again, else new and dirty ones. False ends the watch.
func (w *watcher) scan(all bool) bool {
	if !w.reportNote() {
		return false
	}
	if !w.inDir {
		w.inDir = w.fs.Add(w.src.cfg.Dir) == nil
	}
	there, unmounted := w.list()
	if unmounted {
		w.young++
	} else {
		w.young = 0
	}
	for _, name := range sortedKeys(w.nss) {
		t := w.nss[name]
		if there[name] != t.ino && !w.forget(t) {
			return false
		}
	}
	for _, name := range sortedKeys(there) {
		t, known := w.nss[name]
		if !known {
			t = &tracked{name: name, ino: there[name]}
			w.nss[name] = t
		}
		if (!known || all || w.dirty[t.ino]) && !w.readNamespace(t, known) {
			return false
		}
	}
	clear(w.dirty)
	return true
}

// list returns the wanted namespaces and their inodes, and whether there is a name without a namespace
// mounted on it yet.
func (w *watcher) list() (map[string]uint64, bool) {
	there, unmounted := map[string]uint64{}, false
	for _, name := range names(w.src.cfg.Dir) {
		if _, ok := w.src.wanted(name); !ok {
			continue
		}
		ino, err := nsInode(filepath.Join(w.src.cfg.Dir, name))
		if err != nil {
			unmounted = true
			continue
		}
		if ino != w.own {
			there[name] = ino
		}
	}
	return there, unmounted
}

func (w *watcher) forget(t *tracked) bool {
	delete(w.nss, t.name)
	w.subs.remove(t.ino)
	if t.reported == nil {
		return true
	}
	return w.yield(Event{Kind: Removed, Workload: Workload{ID: t.reported.ID}})
}

// readNamespace reads a namespace and yields changes.
func (w *watcher) readNamespace(t *tracked, known bool) bool {
	path := filepath.Join(w.src.cfg.Dir, t.name)
	if !known {
		if err := w.subs.add(path, t.ino); err != nil {
			w.src.cfg.Logger.Warn("namespace changes are polled", "namespace", t.name, "error", err)
		}
	}
	c, err := inspect(path, t.ino, t.reported, false)
	switch {
	case err != nil:
		w.wait(t, err.Error())
		return true
	case t.reported != nil:
		// What happens inside does not end its enforcement.
	case len(c.interfaces) == 0 || !c.addressed:
		w.wait(t, "no interface but lo has an address other than link-local")
		return true
	case !w.src.named(t.name) && isHost(path, t.ino, c.links, w.paths()):
		w.wait(t, "it is the host side of other namespaces, not a workload, unless --netns or the workloads file names it")
		return true
	}
	d, _ := w.src.wanted(t.name)
	now := w.src.describe(t.name, d, c.interfaces)
	if t.reported != nil && reflect.DeepEqual(*t.reported, now) {
		return true
	}
	t.reported, t.why = &now, ""
	return w.yield(Event{Kind: Added, Workload: now})
}

// paths returns the paths of the namespaces that can be workloads.
func (w *watcher) paths() []string {
	out := make([]string, 0, len(w.nss))
	for _, name := range names(w.src.cfg.Dir) {
		if _, ok := w.src.wanted(name); ok {
			out = append(out, filepath.Join(w.src.cfg.Dir, name))
		}
	}
	return out
}

func (w *watcher) wait(t *tracked, why string) {
	if t.why == why {
		return
	}
	t.why = why
	w.src.cfg.Logger.Info("namespace waits", "namespace", t.name, "reason", why)
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
