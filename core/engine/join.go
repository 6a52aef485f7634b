package engine

import (
	"math"
	"time"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/packet"
)

// Between a tap and an inline way there is one moment, the cut: what came before it counts where the
// endpoint was, what came after it where it goes. Both ways see the frames for a while, and each
// leaves those of the other side of the cut alone, so that no connection is missed and none counts twice.

const (
	// cutAhead is how long before the cut a tap's worker is told of it.
	cutAhead = time.Millisecond
	// tapPatience bounds the wait for what a tap saw before the cut: a worker that does not get to run
	// has much to read.
	tapPatience = 3 * time.Second
	// tapAgain is how often a tap is asked meanwhile.
	tapAgain = time.Millisecond

	joinBytes = 16 << 20 // kept of frames that passed a new inline way before the cut was dealt with
	joinSnap  = 2048     // of one frame
	never     = int64(math.MaxInt64)
)

// joiner keeps what passes a new inline way until the tap's sessions are there.
type joiner struct {
	frames []packet.Frame
	bytes  int
}

// join has a worker let an endpoint's frames pass and keep copies.
func (w *worker) join(id uint32) {
	if w.joining == nil {
		w.joining = map[uint32]*joiner{}
	}
	w.ignore[id], w.joining[id] = true, &joiner{}
}

// collect keeps a copy of a frame that passes unjudged; false where nobody will look at it.
func (w *worker) collect(f *packet.Frame) bool {
	j := w.joining[f.Endpoint]
	n := min(len(f.Data), joinSnap)
	if j == nil || j.bytes+n > joinBytes {
		return false
	}
	c := *f
	c.Data = append([]byte(nil), f.Data[:n]...)
	if n < len(f.Data) {
		c.Flags |= packet.Truncated
	}
	j.bytes += n
	j.frames = append(j.frames, c)
	return true
}

// replay looks at what passed since the cut. It was delivered: nothing of it is refused any more.
func (w *worker) replay(id uint32, cut int64) {
	j := w.joining[id]
	delete(w.joining, id)
	if j == nil {
		return
	}
	w.replaying = true
	for i := range j.frames {
		if w.stamp(&j.frames[i]) >= cut {
			w.frame(&j.frames[i])
		}
	}
	w.replaying = false
}

// outside says whether a tap's frame is of the other side of the cut.
func (w *worker) outside(f *packet.Frame) bool {
	stamp := w.stamp(f)
	if stamp >= w.until {
		w.reached = true
		return true
	}
	return stamp < w.since
}

// allSeen says whether a tap has handed out everything that it saw before the cut. received is how
// many frames the last batch had.
func (w *worker) allSeen(received int) bool {
	if w.reached {
		return true
	}
	if received > 0 || w.now < w.until {
		return false
	}
	b, ok := w.q.(backend.Buffered)
	return !ok || !b.Waiting()
}

// fromTap puts an inline endpoint in the place of a tap. The caller holds mu.
func (e *Engine) fromTap(old, next *attached) error {
	id := next.ep.ID
	if err := openBeside(old, next, func(w *worker) { w.join(id) }); err != nil {
		return err
	}
	cut := e.cfg.Now() + int64(cutAhead)
	for _, w := range old.workers {
		w.do(func() { w.until = cut })
	}
	var sessions []moved
	for _, w := range old.workers {
		w.enqueue(command{fn: func() { sessions = append(sessions, w.export(id)...) },
			cut: cut + int64(tapPatience), done: make(chan struct{})})
	}
	e.eps[id] = next
	e.publish()
	shares := next.shares(sessions)
	for i, w := range next.workers {
		w.do(func() {
			w.adopt(id, shares[i])
			w.replay(id, cut)
		})
	}
	old.att.Close()
	return nil
}

// toTap puts a tap in the place of an inline endpoint. The tap's ring keeps what it sees until the
// sessions are there. On error the endpoint stays inline. The caller holds mu.
func (e *Engine) toTap(old, next *attached) error {
	id := next.ep.ID
	var sessions []moved
	var cut int64
	var err error
	standing(next.workers, (*worker).do, func() {
		if err = next.att.Activate(); err != nil {
			return
		}
		cut = e.cfg.Now()
		sessions = e.leave(old)
		e.eps[id] = next
		e.publish()
		shares := next.shares(sessions)
		for i, w := range next.workers {
			w.since = cut
			w.now = e.cfg.Now()
			w.adopt(id, shares[i])
		}
	})
	if err != nil {
		next.att.Close()
	}
	return err
}
