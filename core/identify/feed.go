package identify

import (
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/stream"
	"github.com/sluicenet/sluice/parsers"
)

// Bytes is the payload of one packet.
type Bytes struct {
	Data []byte // borrowed until Feed returns
	Wire int    // its length on the wire
	// Seq is the sequence number of the first byte, First that of the first byte of the
	// direction if none was seen yet; for streams.
	Seq, First uint32
	// Packet is the whole packet, from its IP header on, for Threat.Packet. Borrowed as Data.
	Packet []byte
	// Later delays reading a stream's bytes until bytes without it come, of either direction: they
	// may belong to no connection.
	Later bool
	// Age is how long ago the session began, ns.
	Age int64
	// Copy reports that the packet is delivered whatever it holds. Such ones are read for a second beyond the limit of
	// time, so that it does not matter how their bytes were cut.
	Copy bool
}

// Outcome is the result of Feed.
type Outcome struct {
	// Identified is the progress of the flow.
	Identified detect.Outcome
	// Overlap reports that bytes arrived again with other values.
	Overlap bool
}

// Feed passes the payload of one packet to a flow. TakeThreats returns the threats that
// parsers find in it.
func (p *Pool) Feed(f *Flow, dir parsers.Dir, b Bytes) Outcome {
	var out Outcome
	f.packet = b.Packet
	if f.far.number != 0 {
		f.latest = append(f.latest[:0], b.Packet[:min(len(b.Packet), PacketBytes)]...)
	}
	if f.Meta.Datagram() {
		f.packets++
		p.datagram(f, dir, b.Data)
	} else {
		out.Overlap = p.segment(f, dir, &b)
	}
	if b.Copy && f.overdue == 0 && b.Age > detect.MaxTime {
		f.overdue = b.Age
	}
	if f.packets >= detect.MaxPackets || b.Age > detect.MaxTime && f.Expired(b.Age) {
		p.EndAtLimit(f)
	}
	p.follow(f)
	f.packet = nil
	out.Identified = f.Outcome()
	return out
}

// Acked reports bytes of a direction, up to a sequence number, that were acknowledged before
// they were seen. They are waited for as long as for any gap: a tap may see an ACK before its
// data.
func (p *Pool) Acked(f *Flow, dir parsers.Dir, upTo uint32) {
	if a := f.dirs[dir]; a != nil {
		a.Acked(upTo)
	}
}

// Exchange swaps client and server of a flow that had been mistaken. The remote keeps the
// sides it was given.
func (p *Pool) Exchange(f *Flow) {
	f.Ident.Exchange()
	f.dirs[0], f.dirs[1] = f.dirs[1], f.dirs[0]
	f.far.sent[0], f.far.sent[1] = f.far.sent[1], f.far.sent[0]
	f.far.flip = f.far.flip.Reverse()
}

// EndAtLimit ends identification because a limit was reached, not because of the bytes.
func (p *Pool) EndAtLimit(f *Flow) {
	if p.continues(f) {
		return
	}
	if !f.limited && f.Open() {
		f.limited, f.leftover = true, f.left()
	}
	p.End(f)
}

// End ends identification: the local result is known at once, the remote one when it is
// answered.
func (p *Pool) End(f *Flow) {
	p.readDelayed(f)
	switch {
	case f.far.number == 0:
		f.Ident.End()
	case !f.far.ending:
		f.far.ending = true
		p.cfg.Remote.End(f.far.number)
		if !f.far.learned {
			f.Ident.End()
		}
		// What was answered before, and left room for a parser here, counts now.
		if f.far.received && !f.far.learned {
			f.accept()
			p.list(f)
		}
	}
}

// readDelayed reads bytes that Bytes.Later delayed: nothing without it has come, so they are all that is known.
func (p *Pool) readDelayed(f *Flow) {
	if !f.later {
		return
	}
	f.later = false
	for dir, a := range f.dirs {
		if a != nil {
			p.read(f, a, parsers.Dir(dir))
			a.Keep()
		}
	}
}

// Close ends a flow without waiting any longer for a remote answer.
func (p *Pool) Close(f *Flow, decided bool) (unanswered bool) {
	if f.far.number != 0 {
		if !decided {
			f.far.lost, unanswered = true, true
		}
		f.leaveRemote(p.cfg.Remote)
	}
	p.readDelayed(f)
	f.Ident.End()
	return unanswered
}

// Finish requests the last answer about a session that has closed, and returns until when its
// last record waits for that, ns; 0 when there is nothing to wait for.
func (p *Pool) Finish(f *Flow, now int64) int64 {
	if f.far.number == 0 {
		return 0
	}
	p.End(f)
	if p.cfg.Wait {
		p.Await(syncAnswers)
		return 0
	}
	if f.far.endBy == 0 {
		f.far.endBy = now + closeWait
	}
	if now >= f.far.endBy {
		return 0
	}
	return f.far.endBy
}

