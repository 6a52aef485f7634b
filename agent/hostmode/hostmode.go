// Package hostmode watches workloads in the host's network: their packets cannot be distinguished from
// those of others, so it watches their sockets instead. A tracepoint reports every TCP connection;
// listing sockets every few seconds shows only longer ones. Connections become the same records as the
// engine's, judged by the same policy. It refuses nothing and identifies no application, because it
// reads no payload.
package hostmode

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// Note is shown with the mode of such a workload.
const Note = "watched, never refused: host network"

// Config configures a Watcher. The zero value is useful.
type Config struct {
	// Every is the interval between listings of sockets; 3 s if 0.
	Every time.Duration
	// MaxConnections bounds the table of connections; 65,536 if 0.
	MaxConnections int
	// NoTrace disables the tracepoint.
	NoTrace bool
	Logger  *slog.Logger
}

// Workload is one workload in the host's network.
type Workload struct {
	ID string
	// Endpoint is its number in records.
	Endpoint uint32
	// NetNS is the path of the host's network namespace.
	NetNS string
	// Containers are the full ids of its containers; none means the processes outside containers.
	Containers []string
}

// Watcher watches the sockets of some workloads.
type Watcher struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{}
	// settled is closed after the first listing of a watched namespace's sockets.
	settled chan struct{}

	mu      sync.Mutex // guards everything below
	table   *table
	sources sources
	hurried time.Time // when the last early listing was
	owners  *owners
	policy  *policy.Table // nil before the first
	spaces  map[uint32]*space
	gone    []uint32 // spaces that are no longer watched
	note    string
	records recordQueue
	n       counts
}

// space is one network namespace that is watched.
type space struct {
	ino  uint32
	path string
	// workloads by container id; "" has what is in no container.
	workloads map[string]Workload
	listeners map[listener]uint32  // to the process, 0 if unknown
	own       map[packet.Addr]bool // addresses of the namespace itself
	pids      map[uint32]uint32    // processes of sockets, by the inodes of the last listing
	// suspects are connections in the last listing that the tracepoint did not report.
	suspects map[tuple]bool
	// listed counts the listings of its sockets.
	listed uint32
	traced bool
	// opens is the kernel's counter when watching began, seen the connections since.
	opens, seen uint64
	missed      uint64
}

type listener struct {
	proto uint8
	port  uint16
}

// counts are counters since New.
type counts struct {
	sessions, local, unowned, full, lost, lists, failed uint64
}

// New returns a watcher, which Run runs.
func New(cfg Config) *Watcher {
	if cfg.Every == 0 {
		cfg.Every = 3 * time.Second
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 65_536
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), settled: make(chan struct{}), table: newTable(cfg.MaxConnections), sources: newSources(cfg.MaxConnections), owners: newOwners(), spaces: map[uint32]*space{}}
	w.note = Note
	return w
}

// Watch sets the workloads to watch, in place of the previous ones.
func (w *Watcher) Watch(list []Workload) {
	spaces := map[uint32]*space{}
	for _, x := range list {
		ino, err := inode(x.NetNS)
		if err != nil {
			continue // its process has ended; the source reports that soon
		}
		s := spaces[ino]
		if s == nil {
			s = &space{ino: ino, path: x.NetNS, workloads: map[string]Workload{}, listeners: map[listener]uint32{}}
			spaces[ino] = s
		}
		if len(x.Containers) == 0 {
			s.workloads[""] = x
		}
		for _, c := range x.Containers {
			s.workloads[c] = x
		}
	}
	w.mu.Lock()
	for ino, s := range w.spaces {
		now := spaces[ino]
		if now == nil {
			w.endSpace(s)
			w.gone = append(w.gone, ino)
			continue
		}
		s.path, s.workloads = now.path, now.workloads
		spaces[ino] = s
	}
	w.spaces = spaces
	for _, x := range list {
		for _, c := range x.Containers {
			w.owners.cacheMount(c, x.NetNS)
		}
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// endSpace ends the connections of a namespace. w.mu is held.
func (w *Watcher) endSpace(s *space) {
	for k, c := range w.table.conns {
		if k.space == s.ino {
			w.endConn(k, c, flow.PhaseClosed, time.Now().UnixNano())
		}
	}
}

// Apply applies a policy: open connections are judged again.
func (w *Watcher) Apply(t *policy.Table) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = t
	for k, c := range w.table.conns {
		if c.over {
			continue
		}
		before := c.verdict
		if w.judge(&k, &c); c.verdict != before {
			w.record(&k, &c, flow.Update)
		}
		w.table.conns[k] = c
	}
}

// Drain calls fn for every queued record and returns their number. If records were dropped since the
// last call, these are marked as lossy. One goroutine calls it.
func (w *Watcher) Drain(fn func(*flow.Record)) int {
	w.mu.Lock()
	list, lossy := w.records.exchange()
	w.mu.Unlock()
	for i := range list {
		list[i].Lossy = list[i].Lossy || lossy
		fn(&list[i])
	}
	n := len(list)
	w.mu.Lock()
	w.records.giveBack(list)
	w.mu.Unlock()
	return n
}

// Note returns how the workloads are watched, to be shown with their mode.
func (w *Watcher) Note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.note
}

