package engine

import (
	"cmp"
	"slices"
	"sync"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
)

// The endpoints of a workload share its sessions, so that a connection is one, whichever interfaces
// its packets take. A workload with one endpoint has its sessions where that endpoint's frames are
// judged. From the second endpoint on one worker's path is the workload's home: the workers of other
// queues judge their frames there. The home moves when none of the workload's endpoints has frames
// by its worker any more.

// workload is what the endpoints of one workload share; one on lo has a workload of its own, as
// what is between an application and its sidecar are other connections.
type workload struct {
	key    workloadKey
	number uint32     // in session keys
	mu     sync.Mutex // held while an endpoint of it is attached, changed or detached; taken after its slot's

	users    int     // calls that hold mu or wait for it; guarded by Engine.mu
	attached int     // endpoints; guarded by Engine.mu
	home     *worker // nil until it has a second endpoint; written under both locks, read under either
}

type workloadKey struct {
	name     string
	loopback bool
}

// firstNumber is the first number of a workload: endpoints have smaller ones.
const firstNumber = 1 << 24

func keyOf(ep *backend.Endpoint, name string) workloadKey {
	return workloadKey{name, ep.Hook.Side == backend.LoopbackSide}
}

// lockWorkload locks a workload, which is created if needed.
func (e *Engine) lockWorkload(k workloadKey) *workload {
	e.mu.Lock()
	w := e.workloads[k]
	if w == nil {
		w = &workload{key: k, number: e.nextNumber}
		if e.nextNumber++; e.nextNumber < firstNumber {
			e.nextNumber = firstNumber
		}
		e.workloads[k] = w
	}
	w.users++
	e.mu.Unlock()
	w.mu.Lock()
	return w
}

// unlock unlocks a workload, and forgets one without endpoints.
func (w *workload) unlock(e *Engine) {
	w.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if w.users--; w.users == 0 && w.attached == 0 {
		delete(e.workloads, w.key)
	}
}

// others returns the attachments of a workload's endpoints but one, by their numbers.
func (e *Engine) others(w *workload, but uint32) (list []*attached) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, s := range e.slots {
		if id != but && s.cur != nil && s.cur.of == w {
			list = append(list, s.cur)
		}
	}
	slices.SortFunc(list, func(a, b *attached) int { return cmp.Compare(a.ep.ID, b.ep.ID) })
	return list
}

// replace stores the next attachment of a slot, nil for none, and moves the workload's sessions
// where their home changes with it. Both are locked. A workload without a home has its sessions at
// the slot's own workers, which the caller handles.
func (e *Engine) replace(s *slot, of *workload, next *attached) {
	serving := e.others(of, s.id)
	if of.home == nil && len(serving) == 0 {
		e.setAttached(s, next)
		return
	}
	ids, from := []uint32{s.id}, []*worker{of.home}
	for _, a := range serving {
		ids = append(ids, a.ep.ID)
	}
	if of.home == nil {
		from = serving[0].workers
	}
	if next != nil {
		serving = append(serving, next)
	}
	home := of.home
	if !slices.ContainsFunc(serving, func(a *attached) bool { return slices.Contains(a.workers, home) }) {
		home = firstWorker(serving)
	}
	e.rehome(of, from, home, ids, func() { e.setAttached(s, next) })
}

// firstWorker returns the first worker of some attachments; nil if they have none.
func firstWorker(list []*attached) *worker {
	for _, a := range list {
		if len(a.workers) > 0 {
			return a.workers[0]
		}
	}
	return nil
}

// rehome makes a worker's path the home of a workload, calls publish, and moves the sessions of its
// endpoints there, while nothing judges frames of theirs.
func (e *Engine) rehome(of *workload, from []*worker, home *worker, ids []uint32, publish func()) {
	var moving []*worker
	for _, w := range from {
		if w != home {
			moving = append(moving, w)
		}
	}
	if len(moving) == 0 || home == nil {
		of.setHome(e, home)
		publish()
		return
	}
	all := append(moving, home)
	unlock := lockWorkers(all)
	defer unlock()
	whileStopped(all, (*worker).stopped, func() { e.moveSessions(of, from, home, ids, publish) })
}

// moveSessions is rehome for workers that are stopped.
func (e *Engine) moveSessions(of *workload, from []*worker, home *worker, ids []uint32, publish func()) {
	release := lockPaths(append(slices.Clone(from), home))
	defer release()
	var sessions []path.Moved
	for _, w := range from {
		if w != home {
			sessions = append(sessions, w.path.Sessions().Export(ids...)...)
		}
	}
	of.setHome(e, home)
	publish()
	home.path.Sessions().Adopt(sessions)
}

func (w *workload) setHome(e *Engine, home *worker) {
	e.mu.Lock()
	defer e.mu.Unlock()
	w.home = home
}

// lockPaths locks the paths of workers.
func lockPaths(list []*worker) (unlock func()) {
	return lockInOrder(list, func(w *worker) sync.Locker { return w.path })
}

func byNumber(a, b *worker) int { return cmp.Compare(a.number, b.number) }

// judges returns the workers whose paths have the sessions of an attachment's endpoint. Its workload
// is locked.
func (a *attached) judges() []*worker {
	if h := a.of.home; h != nil {
		return []*worker{h}
	}
	return a.workers
}

