// Package hostmode watches workloads that live in their host's network: their packets cannot be told
// from those of others, so their sockets are watched instead. A tracepoint tells of every TCP
// connection, and sockets are listed every few seconds, which alone sees only what lasts. What is seen becomes
// the same records as the engine's, judged by the same policy. Nothing is ever refused here, and no
// application is named: no byte of a connection is read.
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

// Note is what is to be said wherever a mode of such a workload is shown.
const Note = "watched, never refused: host network"

// Config is how sockets are watched. The zero value is useful.
type Config struct {
	// Every is how often sockets are listed; 3 s if 0.
	Every time.Duration
	// MaxConnections bounds the connections that are remembered; 65,536 if 0.
	MaxConnections int
	// NoTrace does without the tracepoint.
	NoTrace bool
	Logger  *slog.Logger
}

// Workload is one workload in its host's network.
type Workload struct {
	ID string
	// Endpoint is its number in records.
	Endpoint uint32
	// NetNS is the path of the host's network namespace.
	NetNS string
	// Containers are the whole ids of its containers; none means the processes that are in no container.
	Containers []string
}

// Watcher watches the sockets of some workloads.
type Watcher struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{}
	// settled is closed when there was something to watch and its sockets were listed.
	settled chan struct{}

	mu      sync.Mutex // guards everything below
	table   *table
	sources map[source]holder
	hurried time.Time // when sockets were listed before their time
	owners  *owners
	policy  *policy.Table // nil before the first
	spaces  map[uint32]*space
	gone    []uint32 // spaces that are not watched any more
	note    string
	records []flow.Record
	spare   []flow.Record // the other half of Drain's exchange
	lossy   bool          // a record found no room since the last Drain
	n       counts
}

// space is one network namespace that is watched.
type space struct {
	ino  uint32
	path string
	// workloads by container id; "" has what is in no container.
	workloads map[string]Workload
	listeners map[listener]uint32  // to the process, 0 where it is not known
	own       map[packet.Addr]bool // addresses of the namespace itself
	pids      map[uint32]uint32    // processes of sockets, by the inodes of the last listing
	// suspects are connections that the last listing saw and the tracepoint did not tell.
	suspects map[tuple]bool
	// listed counts the times that its sockets were listed.
	listed uint32
	traced bool
	// opens is what the kernel had counted when watching began, seen what we have since.
	opens, seen uint64
	missed      uint64
}

type listener struct {
	proto uint8
	port  uint16
}

// counts are counters since New.
type counts struct {
	sessions, local, unowned, full, dropped, lost, lists, failed uint64
}

// maxRecords bounds the records that wait for Drain.
const maxRecords = 65_536

// New makes a watcher; Run does the work.
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
	w := &Watcher{cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), settled: make(chan struct{}), table: newTable(cfg.MaxConnections), sources: map[source]holder{}, owners: newOwners(), spaces: map[uint32]*space{}}
	w.note = Note
	return w
}

// Watch says which workloads there are; the list replaces the one before.
func (w *Watcher) Watch(list []Workload) {
	spaces := map[uint32]*space{}
	for _, x := range list {
		ino, err := inode(x.NetNS)
		if err != nil {
			continue // its process has ended; the source says so in a moment
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
			w.owners.learn(c, x.NetNS)
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
			w.end(k, c, flow.PhaseClosed, time.Now().UnixNano())
		}
	}
}

// Apply puts a policy into force: open connections are judged again.
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

// Drain gives every record that waits to fn, and counts them. Where others found no room since the
// last call these are marked as lossy. One goroutine calls it.
func (w *Watcher) Drain(fn func(*flow.Record)) int {
	w.mu.Lock()
	list := w.records
	w.records = w.spare[:0]
	lossy := w.lossy
	w.lossy = false
	w.mu.Unlock()
	for i := range list {
		list[i].Lossy = list[i].Lossy || lossy
		fn(&list[i])
	}
	n := len(list)
	clear(list)
	w.mu.Lock()
	w.spare = list
	w.mu.Unlock()
	return n
}

// Note says how the workloads are watched, for whoever shows a mode.
func (w *Watcher) Note() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.note
}

// Settled is closed when the first workloads are watched: from then on nothing of theirs is missed that
// can be seen at all.
func (w *Watcher) Settled() <-chan struct{} { return w.settled }

// Counters are the watcher's, by name. "missed" are the TCP connections that the kernel counted and
// we did not see.
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
		"hostmode.table_full": w.n.full, "hostmode.records_dropped": w.n.dropped, "hostmode.events_lost": w.n.lost, "hostmode.missed": missed,
		"hostmode.lists": w.n.lists, "hostmode.lists_failed": w.n.failed, "hostmode.namespaces": uint64(len(w.spaces)), "hostmode.traced": traced,
	}
}

// Run watches until ctx ends.
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
		w.follow(t)
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

// busy says whether there is anything to watch.
func (w *Watcher) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.spaces) > 0
}

// tracer tells of sockets as they change.
type tracer interface {
	watch(ino uint32) error
	unwatch(ino uint32)
	run(fn func(*socketsEvent))
	lost() uint64
	close()
}

// noTracer stands for the tracepoint that cannot be had.
type noTracer struct{}

func (noTracer) watch(uint32) error      { return nil }
func (noTracer) unwatch(uint32)          {}
func (noTracer) run(func(*socketsEvent)) {}
func (noTracer) lost() uint64            { return 0 }
func (noTracer) close()                  {}

// trace opens the tracepoint, or says what it costs that it cannot be had.
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
	w.log.Warn("sockets of the host are only listed: short connections are missed", "every", w.cfg.Every, "error", err)
	return noTracer{}
}

// follow tells the tracepoint which namespaces are watched now.
func (w *Watcher) follow(t tracer) {
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
			w.log.Warn("sockets of a host's network are only listed", "netns", s.path, "error", err)
			continue
		}
		s.traced = true
	}
}