// Unanswered reports whether a remote answer to the bytes sent is still possible.
func (p *Pool) Unanswered(f *Flow) bool {
	if f.far.number == 0 || f.far.learned {
		return false
	}
	q, ok := p.cfg.Remote.(detect.Prompt)
	return ok && !q.Answered(f.far.number)
}

// leaveRemote ends the remote identification.
func (f *Flow) leaveRemote(r detect.Remote) {
	if f.far.number != 0 {
		r.Close(f.far.number)
		f.far.number = 0
	}
}

// follow handles bytes that were sent to the remote.
func (p *Pool) follow(f *Flow) {
	switch {
	case f.far.number == 0:
		return
	case !f.far.learned && f.Chosen():
		f.leaveRemote(p.cfg.Remote) // found locally
		return
	case f.far.received && !f.far.learned:
		f.accept()
	}
	if p.cfg.Wait {
		p.Await(syncAnswers)
	}
}

// segment reassembles a segment and passes contiguous bytes to the parsers.
func (p *Pool) segment(f *Flow, dir parsers.Dir, b *Bytes) (overlap bool) {
	a := f.dirs[dir]
	if a == nil {
		a = p.streams.Get(f.Share)
		f.dirs[dir] = a
		a.Init(b.First)
	}
	out := a.Push(b.Seq, b.Data, b.Wire)
	if !out.Retransmit {
		f.packets++
	}
	if b.Later {
		f.later = true
	} else if f.later {
		f.later, out.New = false, true
		if other := f.dirs[dir.Reverse()]; other != nil {
			p.read(f, other, dir.Reverse())
			other.Keep()
		}
	}
	if out.New && !b.Later {
		chosen, upgraded := f.Chosen(), f.Upgraded()
		p.read(f, a, dir)
		if other := f.dirs[dir.Reverse()]; (chosen != f.Chosen() || upgraded != f.Upgraded()) && other != nil {
			p.read(f, other, dir.Reverse()) // bytes of the other side that waited for a parser
			other.Keep()
		}
	}
	switch stopped := !a.Keep() || out.Overflow; {
	case f.follows && (stopped || len(a.Head()) >= detect.MaxBytes):
		p.unfollow(f)
		p.End(f)
	case stopped, a.Offset()+uint64(len(a.Head())) >= detect.MaxBytes:
		p.EndAtLimit(f)
	}
	return out.Overlap
}

// read passes the contiguous bytes of a direction to the parsers, and skips gaps.
func (p *Pool) read(f *Flow, a *stream.Assembler, dir parsers.Dir) {
	if f.far.number != 0 {
		p.readFar(f, a, dir)
		return
	}
	for f.Ident.Wants() {
		if head := a.Head(); len(head) > 0 {
			a.Consume(f.Data(dir, head))
		}
		n := a.Gap()
		if n == 0 {
			return
		}
		f.Gap(dir, n)
		a.Skip()
	}
}

// readFar is read for a flow that is identified remotely.
func (p *Pool) readFar(f *Flow, a *stream.Assembler, dir parsers.Dir) {
	for f.Wants() {
		if head := a.Head(); len(head) > 0 {
			used := len(head)
			if !f.far.learned {
				if used = f.Data(dir, head); f.Chosen() {
					a.Consume(used)
					f.leaveRemote(p.cfg.Remote) // found locally
					p.read(f, a, dir)
					return
				}
			}
			if known := f.far.sent[dir] - a.Offset(); known < uint64(len(head)) {
				p.cfg.Remote.Data(f.far.number, dir^f.far.flip, head[known:])
				f.far.asked++
				f.far.sent[dir] = a.Offset() + uint64(len(head))
			}
			a.Consume(used)
		}
		n := a.Gap()
		if n == 0 {
			return
		}
		p.cfg.Remote.Gap(f.far.number, dir^f.far.flip, n)
		if !f.far.learned {
			f.Gap(dir, n)
		}
		a.Skip()
		f.far.sent[dir] = a.Offset()
	}
}

// datagram passes a datagram to the parsers.
func (p *Pool) datagram(f *Flow, dir parsers.Dir, data []byte) {
	if f.far.number == 0 {
		f.Data(dir, data)
		return
	}
	if !f.Wants() || len(data) == 0 {
		return
	}
	if !f.far.learned {
		if f.Data(dir, data); f.Chosen() {
			return // found locally; follow ends the remote identification
		}
	}
	p.cfg.Remote.Data(f.far.number, dir^f.far.flip, data)
	f.far.asked++
}
