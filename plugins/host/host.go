package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/detect"
)

// Host runs plugins. Its methods may be called from any goroutine.
type Host struct {
	cfg       Config
	processes []*process
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	folder    *os.File // of the plugins' sockets, locked
	count     counters

	mu     sync.Mutex
	askers map[*asker]bool // guarded by mu
}

var _ detect.Remotes = (*Host)(nil)

// counters are what a host counts, all plugins together.
type counters struct {
	restarts, hung, garbage, givenUp, running         atomic.Uint64
	sessions, lost, refused                           atomic.Uint64
	messages, items, bytes, answers, latency, slowest atomic.Uint64
}

// Status is how one plugin is.
type Status struct {
	Name     string
	Running  bool
	GivenUp  bool
	PID      int
	Restarts uint64
	Apps     []string // what it recognises
	Error    string   // why it is not running, or was not last time
	// Last is why it stopped last, also while it runs again; "" where it never did.
	Last string
	Path string
	User string
	// Since is when this life began; zero while it does not run.
	Since time.Time
	// Items counts the pieces of payload that it was given.
	Items uint64
}

// Start starts the plugins and waits until each runs. A plugin that cannot be started at all is an
// error: nothing runs then.
func Start(ctx context.Context, cfg Config) (*Host, error) {
	cfg.defaults()
	if len(cfg.Plugins) == 0 {
		return nil, errors.New("there are no plugins to run")
	}
	folder, err := openFolder()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &Host{folder: folder, cfg: cfg, cancel: cancel, askers: map[*asker]bool{}}
	first := make(chan error, len(cfg.Plugins))
	for i := range cfg.Plugins {
		p := &process{h: h, index: i, spec: &h.cfg.Plugins[i], log: cfg.Logger.With("plugin", cfg.Plugins[i].Name)}
		h.processes = append(h.processes, p)
	}
	for _, p := range h.processes {
		h.wg.Go(func() { p.run(ctx, first) })
	}
	var errs []error
	for range h.processes {
		if err := <-first; err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		h.Close()
		return nil, errors.Join(errs...)
	}
	return h, nil
}

// Close ends all plugins and waits for them.
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

// wake tells all workers that a plugin came or went.
func (h *Host) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a := range h.askers {
		a.nudge()
	}
}

// streams lists the live streams to a process.
func (h *Host) streams(l *live) []*stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*stream
	for a := range h.askers {
		if st := a.links[l.p.index].stream.Load(); st != nil && st.live == l {
			out = append(out, st)
		}
	}
	return out
}

// Status is how each plugin is, in order.
func (h *Host) Status() []Status {
	out := make([]Status, len(h.processes))
	for i, p := range h.processes {
		out[i] = p.status()
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
		{"running", &c.running}, {"restarts", &c.restarts}, {"hung", &c.hung}, {"garbage", &c.garbage}, {"given_up", &c.givenUp},
		{"sessions", &c.sessions}, {"lost_sessions", &c.lost}, {"refused_sessions", &c.refused},
		{"messages", &c.messages}, {"items", &c.items}, {"bytes", &c.bytes}, {"answers", &c.answers},
		{"latency_us_sum", &c.latency}, {"latency_us_max", &c.slowest},
	} {
		m["plugin."+x.name] += x.n.Load()
	}
}

// problem is an error of one plugin.
func (p *process) problem(step string, err error) error {
	return fmt.Errorf("plugin %s: %s: %w", p.spec.Name, step, err)
}
