package engine

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/session"
)

const (
	batchSize = 256
	showEvery = int64(100e6) // ns between two publications of counters
)

// worker drives one queue: it receives, has its path judge, or the home of a workload, and settles.
// Only its goroutine uses batch and the alarm, and path unless that is a workload's home; after its
// end the holder of after does. The path's lock is held whenever it is used.
type worker struct {
	e      *Engine
	q      backend.Queue
	number uint64 // in the order of creation
	path   *path.Path
	batch  *packet.Batch
	ended  chan struct{}
	after  sync.Mutex
	stand  sync.Mutex // held by a hand-over for which several workers wait together
	// visited are the paths of other workers at which frames of the batch were judged.
	visited []*path.Path

	alarm   *time.Timer // wakes the worker when held packets are due; nil before the first
	alarmAt int64
	shownAt int64

	ring    ringKey // of its queue, for Stats; guarded by Engine.mu
	retired bool    // it is on no list any more; guarded by Engine.mu

	pending atomic.Bool
	mu      sync.Mutex
	cmds    []command // guarded by mu
}

// worker returns the worker of a queue; a new queue gets a new one.
func (e *Engine) worker(q backend.Queue, of *attached) *worker {
	e.mu.Lock()
	w := e.workers[q]
	if w != nil && w.ring.iface != of.ep.Interface {
		w.ring.iface = "" // it is that of several
	}
	e.mu.Unlock()
	if w != nil {
		return w
	}
	fresh := newWorker(e, q)
	fresh.ring = ringKey{backend: of.ep.Datapath()}
	if !of.ep.Shared() {
		fresh.ring.workload, fresh.ring.iface = of.workload, of.ep.Interface
	}
	e.mu.Lock()
	if w = e.workers[q]; w == nil {
		e.made++
		fresh.number = e.made
		e.workers[q] = fresh
		e.listWorkers()
		e.wg.Add(1)
		go fresh.runLoop()
	}
	e.mu.Unlock()
	if w != nil {
		fresh.path.Sessions().Close() // another endpoint of the queue won the race
		return w
	}
	fresh.q.Wake() // published meanwhile
	return fresh
}

// listWorkers rebuilds the list of workers to be woken. The caller holds mu.
func (e *Engine) listWorkers() {
	list := make([]*worker, 0, len(e.workers))
	for _, w := range e.workers {
		list = append(list, w)
	}
	e.running.Store(&list)
}

// tableShare is the part of the free table that one endpoint may have: of a table of a million,
// a single one gets 917,000, and leaves the rest to others.
const tableShare = 7

func newWorker(e *Engine, q backend.Queue) *worker {
	w := &worker{e: e, q: q, batch: packet.NewBatch(batchSize), ended: make(chan struct{})}
	cfg := path.Config{Shared: &e.shared, Queue: q, Now: e.cfg.Now(),
		Identify: identify.Config{Parsers: e.cfg.Parsers}, KeepOpen: e.cfg.KeepOpen,
		Session: session.Config{Max: e.cfg.MaxSessions, Share: tableShare, Timeouts: e.cfg.Timeouts}}
	if e.cfg.Remote != nil {
		cfg.Identify.Remote = e.cfg.Remote.Remote(q.Wake)
	}
	w.path = path.New(cfg)
	return w
}

// runLoop is the worker's goroutine.
func (w *worker) runLoop() {
	defer w.e.wg.Done()
	w.run()
	w.retire()
}

// run receives, judges and settles until the queue ends.
func (w *worker) run() {
	defer close(w.ended)
	defer func() {
		if w.alarm != nil {
			w.alarm.Stop()
		}
	}()
	for {
		n, err := w.receive()
		w.afterBatch(n)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.e.cfg.Logger.Warn("queue ended", "error", err)
			}
			w.runCommands(ended)
			return
		}
	}
}

// receive judges one batch and returns its number of frames.
func (w *worker) receive() (int, error) {
	w.batch.Reset()
	err := w.q.Recv(w.batch)
	w.path.Lock()
	now := w.e.cfg.Now()
	w.path.Begin(now)
	frames := w.batch.All()
	w.e.restamp(frames, now)
	for i := range frames {
		w.path.Frame(&frames[i])
	}
	w.path.Asked()
	away := w.path.Away()
	w.path.Unlock()
	if len(away) > 0 {
		w.judgeAway(away)
	}
	if serr := w.q.Settle(w.batch); serr != nil && err == nil {
		err = serr
	}
	return len(frames), err
}

// afterBatch does the work after each batch.
func (w *worker) afterBatch(received int) {
	if len(w.visited) > 0 {
		w.leave()
	}
	w.path.Lock()
	if w.path.Finish() {
		w.q.Wake()
	}
	now, at := w.path.Sessions().Now(), w.path.Alarm()
	if now-w.shownAt >= showEvery {
		w.shownAt = now
		w.path.Sessions().Publish()
	}
	w.path.Unlock()
	if at != 0 && at != w.alarmAt {
		w.setAlarm(at, now)
	}
	if w.pending.Load() {
		w.runCommands(received)
	}
}

// setAlarm wakes the worker at a time, to process its timers.
func (w *worker) setAlarm(at, now int64) {
	w.alarmAt = at
	d := time.Duration(at - now + session.Tick)
	if w.alarm == nil {
		w.alarm = time.AfterFunc(d, w.q.Wake)
		return
	}
	w.alarm.Reset(d)
}

// endSessions ends the sessions of an endpoint that is no longer attached.
func (w *worker) endSessions(id uint32) {
	w.path.Sessions().End(id)
	w.path.Sessions().Publish()
}

// retire detaches the endpoints of a worker whose queue ended by itself, and keeps its
// records and counters.
func (w *worker) retire() {
	e := w.e
	for _, id := range w.endpoints() {
		// Wait for an Attach that is moving the endpoint's sessions away.
		s := e.acquire(id, false)
		if s == nil {
			continue
		}
		if s.cur != nil && slices.Contains(s.cur.workers, w) {
			of := e.lockWorkload(s.cur.of.key)
			s.detachLost(e)
			of.unlock(e)
		}
		e.release(s)
	}
	w.after.Lock()
	w.path.Lock()
	w.path.Sessions().Close()
	w.path.Unlock()
	w.after.Unlock()
	stats, counts := backend.Stats{}, false
	if c, ok := w.q.(backend.Counter); ok {
		stats, counts = c.Stats(), true
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if counts && w.ring != (ringKey{}) {
		sum := e.rings[w.ring]
		sum.Add(stats)
		e.rings[w.ring] = sum
	}
	delete(e.workers, w.q)
	e.listWorkers()
	w.retired = true
	e.retired = append(e.retired, w)
	w.path.Sessions().Report().AddCounters(e.gone)
	if counts {
		addQueue(e.gone, &stats)
	}
}

// endpoints returns the endpoints of a worker, including those at the start of an Attach in
// progress.
func (w *worker) endpoints() (ids []uint32) {
	e := w.e
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, s := range e.slots {
		if s.cur != nil && slices.Contains(s.cur.workers, w) {
			ids = append(ids, id)
		}
	}
	return ids
}
