package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/detect"
)

// Host runs plugins. It is safe for concurrent use.
type Host struct {
	cfg    Config
	ctx    context.Context // of all processes
	cancel context.CancelFunc
	wg     sync.WaitGroup
	folder *os.File // of the plugins' sockets, locked
	known  *known
	count  counters
	// accounts are those that its processes run as.
	accounts accounts
	fixed    []*process                 // those of Config.Plugins; not changed after Start
	set      atomic.Pointer[[]*process] // receive sessions, in order; the value is immutable

	mu      sync.Mutex
	askers  map[*asker]bool  // guarded by mu
	files   map[string]*file // of Config.Dir, by name; guarded by mu
	problem string           // why Config.Dir is unreadable; guarded by mu
}

var _ detect.Remotes = (*Host)(nil)

// counters are the counters of a host, for all plugins.
type counters struct {
	restarts, hung, protocol, failed, panics, running atomic.Uint64
	sessions, lost, refused                           atomic.Uint64
	messages, items, bytes, answers, latency, slowest atomic.Uint64
}

// Start starts the plugins and waits until each runs, except slow or failing ones of the folder, which are
// retried. If a plugin of Config.Plugins does not start, or the folder is unreadable, it returns an error
// and nothing runs.
func Start(ctx context.Context, cfg Config) (*Host, error) {
	cfg.defaults()
	if len(cfg.Plugins) == 0 && cfg.Dir == "" {
		return nil, errors.New("there are no plugins to run")
	}
	var files []found
	if cfg.Dir != "" {
		var err error
		if files, err = scan(cfg.Dir); err != nil {
			return nil, err
		}
		if cfg.Strict {
			files = slices.DeleteFunc(files, func(f found) bool { return !f.executable })
			if len(files) == 0 {
				return nil, fmt.Errorf("plugin folder: there is no executable in %s: a plugin is a file that may be executed (chmod +x)", cfg.Dir)
			}
		}
	}
	folder, err := openFolder()
	if err != nil {
		return nil, err
	}
	h := &Host{folder: folder, cfg: cfg, askers: map[*asker]bool{}, files: map[string]*file{}, known: openKnown(cfg.Known, cfg.Logger)}
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	for _, spec := range cfg.Plugins {
		p := h.newProcess(spec, false)
		h.fixed = append(h.fixed, p)
		p.begin()
	}
	h.rebuild()
	if cfg.Dir != "" {
		h.apply(files, time.Time{})
	}
	if err := h.await(); err != nil {
		h.Close()
		return nil, err
	}
	if cfg.Dir != "" && !cfg.Strict {
		h.wg.Go(func() { h.watchFolder(h.ctx) })
	}
	return h, nil
}

// await waits for the first start of each plugin, up to Config.Wait.
func (h *Host) await() error {
	var errs []error
	for _, p := range h.fixed {
		errs = append(errs, p.named(<-p.first))
	}
	var limit <-chan time.Time
	if !h.cfg.Strict {
		limit = time.After(h.cfg.Wait)
	}
	h.mu.Lock()
	var own []*process
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		own = append(own, h.files[name].cur)
	}
	h.mu.Unlock()
	for _, p := range own {
		select {
		case err := <-p.first:
			if h.cfg.Strict {
				errs = append(errs, p.named(err))
			}
		case <-limit:
			return errors.Join(errs...)
		}
	}
	return errors.Join(errs...)
}

// named adds the plugin's name to an error.
func (p *process) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("plugin %s: %w", p.spec.Name, err)
}

// Close stops all plugins and waits for them.
func (h *Host) Close() {
	h.cancel()
	h.wg.Wait()
	_ = os.RemoveAll(h.folder.Name())
	_ = h.folder.Close()
}

// Remote implements detect.Remotes.
func (h *Host) Remote(wake func()) detect.Remote {
	a := newAsker(h, wake)
	h.mu.Lock()
	h.askers[a] = true
	h.mu.Unlock()
	return a
}

// wake wakes all workers after a plugin started or ended.
func (h *Host) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a := range h.askers {
		a.nudge()
	}
}

// Status returns the status of each plugin, in order.
func (h *Host) Status() []Status {
	var out []Status
	for _, p := range h.fixed {
		out = append(out, p.status())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(h.files)) {
		out = append(out, h.files[name].status())
	}
	return out
}

// Warnings returns sentences on problems of plugins and what to do.
func (h *Host) Warnings() []string {
	var out []string
	h.mu.Lock()
	if h.problem != "" {
		out = append(out, h.problem+": running plugins continue")
	}
	h.mu.Unlock()
	for _, s := range h.Status() {
		if s.Warning != "" {
			out = append(out, fmt.Sprintf("plugin %s: %s", s.Name, s.Warning))
		}
	}
	return out
}

// Counters implements detect.Remotes.
func (h *Host) Counters(m map[string]uint64) {
	c := &h.count
	for _, x := range []struct {
		name string
		n    *atomic.Uint64
	}{
		{"running", &c.running}, {"restarts", &c.restarts}, {"hung", &c.hung}, {"protocol_violations", &c.protocol}, {"failed", &c.failed}, {"panics", &c.panics},
		{"sessions", &c.sessions}, {"lost_sessions", &c.lost}, {"refused_sessions", &c.refused},
		{"messages", &c.messages}, {"items", &c.items}, {"bytes", &c.bytes}, {"answers", &c.answers},
		{"latency_us_sum", &c.latency}, {"latency_us_max", &c.slowest},
	} {
		m["plugin."+x.name] += x.n.Load()
	}
}
