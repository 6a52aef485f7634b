// Package hold keeps packets of sessions whose application is not known yet: how many, in
// which order and until when. It sends and drops nothing: it returns the frames, and whoever
// asked decides what becomes of them. One worker uses a Room; it takes no lock.
package hold

import (
	"bytes"

	"github.com/sluicenet/sluice/core/packet"
)

// Bounds of what is held.
const (
	MaxFrames = 64       // of one session; the largest datagram comes in 46
	MaxBytes  = 32 << 20 // of one Room
)

// recheck is how soon deadlines are checked again after one has passed, ns.
const recheck = int64(10e6)

// Due reports what a session's deadline says.
type Due uint8

// Deadlines.
const (
	// NotYet: nothing is held, or it may wait longer.
	NotYet Due = iota
	// Quiet: nothing more came for the pause that lets held packets go.
	Quiet
	// Expired: the hold time is over.
	Expired
)

// Room holds packets of many sessions. The zero value is empty. Sessions are named by small
// numbers from 1 on, which the caller gives and uses again.
type Room struct {
	queues  []queue
	bytes   int
	waiting int            // queues that hold something
	alarm   int64          // when deadlines are due to be looked at; valid while waiting is not 0
	out     []packet.Frame // what Take returned last
}

// queue is what is held of one session.
type queue struct {
	frames []packet.Frame
	asked  []uint32 // for each frame, how many questions had been asked elsewhere with it
	until  int64    // when the frames are let go; valid while there are any
	limit  int64    // when the hold time ends; valid with until
}

// Times are what a session's deadline depends on, in ns.
type Times struct {
	Hold  int64 // the group's hold time, from the first held packet on
	Pause int64 // 0: held packets are let go at the end of the hold time only
}

// Bytes returns how many bytes are held.
func (r *Room) Bytes() int { return r.bytes }

// Len returns how many packets of a session are held.
func (r *Room) Len(n uint32) int {
	if int(n) >= len(r.queues) {
		return 0
	}
	return len(r.queues[n].frames)
}

// Fits reports whether there is room for frames more packets of a session, of size bytes.
func (r *Room) Fits(n uint32, frames, size int) bool {
	return r.Len(n)+frames <= MaxFrames && r.bytes+size <= MaxBytes
}

// Put keeps a copy of a frame behind those of its session. asked is the number of questions
// that had been asked about the session elsewhere, this packet included.
func (r *Room) Put(n uint32, f *packet.Frame, asked uint32) {
	for int(n) >= len(r.queues) {
		r.queues = append(r.queues, queue{})
	}
	q := &r.queues[n]
	if len(q.frames) == 0 {
		r.waiting++
	}
	kept := *f
	kept.Data = bytes.Clone(f.Data)
	q.frames = append(q.frames, kept)
	q.asked = append(q.asked, asked)
	r.bytes += len(kept.Data)
}

// Wait sets the deadline of a session for the packet that is about to be Put, and returns it.
func (r *Room) Wait(n uint32, now int64, t Times) (until int64) {
	for int(n) >= len(r.queues) {
		r.queues = append(r.queues, queue{})
	}
	q := &r.queues[n]
	if len(q.frames) == 0 {
		q.limit = now + t.Hold
	}
	q.until = q.limit
	if t.Pause > 0 {
		q.until = min(q.limit, now+t.Pause)
	}
	r.ring(now, q.until)
	return q.until
}

// Extend has a session wait for another pause, and no longer than its hold time.
func (r *Room) Extend(n uint32, now, pause int64) (until int64) {
	q := &r.queues[n]
	q.until = min(q.limit, now+pause)
	r.ring(now, q.until)
	return q.until
}

// ring moves the alarm forward.
func (r *Room) ring(now, at int64) {
	if r.alarm <= now || at < r.alarm {
		r.alarm = at
	}
}

// Until returns a session's deadline; 0 while nothing of it is held.
func (r *Room) Until(n uint32) int64 {
	if r.Len(n) == 0 {
		return 0
	}
	return r.queues[n].until
}

// Due reports whether a session's deadline has come, and which.
func (r *Room) Due(n uint32, now int64) Due {
	switch until := r.Until(n); {
	case until == 0 || now < until:
		return NotYet
	case until < r.queues[n].limit:
		return Quiet
	}
	return Expired
}

// Alarm returns when the deadlines are to be looked at next; 0 while nothing is held.
func (r *Room) Alarm(now int64) int64 {
	if r.waiting == 0 {
		return 0
	}
	if r.alarm <= now {
		r.alarm = now + recheck
	}
	return r.alarm
}

// Known returns how many of a session's first packets were part of the questions up to
// number asked: an answer to those knows nothing of the packets behind them.
func (r *Room) Known(n, asked uint32) int {
	if r.Len(n) == 0 {
		return 0
	}
	known := 0
	for _, a := range r.queues[n].asked {
		if a > asked {
			break
		}
		known++
	}
	return known
}

// Take gives up the first count packets of a session, in the order of their coming. They are
// valid until the next Take.
func (r *Room) Take(n uint32, count int) []packet.Frame {
	clear(r.out)
	r.out = r.out[:0]
	count = min(count, r.Len(n))
	if count == 0 {
		return nil
	}
	q := &r.queues[n]
	r.out = append(r.out, q.frames[:count]...)
	for i := range r.out {
		r.bytes -= len(r.out[i].Data)
	}
	rest := copy(q.frames, q.frames[count:])
	clear(q.frames[rest:])
	q.frames = q.frames[:rest]
	q.asked = q.asked[:copy(q.asked, q.asked[count:])]
	if rest == 0 {
		r.waiting--
	}
	return r.out
}

// TakeAll gives up everything that is held of a session.
func (r *Room) TakeAll(n uint32) []packet.Frame { return r.Take(n, r.Len(n)) }