// Settled is closed when the first workloads are watched: from then on every visible connection is recorded.
func (w *Watcher) Settled() <-chan struct{} { return w.settled }

// Counters returns the watcher's counters by name. "missed" are the TCP connections that the kernel
// counted and the watcher did not see.
func (w *Watcher) Counters() map[string]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	missed, traced := uint64(0), uint64(0)
	for _, s := range w.spaces {
		missed += s.missed
		if s.traced {
			traced++
		}
	}
	return map[string]uint64{
		"hostmode.sessions": w.n.sessions, "hostmode.open": uint64(len(w.table.conns)), "hostmode.local": w.n.local, "hostmode.unowned": w.n.unowned,
		"hostmode.table_full": w.n.full, "hostmode.records_dropped": w.records.dropped, "hostmode.events_lost": w.n.lost, "hostmode.missed": missed,
		"hostmode.lists": w.n.lists, "hostmode.lists_failed": w.n.failed, "hostmode.namespaces": uint64(len(w.spaces)), "hostmode.traced": traced,
	}
}

// Run watches sockets until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	var t tracer
	var wg sync.WaitGroup
	var once sync.Once
	defer wg.Wait()
	ticker := time.NewTicker(w.cfg.Every)
	defer ticker.Stop()
	for {
		if t == nil && w.busy() {
			if t = w.trace(); t != nil {
				wg.Go(func() { t.run(w.event) })
				defer t.close()
			}
		}
		w.updateTracer(t)
		w.list()
		if t != nil {
			once.Do(func() { close(w.settled) })
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-ticker.C:
		}
	}
}

// busy reports whether there is anything to watch.
func (w *Watcher) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.spaces) > 0
}

// tracer reports changes of sockets.
type tracer interface {
	watch(ino uint32) error
	unwatch(ino uint32)
	run(fn func(*socketsEvent))
	lost() uint64
	close()
}

// noTracer replaces an unavailable tracepoint.
type noTracer struct{}

func (noTracer) watch(uint32) error      { return nil }
func (noTracer) unwatch(uint32)          {}
func (noTracer) run(func(*socketsEvent)) {}
func (noTracer) lost() uint64            { return 0 }
func (noTracer) close()                  {}

// trace opens the tracepoint, or logs the consequence if it is unavailable.
func (w *Watcher) trace() tracer {
	var t tracer
	err := errSwitchedOff
	if !w.cfg.NoTrace {
		t, err = openTracer()
	}
	if err == nil {
		return t
	}
	w.mu.Lock()
	w.note = Note + "; connections that last less than " + w.cfg.Every.String() + " may be missed"
	w.mu.Unlock()
	w.log.Warn("tracepoint unavailable, short host connections are missed", "every", w.cfg.Every, "error", err)
	return noTracer{}
}

// updateTracer passes the watched namespaces to the tracepoint.
func (w *Watcher) updateTracer(t tracer) {
	if t == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ino := range w.gone {
		t.unwatch(ino)
	}
	w.gone = nil
	w.n.lost = t.lost()
	if _, none := t.(noTracer); none {
		return
	}
	for _, s := range w.spaces {
		if s.traced {
			continue
		}
		if err := t.watch(s.ino); err != nil {
			w.log.Warn("tracepoint unavailable for a network namespace", "netns", s.path, "error", err)
			continue
		}
		s.traced = true
	}
}
