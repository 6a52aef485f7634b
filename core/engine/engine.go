// Package engine runs the frame path: one worker for each queue receives, decodes,
// finds the session, tracks, assembles, identifies, asks policy and settles. It
// knows backends, parsers and policy by their contracts only.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
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
type Listener struct {
	Proto uint8
	Port  uint16
}

// Engine is the dataplane of one node. Its methods may be called from any
// goroutine, but for Drain and Threats, which one collector calls.
type Engine struct {
	cfg  Config
	snap atomic.Pointer[snapshot]
	ids  atomic.Uint64 // session numbers

	mu      sync.Mutex
	table   *policy.Table
	eps     map[uint32]*attached
	workers map[backend.Queue]*worker
	retired []*worker                // ended ones whose records may wait still
	gone    map[string]uint64        // counters of ended workers
	meshes  map[string]*sidecar.Mesh // by workload, those with a sidecar
	marks   uint32                   // generation under which flows may pass in the kernel; 0 before the first policy
	closed  bool
	wg      sync.WaitGroup
	lost    chan uint32 // endpoints whose queue ended by itself
	tallies tallies
	rings   map[ringKey]backend.Stats // of queues of ended workers
}

// attached is one endpoint and how it is attached now.
type attached struct {
	ep        backend.Endpoint
	be        backend.Backend
	workload  string
	listeners map[Listener]bool
	since     int64 // when it was attached first, ns since the epoch; 0 is long ago
	att       backend.Attachment
	workers   []*worker
}

// snapshot is what workers see: immutable, swapped by one pointer store.
type snapshot struct {
	table     *policy.Table
	version   uint64
	marks     uint32 // for Verdict.Mark
	endpoints map[uint32]*view
}

// view is one endpoint as workers see it.
type view struct {
	id        uint32
	inline    bool
	pass      packet.Action // for frames that nobody may judge
	loopback  bool          // between an application and its sidecar
	offload   bool          // decided flows may pass in the kernel
	mac       [6]byte
	pol       *policy.Workload // nil before the workload's policy has come
	listeners map[Listener]bool
	since     int64         // what was said before this was not seen; 0 where everything was
	mesh      *sidecar.Mesh // nil without a sidecar
	key       tallyKey
	tally     *tally // of the first of its workers; nil without
}

// New makes an engine without endpoints.
func New(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = func() int64 { return time.Now().UnixNano() }
	}
	e := &Engine{cfg: cfg, eps: map[uint32]*attached{}, workers: map[backend.Queue]*worker{}, gone: map[string]uint64{}, rings: map[ringKey]backend.Stats{}, lost: make(chan uint32, lostWaiting)}
	e.snap.Store(&snapshot{})
	return e
}

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("engine is closed")

// publish swaps in a new snapshot. The caller holds mu.
func (e *Engine) publish() {
	s := &snapshot{table: e.table, marks: e.marks, endpoints: make(map[uint32]*view, len(e.eps))}
	if e.table != nil {
		s.version = e.table.Version()
	}
	e.renewMeshes()
	for id, a := range e.eps {
		v := &view{id: id, mesh: e.meshes[a.workload], inline: a.ep.Kind == backend.Inline, pass: packet.Pass, mac: a.ep.MAC, listeners: a.listeners, since: a.since, loopback: a.ep.Hook.Side == backend.LoopbackSide}
		if a.ep.Fail == backend.FailClosed {
			v.pass = packet.Drop
		}
		if e.table != nil {
			v.pol = e.table.Workload(a.workload)
		}
		v.key = tallyKey{a.workload, a.ep.Interface, a.ep.Way()}
		if len(a.workers) > 0 {
			v.tally = e.tallies.of(a.workers[0], id, v.key)
		}
		// Who would rather stop than go unwatched does not go past a worker that may be dead.
		v.offload = v.inline && v.pol != nil && v.pass == packet.Pass
		s.endpoints[id] = v
	}
	e.snap.Store(s)
	for _, w := range e.workers {
		w.q.Wake()
	}
}

// Apply puts a policy into force: one pointer swap. Live sessions are judged again at their
// next packet, which comes to a worker whatever was decided before, and by a sweep within a second.
func (e *Engine) Apply(t *policy.Table) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.table = t
	if e.marks++; e.marks == 0 {
		e.marks = 1
	}
	e.publish()
	e.recallAll()
}

