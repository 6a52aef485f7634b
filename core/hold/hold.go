// Package hold stores packets of sessions whose application is not known yet, in order,
// within bounds and deadlines. It sends and drops nothing: it returns the frames, and the
// caller decides about them. One worker uses a Room; it takes no lock.
package hold

import (
	"bytes"

	"github.com/sluicenet/sluice/core/packet"
)

// Bounds of the held packets.
const (
	MaxFrames = 64       // of one session; the largest datagram has 46 fragments
	MaxBytes  = 32 << 20 // of one Room
)

// recheck is how soon deadlines are checked again after one has passed, ns.
const recheck = int64(10e6)

// Due is the state of a session's deadline.
type Due uint8

// Deadlines.
const (
	// NotYet: nothing is held, or it may wait longer.
	NotYet Due = iota
	// Quiet: no packet arrived for the pause after which held packets are released.
	Quiet
	// Expired: the hold time has expired.
	Expired
)

// Room holds packets of many sessions. The zero value is empty. Sessions are identified by
// small numbers from 1 on, which the caller assigns and reuses.
type Room struct {
	queues  []queue
	bytes   int
	waiting int            // non-empty queues
	alarm   int64          // when deadlines must be checked; valid while waiting is not 0
	out     []packet.Frame // result of the last Take
}

// queue is the held packets of one session.
type queue struct {
	frames []packet.Frame
	asked  []uint32 // for each frame, the number of remote requests sent up to it
	until  int64    // when the frames are released; valid while there are any
	limit  int64    // end of the hold time; valid with until
}

// Times determine a session's deadline, in ns.
type Times struct {
	Hold  int64 // the group's hold time, from the first held packet
	Pause int64 // 0: held packets are released only at the end of the hold time
}

// Bytes returns the number of held bytes.
func (r *Room) Bytes() int { return r.bytes }

// Len returns the number of held packets of a session.
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

// Put stores a copy of a frame behind those of its session. asked is the number of remote
// requests about the session so far, this packet included.
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

// Extend makes a session wait for another pause, at most until the end of its hold time.
func (r *Room) Extend(n uint32, now, pause int64) (until int64) {
	q := &r.queues[n]
	q.until = min(q.limit, now+pause)
	r.ring(now, q.until)
	return q.until
}

// ring moves the alarm forward. One that has passed was for other packets, whose deadlines are
// still to be checked: it must not be replaced by a later one.
func (r *Room) ring(now, at int64) {
	switch {
	case r.waiting == 0:
		r.alarm = at
	case r.alarm <= now:
		r.alarm = min(at, now+recheck)
	default:
		r.alarm = min(at, r.alarm)
	}
}

// Until returns a session's deadline; 0 while none of its packets is held.
func (r *Room) Until(n uint32) int64 {
	if r.Len(n) == 0 {
		return 0
	}
	return r.queues[n].until
}

// Due reports whether a session's deadline has passed, and which.
func (r *Room) Due(n uint32, now int64) Due {
	switch until := r.Until(n); {
	case until == 0 || now < until:
		return NotYet
	case until < r.queues[n].limit:
		return Quiet
	}
	return Expired
}

// Alarm returns when the deadlines must be checked next; 0 while nothing is held.
func (r *Room) Alarm(now int64) int64 {
	if r.waiting == 0 {
		return 0
	}
	if r.alarm <= now {
		r.alarm = now + recheck
	}
	return r.alarm
}

// Known returns how many of a session's first packets were part of the requests up to number
// asked: an answer to those does not cover the packets behind them.
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

// Take removes and returns the first count packets of a session, in order of arrival. They
// are valid until the next Take.
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

// TakeAll removes and returns all held packets of a session.
func (r *Room) TakeAll(n uint32) []packet.Frame { return r.Take(n, r.Len(n)) }
