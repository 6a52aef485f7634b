// Package engine owns the endpoints of a node and the workers that judge their frames: it
// attaches and detaches endpoints, moves sessions between workers, applies policies and sums
// up counters. core/path processes the frames. The engine knows backends, parsers and policy
// only by their contracts.
package engine

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/report"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/sidecar"
	"github.com/sluicenet/sluice/parsers"
)

// Config configures an engine; Parsers is required.
type Config struct {
	Parsers *parsers.Registry
	// Remote identifies sessions outside of the process, beside Parsers; nil: there is none.
	Remote detect.Remotes
	// MaxSessions bounds each worker's session table; 0 is a million.
	MaxSessions int
	// Timeouts are those of sessions; zero fields have the defaults.
	Timeouts session.Timeouts
	// KeepOpen keeps what was open when enforcement of a workload began, whatever policy
	// decides; by default it is refused like any other connection.
	KeepOpen bool
	Logger   *slog.Logger
	// Now is the clock, ns since the epoch, which never goes back; nil is the wall clock of Clocks without
	// its steps.
	Now func() int64
	// Clocks reads the wall clock, ns since the epoch, by which backends stamp frames, and the monotonic one;
	// nil are those of the machine.
	Clocks func() (wall, mono int64)
}

// Engine is the dataplane of one node. Its methods may be called from any goroutine, except
// Drain and Threats, which one collector calls.
//
// There are five kinds of lock. Each endpoint has one, which is held while the endpoint is
// attached, changed or detached, however long a backend or a worker takes, and so has its workload. Engine.mu guards
// the lists, and is held only briefly: never while waiting for a backend, the kernel or a
// worker. Workers that stop together are locked in their order, and
// so are paths, which are locked last, each for one batch or command. Apply takes no lock.
type Engine struct {
	cfg     Config
	shared  path.Shared
	running atomic.Pointer[[]*worker] // a copy of workers, for waking
	waker   waker
	clock   *clock // nil where Config.Now is the clock
	recalls recalls
	lost    chan uint32 // endpoints whose queue ended by itself
	wg      sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	slots   map[uint32]*slot
	sockets map[uint32]*role.Sockets // by endpoint, including those about to be attached
	sources map[uint32]*own.List     // the same
	workers map[backend.Queue]*worker
	made    uint64                    // number of workers created
	retired []*worker                 // ended ones whose records may not be drained yet
	gone    map[string]uint64         // counters of ended workers
	rings   map[ringKey]backend.Stats // of queues of ended workers
	meshes  map[string]*sidecar.Mesh  // by workload, those with a sidecar
	closed  bool

	workloads  map[workloadKey]*workload // of the endpoints that are attached or about to be
	nextNumber uint32                    // of the next workload
}

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("engine is closed")

// lostWaiting bounds the endpoints waiting to be reported as lost.
const lostWaiting = 4096

// New returns an engine without endpoints.
func New(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	var c *clock
	if cfg.Now == nil {
		c = newClock(cfg.Clocks)
		cfg.Now = c.now
	}
	e := &Engine{cfg: cfg, clock: c, slots: map[uint32]*slot{}, sockets: map[uint32]*role.Sockets{}, sources: map[uint32]*own.List{}, workers: map[backend.Queue]*worker{}, gone: map[string]uint64{},
		rings: map[ringKey]backend.Stats{}, lost: make(chan uint32, lostWaiting), workloads: map[workloadKey]*workload{}, nextNumber: firstNumber}
	e.recalls.init()
	e.running.Store(&[]*worker{})
	return e
}

// Apply applies a policy without waiting: it is one store, and waking the workers. Live
// sessions are judged again at their next packet, which reaches a worker whatever was decided
// before, and by a sweep within a second. Offloaded flows are recalled asynchronously;
// Enforced reports when that is done.
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
	e.recalls.request(e)
}

// publish makes the endpoints visible to paths. The caller holds mu, and wakes the workers
// after releasing it.
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
	sums := e.sumWorkloads()
	for id, s := range e.slots {
		a := s.cur
		if a == nil {
			continue
		}
		x := &path.Endpoint{ID: id, Workload: a.workload, Interface: a.ep.Interface, Datapath: a.ep.Datapath(), Inline: a.ep.Kind == backend.Inline,
			Loopback: a.ep.Hook.Side == backend.LoopbackSide, Fail: packet.Pass, Sockets: e.sockets[id], Seed: role.SeedOf(a.workload), Since: a.since, Mesh: meshes[a.workload],
			MAC: a.ep.MAC, Sources: e.sources[id], Number: a.of.number}
		if a.of.home != nil {
			sum := sums[a.of]
			x.Shares = &path.Shares{Home: a.of.home.path, Exit: exitOf(a), Enforced: sum.enforced, Mixed: sum.mixed}
		}
		if a.ep.Fail == backend.FailClosed {
			x.Fail = packet.Drop
		}
		ends[id] = x
	}
	e.publishOwners(ends)
	e.shared.Endpoints.Store(&ends)
}

// Lost returns endpoints that are no longer attached although Detach was not called: the
// interface or the service port was removed. They must be attached again.
func (e *Engine) Lost() <-chan uint32 { return e.lost }

// reportLost reports that an endpoint is no longer attached.
func (e *Engine) reportLost(id uint32) {
	select {
	case e.lost <- id:
	default:
	}
}

// Close detaches every endpoint and waits for the workers. Records can still be drained
// afterwards.
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

// outboxes returns those that may hold records; ended workers are included for the last time.
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

// Threats passes every threat since the last call to fn and returns their number. Call it
// before Drain, which discards ended workers.
func (e *Engine) Threats(fn func(*report.Threat)) int {
	n := 0
	for _, o := range e.outboxes(false) {
		n += o.DrainThreats(wallThreat(e.step(), fn))
	}
	return n
}

// Drain passes every record since the last call to fn and returns their number.
func (e *Engine) Drain(fn func(*flow.Record)) int {
	n := 0
	for _, o := range e.outboxes(true) {
		n += o.Drain(wallRecord(e.step(), fn))
	}
	return n
}