// SetListeners tells the listening sockets of an endpoint's workload, evidence for which side
// of a connection is the server where its beginning was not seen.
func (e *Engine) SetListeners(endpoint uint32, l []Listener) {
	m := make(map[Listener]bool, len(l))
	for _, x := range l {
		m[x] = true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.eps[endpoint]
	if a == nil || sameListeners(a.listeners, m) {
		return
	}
	a.listeners = m
	e.publish()
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

// Attach attaches an endpoint of a workload, or changes how it is attached. At a change the
// endpoint's sessions are handed to the workers of its new queues before the
// first frame arrives there, or is judged there. On error everything is as it was; an endpoint that is not,
// because it was inline by the same backend, is told by Lost.
func (e *Engine) Attach(ctx context.Context, be backend.Backend, ep backend.Endpoint, workload string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	old := e.eps[ep.ID]
	if old != nil && old.ep == ep {
		return nil
	}
	fail := func(err error) error {
		return fmt.Errorf("attach %s of %s (%s): %w", ep.Interface, workload, ep.Kind, err)
	}
	var waiting []moved
	inline := old != nil && old.ep.Kind == backend.Inline && ep.Kind == backend.Inline
	exchange, again := inline && old.be != be, inline && old.be == be
	if again {
		// One endpoint of a backend is inline once: the old way ends before the new one begins.
		waiting = e.leave(old)
	}
	att, err := e.open(ctx, be, ep)
	if err != nil {
		if again {
			e.give(old, waiting)
			e.forget(old)
			e.tellLost(ep.ID)
		}
		return fail(err)
	}
	next := &attached{ep: ep, be: be, workload: workload, att: att, since: e.cfg.Now()}
	if old != nil {
		next.since = old.since
	}
	for _, q := range att.Queues() {
		next.workers = append(next.workers, e.worker(q, next))
	}
	switch {
	case exchange:
		err = e.exchange(old, next)
	case again:
		if err = e.enter(old, next, waiting); err != nil {
			e.tellLost(ep.ID)
		}
	default:
		err = e.handOver(old, next)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// worker is the worker of a queue; a new queue gets a new one. The caller holds mu.
func (e *Engine) worker(q backend.Queue, of *attached) *worker {
	if w := e.workers[q]; w != nil {
		return w
	}
	w := newWorker(e, q)
	w.ring = ringKey{backend: of.ep.Way()}
	if !of.ep.Shared() {
		w.ring.workload, w.ring.iface = of.workload, of.ep.Interface
	}
	e.workers[q] = w
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		w.run()
		e.retire(w)
	}()
	return w
}

// lostWaiting bounds the endpoints that wait to be told as lost.
const lostWaiting = 4096

// Lost tells endpoints that are attached no more although nobody detached them: the
// interface or the service port was taken away. They have to be attached anew.
func (e *Engine) Lost() <-chan uint32 { return e.lost }

// abandon detaches the endpoints of a worker whose queue ended by itself. The caller holds mu.
func (e *Engine) abandon(w *worker) {
	if e.closed {
		return
	}
	for id, a := range e.eps {
		if !slices.Contains(a.workers, w) {
			continue
		}
		e.lose(id, a)
	}
	e.publish()
}

// lose detaches an endpoint that is of no use any more. The caller holds mu and publishes.
func (e *Engine) lose(id uint32, a *attached) {
	a.att.Close()
	delete(e.eps, id)
	e.tellLost(id)
}

// tellLost tells that an endpoint is attached no more.
func (e *Engine) tellLost(id uint32) {
	select {
	case e.lost <- id:
	default:
	}
}

// retire keeps the records and counters of a worker that ended.
func (e *Engine) retire(w *worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.endEverything()
	if w.remote != nil {
		w.remote.Stop()
	}
	w.publishCounters()
	e.tallies.end(w)
	w.keepRing()
	delete(e.workers, w.q)
	e.abandon(w)
	e.retired = append(e.retired, w)
	w.addCounters(e.gone)
}

// Detach ends an endpoint; its sessions end with it.
func (e *Engine) Detach(id uint32) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.eps[id]
	if a == nil {
		return nil
	}
	err := a.att.Close()
	for _, w := range a.workers {
		w.do(func() { w.endAll(id) })
	}
	delete(e.eps, id)
	e.publish()
	if err != nil {
		return fmt.Errorf("detach %s of %s: %w", a.ep.Interface, a.workload, err)
	}
	return nil
}

// Close detaches every endpoint and waits for the workers. Records can
// still be drained afterwards.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	ids := make([]uint32, 0, len(e.eps))
	for id := range e.eps {
		ids = append(ids, id)
	}
	e.mu.Unlock()
	var errs []error
	for _, id := range ids {
		errs = append(errs, e.Detach(id))
	}
	e.mu.Lock()
	for q := range e.workers {
		q.Close()
	}
	e.mu.Unlock()
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
		out = append(out, &w.out)
	}
	for _, w := range e.retired {
		out = append(out, &w.out)
	}
	if last {
		e.retired = nil
	}
	return out
}

// Threats gives every threat since the last call to fn and says how many. Call it before
// Drain, which forgets ended workers.
func (e *Engine) Threats(fn func(*report.Threat)) int {
	n := 0
	for _, o := range e.outboxes(false) {
		n += o.DrainThreats(fn)
	}
	return n
}

// Drain gives every record since the last call to fn and says how many.
func (e *Engine) Drain(fn func(*flow.Record)) int {
	n := 0
	for _, o := range e.outboxes(true) {
		n += o.Drain(fn)
	}
	return n
}
