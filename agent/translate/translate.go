// Package translate finds out where connections go whose destination is translated beyond the
// workload's interface: to a Kubernetes service, a node's port, a published port of a container. It
// asks the connection trackers of the namespaces through which the workloads' traffic goes, remembers
// the answers as services for policy, and stores them for the next run.
package translate

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

const (
	// recentSessions is how many sessions' answers are remembered at least: all records of one go to one place.
	recentSessions = 32 << 10
	// plainFor is how long a destination counts as not translated after an answer.
	plainFor = 3 * time.Second
	// maxPlain bounds those destinations.
	maxPlain = 4096
)

// Tracker is the connection tracker of a namespace; conntrack.Tracker.
type Tracker interface {
	Get(e *conntrack.Entry, of *conntrack.Tuple) error
	List(fn func(*conntrack.Entry)) error
	Close()
}

// Config is what a Resolver needs; all may be zero.
type Config struct {
	// File stores the services for the next run; "" for none.
	File string
	// Open connects to the tracker of the namespace at a path; conntrack.Open if nil.
	Open   func(path string) (Tracker, error)
	Logger *slog.Logger
}

// Resolver answers where connections go. One goroutine calls Server; the other methods may be called from
// any.
type Resolver struct {
	cfg     Config
	log     *slog.Logger
	paths   atomic.Pointer[[]string]
	changed chan struct{}
	dirty   chan struct{} // not stored yet

	// For Server's goroutine.
	opened   map[string]Tracker // nil for one that cannot be opened
	sessions [2]map[uint64]answer
	plain    map[destination]time.Time
	entry    conntrack.Entry

	mu    sync.Mutex // guards known
	known book
}

// answer is where a session goes.
type answer struct {
	addr packet.Addr
	port uint16
	ok   bool
}

// destination is what clients connect to.
type destination struct {
	addr  packet.Addr
	port  uint16
	proto uint8
}

// New returns a Resolver with the services of the previous run.
func New(cfg Config) *Resolver {
	if cfg.Open == nil {
		cfg.Open = func(path string) (Tracker, error) { return conntrack.Open(path) }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Resolver{cfg: cfg, log: cfg.Logger, changed: make(chan struct{}, 1), dirty: make(chan struct{}, 1), opened: map[string]Tracker{}, plain: map[destination]time.Time{}, known: book{}}
	r.sessions = [2]map[uint64]answer{{}, {}}
	r.load()
	return r
}

// Watch sets the namespaces, by path, through which the workloads' traffic goes.
func (r *Resolver) Watch(paths []string) { r.paths.Store(&paths) }

// Changed receives when Services has changed.
func (r *Resolver) Changed() <-chan struct{} { return r.changed }

// Services returns the addresses that are known to be translated, in order.
func (r *Resolver) Services() []policy.ServiceSpec {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known.list()
}

// Server returns where the connection of a record goes that a workload opened, as the translation beyond
// its interface shows; false if it goes to its destination.
func (r *Resolver) Server(f *flow.Record) (addr packet.Addr, port uint16, ok bool) {
	if f.Dir != packet.Egress || f.Loopback || f.Proto != packet.ProtoTCP && f.Proto != packet.ProtoUDP {
		return addr, 0, false
	}
	a, known := r.remembered(f.Session)
	if !known {
		a = r.ask(f)
		r.remember(f.Session, a)
	}
	return a.addr, a.port, a.ok
}

// remembered returns the answer of an earlier record of a session.
func (r *Resolver) remembered(session uint64) (a answer, ok bool) {
	for _, m := range r.sessions {
		if a, ok = m[session]; ok {
			return a, true
		}
	}
	return answer{}, false
}

func (r *Resolver) remember(session uint64, a answer) {
	if session == 0 {
		return
	}
	if len(r.sessions[0]) >= recentSessions {
		r.sessions[0], r.sessions[1] = make(map[uint64]answer, recentSessions/4), r.sessions[0]
	}
	r.sessions[0][session] = a
}

// ask asks the trackers about a connection. One that was refused at this end is in none of them: it
// would have gone where the latest one went.
func (r *Resolver) ask(f *flow.Record) answer {
	d := destination{f.Server, f.ServerPort, f.Proto}
	now := time.Now()
	if at, ok := r.plain[d]; ok && now.Sub(at) < plainFor {
		return answer{}
	}
	if f.Outcome == flow.OutcomeDenied {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.known.latest(d)
	}
	t := conntrack.Tuple{Src: f.Client, Dst: f.Server, SrcPort: f.ClientPort, DstPort: f.ServerPort, Proto: f.Proto, IPv6: f.IPv6}
	for _, k := range r.trackers() {
		if k.Get(&r.entry, &t) != nil || r.entry.Tuples[0] != t {
			continue
		}
		if a := r.addTarget(&r.entry, now); a.ok {
			return a
		}
	}
	if len(r.plain) >= maxPlain {
		clear(r.plain)
	}
	r.plain[d] = now
	return answer{}
}

// addTarget remembers the target of an entry of a tracker whose destination was translated.
func (r *Resolver) addTarget(e *conntrack.Entry, now time.Time) answer {
	to, back := &e.Tuples[0], &e.Tuples[1]
	if to.Dst == back.Src && to.DstPort == back.SrcPort {
		return answer{} // not translated
	}
	r.mu.Lock()
	news := r.known.add(destination{to.Dst, to.DstPort, to.Proto}, destination{back.Src, back.SrcPort, to.Proto}, now)
	r.mu.Unlock()
	if news {
		r.notify()
	}
	return answer{back.Src, back.SrcPort, true}
}

func (r *Resolver) notify() {
	for _, c := range []chan struct{}{r.changed, r.dirty} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// trackers returns the trackers of the watched namespaces. Of a new one all entries are read: connections
// that are open show services that no client of this run has used.
func (r *Resolver) trackers() (out []Tracker) {
	p := r.paths.Load()
	if p == nil {
		return nil
	}
	for path, k := range r.opened {
		if !slices.Contains(*p, path) {
			if k != nil {
				k.Close()
			}
			delete(r.opened, path)
		}
	}
	for _, path := range *p {
		k, ok := r.opened[path]
		if !ok {
			k = r.open(path)
			r.opened[path] = k
		}
		if k != nil {
			out = append(out, k)
		}
	}
	return out
}

// open returns the tracker of a namespace, nil if there is none.
func (r *Resolver) open(path string) Tracker {
	k, err := r.cfg.Open(path)
	if err == nil {
		now := time.Now()
		if err = k.List(func(e *conntrack.Entry) { r.addTarget(e, now) }); err != nil {
			k.Close()
		}
	}
	if err != nil {
		r.log.Warn("translated addresses of this namespace are not known: connections to services are shown and judged by the services' addresses", "namespace", path, "error", err)
		return nil
	}
	return k
}

// Close closes the trackers. Server is not called any more.
func (r *Resolver) Close() {
	for path, k := range r.opened {
		if k != nil {
			k.Close()
		}
		delete(r.opened, path)
	}
}

// netipOf returns an address and port as the standard library has it.
func netipOf(a packet.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Netip(), port) }
