package path

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/packet"
)

// Port is a queue as the exit of frames. The worker that drives the queue sends its frames; a path
// that judges frames of several queues posts to the others, whose workers send in the same order.
type Port struct {
	sender  backend.Sender // nil: nothing can be sent
	holder  backend.Holder // nil: held frames are sent as copies
	maxHeld int            // frames held at a time; 0: any number
	wake    func()
	begun   int64 // time of its last batch, ns since the epoch; under the lock of the path that judges it

	some   atomic.Bool // posted is not empty
	mu     sync.Mutex
	posted []posting // guarded by mu
}

// posting is a frame for another worker to send, or to discard.
type posting struct {
	frame   packet.Frame
	discard bool
}

// maxPosted bounds the frames that wait for a worker: TCP repeats what is lost.
const maxPosted = 4096

// newPort returns the port of a queue, nil for captures, at a time.
func newPort(q backend.Queue, now int64) *Port {
	x := &Port{begun: now, wake: func() {}}
	x.sender, _ = q.(backend.Sender)
	x.holder, _ = q.(backend.Holder)
	if b, ok := q.(backend.Limited); ok {
		x.maxHeld = b.MaxHeld()
	}
	if q != nil {
		x.wake = q.Wake
	}
	return x
}

// post leaves a frame for the port's worker; it returns false where that cannot handle it.
func (x *Port) post(f *packet.Frame, discard bool) bool {
	if x.sender == nil || discard && x.holder == nil {
		return discard // a copy needs no discarding
	}
	c := *f
	if c.Data = nil; !discard {
		c.Data = bytes.Clone(f.Data)
	}
	x.mu.Lock()
	fits := len(x.posted) < maxPosted
	if fits {
		x.posted = append(x.posted, posting{c, discard})
	}
	x.mu.Unlock()
	x.some.Store(true)
	x.wake()
	return fits
}

// Flush sends what other paths have posted; the port's worker calls it. It returns the number of
// frames that could not be sent.
func (x *Port) Flush() (failed int) {
	if !x.some.Load() {
		return 0
	}
	x.some.Store(false)
	x.mu.Lock()
	list := x.posted
	x.posted = nil
	x.mu.Unlock()
	for i := range list {
		p := &list[i]
		switch {
		case p.discard:
			x.holder.Discard(&p.frame)
		case x.sender.Send(&p.frame) != nil:
			failed++
		}
	}
	return failed
}

// exits is how the frames of a path leave: directly at the port whose frames are being judged,
// which is the path's own between batches, and by posting at any other.
type exits struct {
	own, present *Port
	views        *views
}

// of returns the port of an endpoint.
func (e *exits) of(endpoint uint32) *Port {
	if e.views.ends != nil {
		if x := (*e.views.ends)[endpoint]; x != nil && x.Shares != nil && x.Shares.Exit != nil {
			return x.Shares.Exit
		}
	}
	return e.own
}

// sends reports whether frames of an endpoint can be sent.
func (e *exits) sends(endpoint uint32) bool { return e.of(endpoint).sender != nil }

// deliver sends a frame at its endpoint, and counts failures.
func (e *exits) deliver(f *packet.Frame, r *Recorder) (sent bool) {
	x := e.of(f.Endpoint)
	switch {
	case x != e.present:
		sent = x.post(f, false)
	case x.sender == nil:
		return false
	default:
		sent = x.sender.Send(f) == nil
	}
	if !sent {
		r.count[counter.SendFailed]++
	}
	return sent
}

// discard drops a frame that is held in its queue.
func (e *exits) discard(f *packet.Frame) {
	switch x := e.of(f.Endpoint); {
	case x != e.present:
		x.post(f, true)
	case x.holder != nil:
		x.holder.Discard(f)
	}
}

// holder returns the queue that can keep the frames being judged; nil: they are copied.
func (e *exits) holder() backend.Holder { return e.present.holder }

// enter makes a port the present one.
func (a *actuator) enter(x *Port) {
	a.exits.present = x
	if m := x.maxHeld; m > 0 && (a.held.MaxFrames == 0 || m < a.held.MaxFrames) {
		a.held.MaxFrames = m
	}
}
