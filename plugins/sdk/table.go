package sdk

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/plugins/wire"
)

// Bounds of one stream. The host stays far below them.
const (
	maxSessions = 1 << 18
	maxBuffered = 64 << 20  // bytes waiting for more of all sessions
	maxPending  = 256 << 10 // bytes waiting for more of one direction
	maxThreats  = 16        // of one session
)

// table holds the sessions of one stream and writes findings into out.
type table struct {
	reg      *parsers.Registry
	sessions map[uint64]*session
	free     []*session
	buffered int
	out      []byte
	panics   uint32 // recovered, not yet reported to the host
	panicked string // the last one
}

// session is one identification.
type session struct {
	t        *table
	number   uint64
	ident    detect.Ident
	wait     [2][]byte // bytes to parse again together with following ones
	seen     uint32
	said     detect.News
	failed   bool // a parser panicked or a bound was exceeded: the session is unidentifiable
	attrs    int  // number sent
	threats  int
	onThreat func(id uint16, text string) // created once
}

func newTable(reg *parsers.Registry) *table {
	return &table{reg: reg, sessions: map[uint64]*session{}}
}

func (t *table) close() {
	for _, s := range t.sessions {
		s.closeStream()
	}
}

// handle processes one record. Late records of closed sessions are ignored.
func (t *table) handle(r *wire.Record) {
	if r.Kind == wire.Open {
		t.open(r)
		return
	}
	s := t.sessions[r.Session]
	if s == nil {
		return
	}
	if r.Kind == wire.Close {
		t.drop(s)
		return
	}
	if !s.guarded(r) {
		s.fail()
	}
	t.report(s, r.Kind)
}

// open begins a session.
func (t *table) open(r *wire.Record) {
	if t.sessions[r.Session] != nil {
		return
	}
	if len(t.sessions) >= maxSessions {
		t.out = wire.AppendState(t.out, r.Session, &detect.News{Outcome: detect.Decided, Ended: true, Lost: true})
		return
	}
	var s *session
	if n := len(t.free); n > 0 {
		s, t.free = t.free[n-1], t.free[:n-1]
	} else {
		s = &session{t: t}
		s.onThreat = s.threat
	}
	s.number, s.seen, s.failed, s.attrs, s.threats = r.Session, 0, false, 0, 0
	s.ident.Reset(t.reg, r.Meta())
	s.ident.OnThreat = s.onThreat
	s.said = s.ident.News(0)
	t.sessions[r.Session] = s
}

// drop deletes a session.
func (t *table) drop(s *session) {
	delete(t.sessions, s.number)
	s.closeStream()
	for d := range s.wait {
		t.buffered -= len(s.wait[d])
		s.wait[d] = s.wait[d][:0]
		if cap(s.wait[d]) > 4096 {
			s.wait[d] = nil
		}
	}
	if len(t.free) < 1024 {
		t.free = append(t.free, s)
	}
}

// report writes the changes of a session. After Preamble each answer is written, because it has the number
// of deliverable bytes.
func (t *table) report(s *session, after wire.Kind) {
	if n := s.ident.News(s.seen); n.Renamed != s.said.Renamed {
		n.Ended = false // attributes may follow; this voids previous ones
		s.attrs, s.said = 0, n
		t.out = wire.AppendState(t.out, s.number, &n)
	}
	for ; s.attrs < s.ident.Attrs.Len(); s.attrs++ {
		a, v := s.ident.Attrs.At(s.attrs)
		t.out = wire.Append(t.out, wire.Attr, uint8(a), s.number, []byte(v))
	}
	n := s.ident.News(s.seen)
	n.Lost = s.failed && n.App == app.Unknown
	was := s.said
	was.Seen = n.Seen
	if n != was || n.Outcome == detect.Preamble && n.Seen != s.said.Seen || after == wire.End {
		s.said = n
		t.out = wire.AppendState(t.out, s.number, &n)
	}
	if n.Ended {
		t.drop(s)
	}
}

// guarded runs the parsers on a record, and reports whether none of them panicked.
func (s *session) guarded(r *wire.Record) (ok bool) {
	defer func() {
		if v := recover(); v != nil {
			s.t.recovered(v, r.Kind)
		}
	}()
	s.record(r)
	return true
}

// fail ends a session whose parser panicked, or for which there is no room. It keeps its name; without one
// it is lost, which differs from unknown: nothing may be learned from it. The parser's state is undefined and
// not used again.
func (s *session) fail() {
	n := s.ident.News(s.seen)
	if n.Outcome != detect.Decided || n.App == app.Unknown {
		n = detect.News{Outcome: detect.Decided}
		s.failed = true
	}
	n.Ended = true
	m := s.ident.Meta
	s.closeStream()
	s.ident, s.attrs = detect.Ident{Meta: m}, 0
	s.ident.Learn(n)
}

// closeStream ends the parser's stream, whose Close may panic, too.
func (s *session) closeStream() {
	defer func() {
		if v := recover(); v != nil {
			s.t.recovered(v, wire.Close)
			s.ident = detect.Ident{}
		}
	}()
	s.ident.Close()
}

func (s *session) record(r *wire.Record) {
	dir := parsers.Dir(r.Arg & 1)
	switch r.Kind {
	case wire.Data, wire.Part:
		s.data(dir, r)
	case wire.Gap:
		s.ident.Gap(dir, r.Missing())
		s.used(dir, len(s.wait[dir]))
	case wire.End:
		s.ident.End()
	}
}

// data parses bytes as the engine does in its own process: pending ones together with the new ones, and,
// once they chose a parser or upgraded the session, the other side's.
func (s *session) data(dir parsers.Dir, r *wire.Record) {
	if r.Kind == wire.Data {
		s.seen++
	}
	if !s.ident.Wants() {
		return
	}
	if s.ident.Meta.Datagram() {
		s.ident.Data(dir, r.Body)
		return
	}
	s.wait[dir] = append(s.wait[dir], r.Body...)
	s.t.buffered += len(r.Body)
	if len(s.wait[dir]) > maxPending || s.t.buffered > maxBuffered {
		s.ident.End()
		s.failed = true // dropped bytes might have identified it
		return
	}
	if r.Kind == wire.Part {
		return
	}
	chosen, upgraded := s.ident.Chosen(), s.ident.Upgraded()
	s.read(dir)
	if chosen != s.ident.Chosen() || upgraded != s.ident.Upgraded() {
		s.read(dir.Reverse())
	}
}

func (s *session) read(dir parsers.Dir) {
	if b := s.wait[dir]; len(b) > 0 && s.ident.Wants() {
		s.used(dir, s.ident.Data(dir, b))
	}
}

// used drops parsed bytes.
func (s *session) used(dir parsers.Dir, n int) {
	b := s.wait[dir]
	s.wait[dir] = b[:copy(b, b[n:])]
	s.t.buffered -= n
}

// threat is the callback of the session's parser.
func (s *session) threat(id uint16, text string) {
	if s.threats++; s.threats <= maxThreats {
		s.t.out = wire.AppendThreat(s.t.out, s.number, id, text)
	}
}
