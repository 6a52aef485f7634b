// Package engine owns the endpoints of a node and the workers that judge their frames: it
// attaches and detaches, moves sessions between workers, puts policies into force and adds up
// what was counted. What happens to a frame is core/path's. It knows backends, parsers and
// policy by their contracts only.
package engine

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/sidecar"
	"github.com/sluicenet/sluice/parsers"
)

// Config is what an engine needs; Parsers is required.
type Config struct {
	Parsers *parsers.Registry
	// Remote identifies sessions elsewhere, with what Parsers does not hold; nil: all are in process.
	Remote detect.Remotes
	// MaxSessions bounds each worker's session table; 0 is a million.
	MaxSessions int
	Logger      *slog.Logger
	// Now is the clock, ns since the epoch; nil is the real one.
	Now func() int64
}

// Listener is a listening socket of a workload.
type Listener = path.Listener

// Engine is the dataplane of one node. Its methods may be called from any
// goroutine, but for Drain and Threats, which one collector calls.
//
// There are three kinds of lock. Each endpoint has one, which is held while the endpoint is
// attached, changed or detached, however long a backend or a worker takes. Engine.mu guards
// the lists, and is held for moments only: never while a backend, the kernel or a worker is
// waited for. Workers that stand still together are locked in their order. Apply takes none.
type Engine struct {
	cfg     Config
	shared  path.Shared
	running atomic.Pointer[[]*worker] // a copy of workers, to be woken
	recalls recalls
	lost    chan uint32 // endpoints whose queue ended by itself
	wg      sync.WaitGroup

	mu      sync.Mutex // guards what follows
	slots   map[uint32]*slot
	workers map[backend.Queue]*worker
	made    uint64                    // workers
	retired []*worker                 // ended ones whose records may wait still
	gone    map[string]uint64         // counters of ended workers
	rings   map[ringKey]backend.Stats // of queues of ended workers
	meshes  map[string]*sidecar.Mesh  // by workload, those with a sidecar
	closed  bool
}

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("engine is closed")

// lostWaiting bounds the endpoints that wait to be reported as lost.
const lostWaiting = 4096

// New makes an engine without endpoints.
func New(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = func() int64 { return time.Now().UnixNano() }
	}
	e := &Engine{cfg: cfg, slots: map[uint32]*slot{}, workers: map[backend.Queue]*worker{}, gone: map[string]uint64{},
		rings: map[ringKey]backend.Stats{}, lost: make(chan uint32, lostWaiting)}
	e.recalls.init()
	e.running.Store(&[]*worker{})
	return e
}

// Apply puts a policy into force and waits for nothing: it is one store, and waking. Live
// sessions are judged again at their next packet, which comes to a worker whatever was decided
// before, and by a sweep within a second. Flows that pass in the kernel are brought back
// behind it; Enforced reports when that is done.
func (e *Engine) Apply(t *policy.Table) {
	for {
		old := e.shared.Policy.Load()
		next := &path.Policy{Table: t, Generation: 1}
		if old != nil && old.Generation+1 != 0 {
			next.Generation = old.Generation + 1
		}
		if e.shared.Policy.CompareAndSwap(old, next) {
			break
		}
	}
	e.wake()
	e.recalls.ask(e)
}

// wake has every worker look at what is new.
func (e *Engine) wake() {
	for _, w := range *e.running.Load() {
		w.q.Wake()
	}
}

// publish makes the endpoints visible to paths. The caller holds mu, and wakes the workers when it does not
// any more.
func (e *Engine) publish() {
	ends := make(path.Endpoints, len(e.slots))
	meshes := map[string]*sidecar.Mesh{}
	for _, s := range e.slots {
		if a := s.cur; a != nil && a.ep.Hook.Side == backend.LoopbackSide && meshes[a.workload] == nil {
			if meshes[a.workload] = e.meshes[a.workload]; meshes[a.workload] == nil {
				meshes[a.workload] = sidecar.NewMesh()
			}
		}
	}
	e.meshes = meshes
	for id, s := range e.slots {
		a := s.cur
		if a == nil {
			continue
		}
		x := &path.Endpoint{ID: id, Workload: a.workload, Interface: a.ep.Interface, Datapath: a.ep.Way(), Inline: a.ep.Kind == backend.Inline,
			Loopback: a.ep.Hook.Side == backend.LoopbackSide, Fail: packet.Pass, Listeners: s.listeners, Since: a.since, Mesh: meshes[a.workload]}
		if a.ep.Fail == backend.FailClosed {
			x.Fail = packet.Drop
		}
		ends[id] = x
	}
	e.shared.Endpoints.Store(&ends)
}

// SetListeners sets the listening sockets of an endpoint's workload, evidence for which side
// of a connection is the server where its beginning was not seen.
func (e *Engine) SetListeners(endpoint uint32, l []Listener) {
	m := make(map[Listener]bool, len(l))
	for _, x := range l {
		m[x] = true
	}
	e.mu.Lock()
	s := e.slots[endpoint]
	if s == nil || sameListeners(s.listeners, m) {
		e.mu.Unlock()
		return
	}
	s.listeners = m
	e.publish()
	e.mu.Unlock()
	e.wake()
}

func sameListeners(a, b map[Listener]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for l := range a {
		if !b[l] {
			return false
		}
	}
	return true
}

// Lost lists endpoints that are attached no more although nobody detached them: the
// interface or the service port was taken away. They have to be attached anew.
func (e *Engine) Lost() <-chan uint32 { return e.lost }

// reportLost reports that an endpoint is attached no more.
func (e *Engine) reportLost(id uint32) {
	select {
	case e.lost <- id:
	default:
	}
}

// Close detaches every endpoint and waits for the workers. Records can
// still be drained afterwards.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	ids := make([]uint32, 0, len(e.slots))
	for id := range e.slots {
		ids = append(ids, id)
	}
	e.mu.Unlock()
	e.recalls.stop()
	var errs []error
	for _, id := range ids {
		errs = append(errs, e.Detach(id))
	}
	for _, w := range *e.running.Load() {
		w.q.Close()
	}
	e.wg.Wait()
	return errors.Join(errs...)
}

// outboxes lists those that may hold records; ended workers are
// listed for the last time.
func (e *Engine) outboxes(last bool) []*report.Outbox {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]*report.Outbox, 0, len(e.workers)+len(e.retired))
	for _, w := range e.workers {
		out = append(out, w.path.Sessions().Report().Outbox())
	}
	for _, w := range e.retired {
		out = append(out, w.path.Sessions().Report().Outbox())
	}
	if last {
		e.retired = nil
	}
	return out
}

// Threats gives every threat since the last call to fn and returns how many. Call it before
// Drain, which forgets ended workers.
func (e *Engine) Threats(fn func(*report.Threat)) int {
	n := 0
	for _, o := range e.outboxes(false) {
		n += o.DrainThreats(fn)
	}
	return n
}

// Drain gives every record since the last call to fn and returns how many.
func (e *Engine) Drain(fn func(*flow.Record)) int {
	n := 0
	for _, o := range e.outboxes(true) {
		n += o.Drain(fn)
	}
	return n
}
