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
	cur     *process // receives new sessions
	next    *process // of newer content, until it runs; nil for none
}

// status returns the status of the current process, and why the next one has not replaced it.
func (f *file) status() Status {
	s := f.cur.status()
	if f.next != nil {
		if n := f.next.status(); n.Warning != "" {
			s.Last, s.Warning = n.Error, "its new file is not in use, the previous process continues: "+n.Warning
		}
	}
	return s
}

// rebuild builds the set of plugins that receive sessions. The lock is held, or the host is not shared yet.
func (h *Host) rebuild() {
	set := slices.Clone(h.fixed)
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		set = append(set, h.files[name].cur)
	}
	h.set.Store(&set)
}

// apply updates the plugins to the folder's. Files changed after settled may be incomplete and wait for the
// next call, which is due if apply returns true; the zero time means that none wait.
func (h *Host) apply(list []found, settled time.Time) (again bool) {
	h.mu.Lock()
	there := map[string]bool{}
	for i := range list {
		x := &list[i]
		if slices.ContainsFunc(h.fixed, func(p *process) bool { return p.spec.Name == x.name }) {
			x.name = "folder/" + x.name // metrics need unique names
		}
		there[x.name] = true
		f := h.files[x.name]
		switch {
		case f != nil && f.id == x.id && f.changed.Equal(x.changed):
		case !settled.IsZero() && x.changed.After(settled) && !x.changed.After(time.Now()):
			again = true
		case f == nil:
			h.addFile(x)
		default:
			h.exchange(f, x)
		}
	}
	for name, f := range h.files {
		if !there[name] {
			h.cfg.Logger.Info("plugin removed", "plugin", name)
			f.endPlugin()
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

// addFile starts the plugin of a new file. The lock is held.
func (h *Host) addFile(x *found) {
	p := h.newProcess(x.plugin(), true)
	t := h.known.get(x.name)
	p.tcp.Store(t.TCP)
	p.udp.Store(t.UDP)
	h.files[x.name] = &file{id: x.id, changed: x.changed, cur: p}
	p.begin()
}

// exchange handles a changed file. The previous process continues until the new one runs. The lock is held.
func (h *Host) exchange(f *file, x *found) {
	same := f.id == x.id
	f.id, f.changed = x.id, x.changed
	if same {
		// Owner or permissions: running processes are not affected.
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

// endPlugin ends the processes of a name.
func (f *file) endPlugin() {
	f.cur.stop()
	if f.next != nil {
		f.next.stop()
	}
}

// handOver replaces the current process by the next one, which inherits its counters. The host's lock is held.
func (f *file) handOver() {
	was := f.cur
	f.cur, f.next = f.next, nil
	f.cur.items.Add(was.items.Load())
	f.cur.panics.Add(was.panics.Load())
	n := was.status().Restarts
	f.cur.updateStatus(func(s *Status) { s.Restarts += n })
}

// takeOver replaces the previous process by a started one.
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

// succeed reports whether an ended process is not restarted, because newer content of its file replaces it.
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

// watchFolder watches the folder until ctx ends, by the kernel's events and by polling, which also detects
// that the folder itself is replaced or on another machine.
func (h *Host) watchFolder(ctx context.Context) {
	var events chan fsnotify.Event // nil: no events
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close()
		if err := w.Add(h.cfg.Dir); err == nil {
			events = w.Events
		}
		h.wg.Go(func() {
			for range w.Errors { //nolint:revive // including an overflow, which polling covers
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
			} else if !quick { // there may be many
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
