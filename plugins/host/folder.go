package host

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// file is a name in the plugin folder.
type file struct {
	id      fileID
	changed time.Time
	cur     *process // that sessions are given to
	next    *process // of a newer content, until it runs; nil where there is none
}

// status is the current process, and what keeps the next one from taking its place.
func (f *file) status() Status {
	s := f.cur.status()
	if f.next != nil {
		if n := f.next.status(); n.Warning != "" {
			s.Last, s.Warning = n.Error, "its new file is not in use, the process of the file before goes on: "+n.Warning
		}
	}
	return s
}

// rebuild makes the set of plugins that sessions are given to. The lock is held, or nobody else has the host yet.
func (h *Host) rebuild() {
	set := slices.Clone(h.fixed)
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		set = append(set, h.files[name].cur)
	}
	h.set.Store(&set)
}

// apply makes the plugins those of the folder. Files that changed after a time may be in the making and wait for the next
// call, which is due when apply returns true; the zero time lets none wait.
func (h *Host) apply(list []found, settled time.Time) (again bool) {
	h.mu.Lock()
	there := map[string]bool{}
	for i := range list {
		x := &list[i]
		if slices.ContainsFunc(h.fixed, func(p *process) bool { return p.spec.Name == x.name }) {
			x.name = "folder/" + x.name // metrics need a name for each
		}
		there[x.name] = true
		f := h.files[x.name]
		switch {
		case f != nil && f.id == x.id && f.changed.Equal(x.changed):
		case !settled.IsZero() && x.changed.After(settled) && !x.changed.After(time.Now()):
			again = true
		case f == nil:
			h.add(x)
		default:
			h.exchange(f, x)
		}
	}
	for name, f := range h.files {
		if !there[name] {
			h.cfg.Logger.Info("plugin removed", "plugin", name)
			f.end()
			delete(h.files, name)
		}
	}
	h.rebuild()
	h.problem = ""
	h.mu.Unlock()
	h.known.retain(func(name string) bool { return there[name] })
	h.wake()
	return again
}

// add begins the plugin of a new file. The lock is held.
func (h *Host) add(x *found) {
	p := h.newProcess(x.plugin(), true)
	t := h.known.get(x.name)
	p.tcp.Store(t.TCP)
	p.udp.Store(t.UDP)
	h.files[x.name] = &file{id: x.id, changed: x.changed, cur: p}
	p.begin()
}

// exchange takes a file's change in. The process of the content before goes on until the new one runs. The lock is held.
func (h *Host) exchange(f *file, x *found) {
	same := f.id == x.id
	f.id, f.changed = x.id, x.changed
	if same {
		// Owner or permissions: nothing to those who run.
		f.cur.retry()
		if f.next != nil {
			f.next.retry()
		}
		return
	}
	h.cfg.Logger.Info("plugin file changed", "plugin", x.name)
	if f.next != nil {
		f.next.stop()
	}
	q := h.newProcess(x.plugin(), true)
	q.tcp.Store(f.cur.tcp.Load())
	q.udp.Store(f.cur.udp.Load())
	if f.next = q; f.cur.live.Load() == nil {
		f.cur.stop()
		f.handOver()
	}
	q.begin()
}

// end ends the processes of a name.
func (f *file) end() {
	f.cur.stop()
	if f.next != nil {
		f.next.stop()
	}
}

// handOver puts the next process in the place of the current one, with what was counted. The host's lock is held.
func (f *file) handOver() {
	was := f.cur
	f.cur, f.next = f.next, nil
	f.cur.items.Add(was.items.Load())
	f.cur.panics.Add(was.panics.Load())
	n := was.status().Restarts
	f.cur.note(func(s *Status) { s.Restarts += n })
}

// takeOver puts a process that has come up in the place of the one before it.
func (h *Host) takeOver(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.files[p.spec.Name]
	if f == nil || f.next != p {
		return
	}
	was := f.cur
	f.handOver()
	h.rebuild()
	was.retire()
	p.log.Info("plugin exchanged")
}

// succeed reports whether a process that has ended is not to be started again, because a newer content of its file takes its
// place.
func (h *Host) succeed(p *process) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.files[p.spec.Name]
	if !p.folder || f == nil || f.cur != p || f.next == nil {
		return false
	}
	f.handOver()
	h.rebuild()
	return true
}

// watchFolder follows the folder until ctx ends: the kernel's events make it quick, and reading it from time to time
// finds what they do not show, as when the folder itself is replaced or on another machine.
func (h *Host) watchFolder(ctx context.Context) {
	var events chan fsnotify.Event // nil: none come
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if err := w.Add(h.cfg.Dir); err == nil {
			events = w.Events
		}
		h.wg.Go(func() {
			for range w.Errors { //nolint:revive // an overflow among them, which reading the folder makes up for
			}
		})
	}
	due, quick := time.After(h.cfg.Poll), false
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
			} else if !quick { // many may come
				due, quick = time.After(h.cfg.Settle), true
			}
			continue
		case <-due:
		}
		due, quick = time.After(h.cfg.Poll), false
		list, err := scan(h.cfg.Dir)
		if err != nil {
			h.mu.Lock()
			h.problem = err.Error()
			h.mu.Unlock()
		} else if h.apply(list, time.Now().Add(-h.cfg.Settle)) {
			due, quick = time.After(h.cfg.Settle), true
		}
	}
}
