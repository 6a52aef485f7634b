// Package hold stores packets of sessions whose application is not known yet, in order,
// within bounds and deadlines. It sends and drops nothing: it returns the frames, and the
// caller decides about them. One worker uses a Room; it takes no lock.
package hold

import (
	"bytes"

	"github.com/sluicenet/sluice/core/packet"
)

// recheck is how soon deadlines are checked again after one has passed, ns.
const recheck = int64(10e6)

// Unread is the Piece.Asked of a packet with bytes that identification has not read: they are
// behind a gap. Read changes it.
const Unread = ^uint32(0)

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
	// MaxFrames bounds the packets of all sessions, for queues that keep them in a place with a
	// bound of its own; 0 is no bound.
	MaxFrames int

	queues  []queue
	total   usage
	waiting int   // non-empty queues
	alarm   int64 // when deadlines must be checked; valid while waiting is not 0
	shares  map[string]int
	peers   map[Owner]int
	out     []packet.Frame // result of the last Take
}

// queue is the held packets of one session.
type queue struct {
	owner  Owner
	used   usage
	frames []packet.Frame
	pieces []Piece // for each frame
	until  int64   // when the frames are released; valid while there are any
	limit  int64   // end of the hold time; valid with until
	sample packet.Frame
}

// Piece is the place of a packet's payload in its session.
type Piece struct {
	// Asked is the number of remote requests sent up to and with its payload; Unread while its
	// payload was not read. Without a remote it is 0 once it was read.
	Asked uint32
	// Stream is true for TCP; Dir, Seq, and End, the sequence numbers of its payload, are valid
	// then.
	Stream   bool
	Dir      uint8
	Seq, End uint32
	// At is the offset of the payload in the frame; 0 where the frame is a fragment of it.
	At int
}

// Times determine a session's deadline, in ns.
type Times struct {
	Hold  int64 // the group's hold time, from the first held packet
	Pause int64 // 0: held packets are released only at the end of the hold time
}

// Begin prepares a session that begins to use a number.
func (r *Room) Begin(n uint32, o Owner) {
	q := r.queue(n)
	q.owner = o
	q.sample = packet.Frame{Data: q.sample.Data[:0]}
}

// queue returns a session's queue, which is created if it is missing.
func (r *Room) queue(n uint32) *queue {
	for int(n) >= len(r.queues) {
		r.queues = append(r.queues, queue{})
	}
	return &r.queues[n]
}

// Bytes returns the number of held bytes, with the overhead of each packet.
func (r *Room) Bytes() int { return r.total.bytes }

// Len returns the number of held packets of a session.
func (r *Room) Len(n uint32) int {
	if int(n) >= len(r.queues) {
		return 0
	}
	return len(r.queues[n].frames)
}

// Put stores a copy of a frame behind those of its session.
func (r *Room) Put(n uint32, f *packet.Frame, p Piece) {
	q := r.queue(n)
	if len(q.frames) == 0 {
		r.waiting++
	}
	kept := *f
	kept.Data = bytes.Clone(f.Data)
	q.frames = append(q.frames, kept)
	q.pieces = append(q.pieces, p)
	r.count(q, 1, cost(&kept))
}

// Wait sets the deadline of a session for the packet that is about to be Put, and returns it.
func (r *Room) Wait(n uint32, now int64, t Times) (until int64) {
	q := r.queue(n)
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

// Read records that identification has read a direction of a stream up to a sequence number,
// with asked remote requests.
func (r *Room) Read(n uint32, dir uint8, next, asked uint32) {
	if int(n) >= len(r.queues) {
		return
	}
	pieces := r.queues[n].pieces
	for i := range pieces {
		if p := &pieces[i]; p.Asked == Unread && p.Dir == dir && int32(p.End-next) <= 0 {
			p.Asked = asked
		}
	}
}

// Take removes and returns the packets of a session whose payload was part of the remote
// requests up to number asked, in order of arrival: an answer to those does not cover the
// others. They are valid until the next Take.
func (r *Room) Take(n, asked uint32) []packet.Frame {
	return r.removeFrames(n, func(p *Piece) bool { return p.Asked != Unread && p.Asked <= asked })
}

// TakeAll removes and returns all held packets of a session.
func (r *Room) TakeAll(n uint32) []packet.Frame {
	return r.removeFrames(n, func(*Piece) bool { return true })
}

func (r *Room) removeFrames(n uint32, which func(*Piece) bool) []packet.Frame {
	clear(r.out)
	r.out = r.out[:0]
	if r.Len(n) == 0 {
		return nil
	}
	q := &r.queues[n]
	rest := 0
	for i := range q.frames {
		if which(&q.pieces[i]) {
			r.count(q, -1, -cost(&q.frames[i]))
			r.out = append(r.out, q.frames[i])
			continue
		}
		q.frames[rest], q.pieces[rest] = q.frames[i], q.pieces[i]
		rest++
	}
	clear(q.frames[rest:])
	q.frames, q.pieces = q.frames[:rest], q.pieces[:rest]
	if rest == 0 {
		r.waiting--
	}
	return r.out
}

// sampleBytes is how much of a frame Sample keeps: its headers.
const sampleBytes = 256

// SetSample keeps the beginning of a session's first frame, so that its ends can be answered
// later without a packet.
func (r *Room) SetSample(n uint32, f *packet.Frame) {
	q := r.queue(n)
	if len(q.sample.Data) > 0 {
		return
	}
	kept := *f
	kept.Data = append(q.sample.Data[:0], f.Data[:min(len(f.Data), sampleBytes)]...)
	if len(kept.Data) < len(f.Data) {
		kept.Flags |= packet.Truncated
	}
	q.sample = kept
}

// Sample returns that frame; nil without one.
func (r *Room) Sample(n uint32) *packet.Frame {
	if int(n) >= len(r.queues) || len(r.queues[n].sample.Data) == 0 {
		return nil
	}
	return &r.queues[n].sample
}
