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
	// Age is how long ago the session began, ns.
	Age int64
}

// Outcome is what Feed returns.
type Outcome struct {
	// Identified is how far the flow is.
	Identified detect.Outcome
	// Overlap reports that bytes came again with other values.
	Overlap bool
}

// Feed gives a flow the payload of one packet. What parsers see of threats is for TakeThreats.
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
	if f.packets >= detect.MaxPackets || b.Age > detect.MaxTime {
		p.End(f)
	}
	p.follow(f)
	f.packet = nil
	out.Identified = f.Outcome()
	return out
}

// Acked reports bytes of a direction, up to a sequence number, that were acknowledged before they
// were seen. They are waited for as long as for any gap: a tap may see an ACK before its data.
func (p *Pool) Acked(f *Flow, dir parsers.Dir, upTo uint32) {
	if a := f.dirs[dir]; a != nil {
		a.Acked(upTo)
	}
}

// Exchange takes client and server of a flow for each other: they had been mistaken. Those
// elsewhere keep the sides that they were given.
func (p *Pool) Exchange(f *Flow) {
	f.Ident.Exchange()
	f.dirs[0], f.dirs[1] = f.dirs[1], f.dirs[0]
	f.far.sent[0], f.far.sent[1] = f.far.sent[1], f.far.sent[0]
	f.far.flip = f.far.flip.Reverse()
}

// End ends identification: what is found here is known at once, the rest when it is answered.
func (p *Pool) End(f *Flow) {
	switch {
	case f.far.number == 0:
		f.Ident.End()
	case !f.far.ending:
		f.far.ending = true
		p.cfg.Remote.End(f.far.number)
		if !f.far.learned {
			f.Ident.End()
		}
	}
}

// Close ends a flow without waiting any longer for an answer from elsewhere.
func (p *Pool) Close(f *Flow, decided bool) (unanswered bool) {
	if f.far.number != 0 {
		if !decided {
			f.far.lost, unanswered = true, true
		}
		f.leave(p.cfg.Remote)
	}
	f.Ident.End()
	return unanswered
}

// Finish asks for the last answer about a session that has closed, and returns until when
// its last record waits for that, ns; 0 when there is nothing to wait for.
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

// Unanswered reports whether those elsewhere may still make something of what they were given.
func (p *Pool) Unanswered(f *Flow) bool {
	if f.far.number == 0 || f.far.learned {
		return false
	}
	q, ok := p.cfg.Remote.(detect.Prompt)
	return ok && !q.Answered(f.far.number)
}

// leave stops asking elsewhere.
func (f *Flow) leave(r detect.Remote) {
	if f.far.number != 0 {
		r.Close(f.far.number)
		f.far.number = 0
	}
}

// follow follows up on bytes that were given elsewhere.
func (p *Pool) follow(f *Flow) {
	switch {
	case f.far.number == 0:
		return
	case !f.far.learned && f.Chosen():
		f.leave(p.cfg.Remote) // found here
		return
	case f.far.heard && !f.far.learned:
		f.accept()
	}
	if p.cfg.Wait {
		p.Await(syncAnswers)
	}
}

// segment puts a segment in order and gives what is contiguous to the parsers.
func (p *Pool) segment(f *Flow, dir parsers.Dir, b *Bytes) (overlap bool) {
	a := f.dirs[dir]
	if a == nil {
		a = p.streams.Get()
		f.dirs[dir] = a
		a.Init(b.First)
	}
	out := a.Push(b.Seq, b.Data, b.Wire)
	if !out.Retransmit {
		f.packets++
	}
	if out.New {
		undecided := !f.Chosen()
		p.read(f, a, dir)
		if other := f.dirs[dir.Reverse()]; undecided && f.Chosen() && other != nil {
			p.read(f, other, dir.Reverse()) // what the other side sent before a parser had the session
			other.Keep()
		}
	}
	if !a.Keep() || out.Overflow || a.Offset()+uint64(len(a.Head())) >= detect.MaxBytes {
		p.End(f)
	}
	return out.Overlap
}

// read gives what is contiguous in a direction to the parsers, and goes past its gaps.
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

// readFar is read for a flow that is identified elsewhere.
func (p *Pool) readFar(f *Flow, a *stream.Assembler, dir parsers.Dir) {
	for f.Wants() {
		if head := a.Head(); len(head) > 0 {
			used := len(head)
			if !f.far.learned {
				if used = f.Data(dir, head); f.Chosen() {
					a.Consume(used)
					f.leave(p.cfg.Remote) // found here
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

// datagram gives a datagram to the parsers.
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
			return // found here; follow stops asking
		}
	}
	p.cfg.Remote.Data(f.far.number, dir^f.far.flip, data)
	f.far.asked++
}