// judgeAway judges frames of the worker's queue at the homes of their workloads.
func (w *worker) judgeAway(frames []*packet.Frame) {
	for len(frames) > 0 {
		h := w.homeOf(frames[0].Endpoint)
		n := h.Visit(w.path.Port(), w.e.cfg.Now(), frames)
		frames = frames[n:]
		if !slices.Contains(w.visited, h) {
			w.visited = append(w.visited, h)
		}
	}
}

// homeOf returns the path that judges an endpoint's frames.
func (w *worker) homeOf(endpoint uint32) *path.Path {
	if ends := w.e.shared.Endpoints.Load(); ends != nil {
		if x := (*ends)[endpoint]; x != nil && x.Shares != nil {
			return x.Shares.Home
		}
	}
	return w.path
}

// leave does what is due at the visited paths after the batch was settled.
func (w *worker) leave() {
	for i, h := range w.visited {
		h.Leave(w.path.Port())
		w.visited[i] = nil
	}
	w.visited = w.visited[:0]
}

// summary is what the present attachments of a workload have in common.
type summary struct {
	enforced, mixed bool
	datapath        string
}

// sumWorkloads returns the summaries of workloads with a home. The caller holds mu.
func (e *Engine) sumWorkloads() map[*workload]summary {
	sums := map[*workload]summary{}
	for _, s := range e.slots {
		if s.cur == nil || s.cur.of.home == nil {
			continue
		}
		sum, datapath := sums[s.cur.of], s.cur.ep.Datapath()
		sum.enforced = sum.enforced || s.cur.ep.Kind == backend.Inline
		sum.mixed = sum.mixed || sum.datapath != "" && sum.datapath != datapath
		sum.datapath = datapath
		sums[s.cur.of] = sum
	}
	return sums
}

// exitOf returns the port by which frames leave at an endpoint; nil if it has no queue.
func exitOf(a *attached) *path.Port {
	if len(a.workers) == 0 {
		return nil
	}
	return a.workers[0].path.Port()
}

// export detaches the sessions of the transition's endpoint from a worker that it leaves; those of a
// workload with a home stay there.
func (t *transition) export(w *worker) []path.Moved {
	if t.of.home == nil {
		return w.path.Export(t.s.id)
	}
	home := t.of.home.path
	w.path.Gate().Move(t.s.id)
	w.path.Unlock()
	home.LockFor(w.path.Port())
	home.Sessions().Release(t.s.id)
	home.Unlock()
	w.path.Lock()
	return nil
}

// replay has a worker take over sessions of the transition's endpoint, and judges copies of the
// frames that passed since a cut. The worker is stopped.
func (t *transition) replay(w *worker, sessions []path.Moved, cut int64) {
	var kept []packet.Frame
	w.locked(func() {
		if kept = w.path.Adopt(t.s.id, sessions); t.of.home == nil {
			w.path.Replay(kept, cut)
		}
	})
	if t.of.home != nil {
		t.of.home.path.VisitAgain(w.path.Port(), kept, cut)
	}
}

// rejudge has the sessions of a workload with a home judged again, as another of its endpoints is
// inline, or none any more.
func (t *transition) rejudge() {
	h := t.of.home
	if h == nil {
		return
	}
	watched := t.old == nil || t.old.ep.Kind == backend.Tap
	for _, a := range t.e.others(t.of, t.s.id) {
		watched = watched && a.ep.Kind == backend.Tap
	}
	h.do(func() { h.path.Sessions().Rejudge(t.s.id, watched) })
}

// toTapShared is toTap for a workload with a home: its sessions stay where they are, or move with
// those of its other endpoints.
func (t *transition) toTapShared() error {
	if err := t.openBeside(true); err != nil {
		return err
	}
	cut := t.e.cfg.Now()
	t.leaveInline()
	t.e.replace(t.s, t.of, t.next)
	t.rejudge()
	for _, w := range t.next.workers {
		w.stopped(func() {
			t.replay(w, nil, cut)
			w.locked(func() { w.path.Gate().Since(t.s.id, cut) })
		})
	}
	return nil
}

// holds reports whether packets of the transition's endpoint are held. The workers that hold them
// may judge other frames meanwhile.
func (t *transition) holds() (held bool) {
	for _, w := range t.old.judges() {
		w.locked(func() { held = held || w.path.Holding(t.s.id) })
	}
	return held
}

// swapHome stores the next attachment during an exchange, while the workers of both datapaths are
// stopped. A home that serves none of the workload's endpoints any more moves to the new datapath.
func (t *transition) swapHome() {
	if t.of.home == nil {
		t.e.setAttached(t.s, t.next)
		return
	}
	ids := []uint32{t.s.id}
	serving := append(t.e.others(t.of, t.s.id), t.next)
	for _, a := range serving[:len(serving)-1] {
		ids = append(ids, a.ep.ID)
	}
	old, home := t.of.home, t.of.home
	if !slices.ContainsFunc(serving, func(a *attached) bool { return slices.Contains(a.workers, home) }) {
		home = firstWorker(serving[len(serving)-1:])
	}
	t.e.moveSessions(t.of, []*worker{old}, home, ids, func() { t.e.setAttached(t.s, t.next) })
}

// dropHeld drops the held packets of the transition's endpoint. The worker, which had its frames, is
// stopped.
func (t *transition) dropHeld(w *worker) {
	p := w.path
	if t.of.home != nil {
		p = t.of.home.path
	}
	p.LockFor(w.path.Port())
	defer p.Unlock()
	p.Sessions().DropHeld(t.s.id)
}
