package engine

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/session"
	"github.com/sluicenet/sluice/core/stream"
	"github.com/sluicenet/sluice/core/threat"
	"github.com/sluicenet/sluice/parsers"
)

// ident is what a session needs while it is being identified: heap objects, pooled,
// found through session.Aux.
type ident struct {
	detect.Ident
	dirs    [2]*stream.Assembler
	packets int
	held    []packet.Frame // payload frames that wait for the verdict, copied
	heldAt  []uint32       // for each held frame, how many calls of Data had been made elsewhere with it
	until   int64          // when the held frames are let go; 0 while nothing is held
	limit   int64          // when the hold time ends; valid with until
	far     far
	packet  *packet.Packet // whose payload the parsers read; valid while they do
	latest  []byte         // the last packet whose payload went elsewhere, cut at threatBytes

	owner   *worker
	session *session.Session
	report  func(id uint16, text string) // made once, so that a session costs no closure
}

// tell reports a threat that the session's parser saw.
func (id *ident) tell(tid uint16, text string) {
	shown := id.latest
	if id.packet != nil {
		shown = id.packet.Network
	}
	id.owner.threatOf(id.session, shown, tid, text)
}

// identPool keeps the idents of one worker; index 0 is never given.
type identPool struct {
	streams *stream.Pool
	all     []*ident
	free    []uint32
}

func (ip *identPool) get() (uint32, *ident) {
	if n := len(ip.free); n > 0 {
		i := ip.free[n-1]
		ip.free = ip.free[:n-1]
		return i, ip.all[i]
	}
	if len(ip.all) == 0 {
		ip.all = append(ip.all, nil)
	}
	id := new(ident)
	id.report = id.tell
	ip.all = append(ip.all, id)
	return uint32(len(ip.all) - 1), id
}

func (ip *identPool) put(i uint32) {
	id := ip.all[i]
	id.Ident.Close()
	for d, a := range id.dirs {
		if a != nil {
			ip.streams.Put(a)
			id.dirs[d] = nil
		}
	}
	clear(id.held)
	id.held, id.heldAt, id.packets, id.until, id.far = id.held[:0], id.heldAt[:0], 0, 0, far{}
	id.owner, id.session, id.packet, id.latest = nil, nil, nil, id.latest[:0]
	ip.free = append(ip.free, i)
}

// give takes an ident out of the pool, for another worker.
func (ip *identPool) give(i uint32) *ident {
	id := ip.all[i]
	ip.all[i] = new(ident)
	ip.all[i].report = ip.all[i].tell
	ip.free = append(ip.free, i)
	for _, a := range id.dirs {
		if a != nil {
			ip.streams.Release(a)
		}
	}
	return id
}

// adopt takes an ident of another worker in.
func (ip *identPool) adopt(id *ident) uint32 {
	if len(ip.all) == 0 {
		ip.all = append(ip.all, nil)
	}
	for _, a := range id.dirs {
		if a != nil {
			ip.streams.Adopt(a)
		}
	}
	ip.all = append(ip.all, id)
	return uint32(len(ip.all) - 1)
}

// identOf is the session's ident, nil if it has none.
func (w *worker) identOf(s *session.Session) *ident {
	if s.Aux == 0 {
		return nil
	}
	return w.idents.all[s.Aux]
}

// beginIdent gives a session its ident.
func (w *worker) beginIdent(l *look) *ident {
	s := l.s
	i, id := w.idents.get()
	s.Aux = i
	client, cport := s.Client()
	server, sport := s.Server()
	id.Reset(w.e.cfg.Parsers, parsers.Meta{
		Client: client.Netip(), Server: server.Netip(), ClientPort: cport, ServerPort: sport,
		Proto: s.Key.Proto, Midstream: s.Flags&session.Midstream != 0,
	})
	id.owner, id.session = w, s
	id.OnThreat = id.report
	if w.remote != nil {
		id.far.number, id.far.lost = w.remote.Open(&id.Meta, i)
	}
	return id
}

