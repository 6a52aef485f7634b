package path

import (
	"sync"

	"github.com/sluicenet/sluice/core/packet"
)

// Entrance is how workers use a path, one at a time: its own worker for one batch or one command, and
// those of other queues for frames of workloads whose home the path is. Whoever has locked one path
// locks another only in the order of their workers.
type Entrance struct {
	of   *Path
	mu   sync.Mutex
	away []*packet.Frame // of the own worker's batch, to be judged elsewhere
}

// Lock locks the path for its own worker.
func (e *Entrance) Lock() { e.LockFor(e.Port()) }

// LockFor locks the path for the worker of another path's port, from which frames are sent directly.
func (e *Entrance) LockFor(x *Port) {
	e.mu.Lock()
	e.of.ses.act.enter(x)
}

// Unlock unlocks the path.
func (e *Entrance) Unlock() { e.mu.Unlock() }

// Port returns the port of the path's own queue.
func (e *Entrance) Port() *Port { return e.of.ses.act.exits.own }

// Away returns the frames of the present batch that are to be judged at the home of their workload.
func (e *Entrance) Away() []*packet.Frame { return e.away }

// Visit judges frames of another path's port, and returns how many: the others have another home by
// now. Leave must follow when they are settled.
func (e *Entrance) Visit(x *Port, now int64, frames []*packet.Frame) (n int) {
	e.LockFor(x)
	defer e.Unlock()
	p := e.of
	begin(p, x, max(now, p.ses.now))
	for ; n < len(frames); n++ {
		if v := p.ses.views.view(frames[n].Endpoint); v != nil && v.away {
			break
		}
		ungated(p, frames[n])
	}
	p.Asked()
	return n
}

// VisitAgain is Replay for frames of another path's port.
func (e *Entrance) VisitAgain(x *Port, frames []packet.Frame, cut int64) {
	e.LockFor(x)
	defer e.Unlock()
	begin(e.of, x, e.of.ses.now)
	e.of.Replay(frames, cut)
}

// Leave does what is due after frames of another path's port were settled. What remains is for the
// path's own worker.
func (e *Entrance) Leave(x *Port) {
	e.LockFor(x)
	defer e.Unlock()
	if e.of.Finish() || e.of.Alarm() != 0 {
		e.Port().wake()
	}
}