// identify reads a packet's payload.
func (w *worker) identify(l *look) {
	id := w.identOf(l.s)
	if id == nil {
		id = w.beginIdent(l)
	}
	id.packet = l.p
	if id.far.number != 0 {
		id.latest = append(id.latest[:0], cut(l.p.Network)...)
	}
	dir := parsers.Dir(l.dir)
	if id.Meta.Datagram() {
		id.packets++
		if id.far.number != 0 {
			w.datagramFar(id, dir, l.p.Payload)
		} else {
			id.Data(dir, l.p.Payload)
		}
	} else {
		w.push(l, id, dir)
	}
	if id.packets >= detect.MaxPackets || l.s.Last-l.s.Created > detect.MaxTime {
		w.end(id)
	}
	if !w.asked(id) {
		w.settle(l.v, l.s, id)
	}
	id.packet = nil
}

// push puts a segment in order and gives what is contiguous to the parsers.
func (w *worker) push(l *look, id *ident, dir parsers.Dir) {
	seq, first := l.p.Seq, l.tcp.Expected()
	if l.p.Flags&packet.SYN != 0 {
		seq++
		first = seq
	}
	a := id.dirs[dir]
	if a == nil {
		a = w.idents.streams.Get()
		id.dirs[dir] = a
		a.Init(first)
	}
	out := a.Push(seq, l.p.Payload, l.p.PayloadWire)
	if out.Overlap {
		w.threat(l.v, l.p, l.s.ID, threat.Overlap, "tcp data came again with other bytes")
	}
	if !out.Retransmit {
		id.packets++
	}
	if out.New {
		undecided := !id.Chosen()
		w.read(a, id, dir)
		if other := id.dirs[dir.Reverse()]; undecided && id.Chosen() && other != nil {
			w.read(other, id, dir.Reverse()) // what the other side said while nobody listened
			other.Keep()
		}
	}
	if !a.Keep() || out.Overflow || a.Offset()+uint64(len(a.Head())) >= detect.MaxBytes {
		w.end(id)
	}
}

// read gives what is contiguous in a direction to the parsers, and goes past its gaps.
func (w *worker) read(a *stream.Assembler, id *ident, dir parsers.Dir) {
	if id.far.number != 0 {
		w.readFar(a, id, dir)
		return
	}
	for id.Wants() {
		if head := a.Head(); len(head) > 0 {
			a.Consume(id.Data(dir, head))
		}
		n := a.Gap()
		if n == 0 {
			return
		}
		id.Gap(dir, n)
		a.Skip()
	}
}

// lost tells the parsers of bytes that were acknowledged and never seen.
func (w *worker) lost(l *look) {
	id := w.identOf(l.s)
	if id == nil {
		return
	}
	back := parsers.Dir(l.dir).Reverse()
	if a := id.dirs[back]; a != nil && a.Lost(l.p.Ack) > 0 {
		w.read(a, id, back)
		a.Keep()
		if !w.asked(id) {
			w.settle(l.v, l.s, id)
		}
	}
}

// settle takes what identification found into the session.
func (w *worker) settle(v *view, s *session.Session, id *ident) {
	if id.far.number == 0 && id.Outcome() == detect.Undecided && w.hopeless(v, s, id) {
		id.End()
	}
	switch id.outcome() {
	case detect.Preamble:
		w.release(s, id)
	case detect.Decided:
		if app.ID(s.App) == app.Undecided {
			s.App, s.Base, s.Strength = uint16(id.App), uint16(id.Base), uint8(id.Strength)
			s.Flags |= flagChanged
			if id.App == app.Unknown && id.far.lost {
				s.Flags |= flagLost
				w.count[counter.Unidentified]++
			}
			w.count[counter.Identified]++
			w.evaluate(v, s)
			if flow.Verdict(s.Verdict) != flow.Pending {
				w.settleHeld(s, id)
			}
		} else if s.Strength != uint8(id.Strength) {
			s.Strength = uint8(id.Strength)
			s.Flags |= flagChanged
		}
	}
	if !id.wants() && (id.far.number == 0 || id.far.learned && id.far.news.Ended) {
		w.endIdent(s, id)
	}
}

// endIdent tells what was found and takes the ident from its session.
func (w *worker) endIdent(s *session.Session, id *ident) {
	s.Flags |= flagIdentified
	if d := id.Attrs.Detail(); d != nil {
		w.record(s, flow.Update, d)
	}
	w.dropHeld(id)
	w.leave(id)
	w.idents.put(s.Aux)
	s.Aux = 0
}
