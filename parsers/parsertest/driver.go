package parsertest

import (
	"fmt"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// session asks one parser about one conversation, the way identification does: Probe
// until it is settled, then Open, then Parse with unused bytes coming again.
type session struct {
	p       parsers.Parser
	id      app.ID
	layered bool
	meta    parsers.Meta

	match   [2]parsers.Match
	settled [2]bool // nothing more is asked of Probe
	first   parsers.Dir
	spoke   bool
	pend    [2][]byte
	stream  parsers.Stream
	started bool
	closed  bool // the stream ended, was given up or rejected the bytes
	out     bool
	named   bool
	state   parsers.State
	riding  app.ID
	found   Findings
	// fault is the first breach of the contract.
	fault error
}

func newSession(p parsers.Parser, id app.ID, m parsers.Meta) *session {
	s := &session{p: p, id: id, meta: m}
	_, s.layered = p.(parsers.Layered)
	s.match = [2]parsers.Match{parsers.More, parsers.More}
	return s
}

func (s *session) breach(format string, args ...any) {
	if s.fault == nil {
		s.fault = fmt.Errorf(format, args...)
	}
}

// data delivers one segment or datagram.
func (s *session) data(dir parsers.Dir, b []byte) {
	if s.out || s.closed || len(b) == 0 {
		return
	}
	if !s.spoke {
		s.spoke, s.first = true, dir
	}
	if s.meta.Datagram() {
		s.pend[dir] = nil
	}
	s.pend[dir] = append(s.pend[dir], b...)
	s.probe(dir)
	if !s.started {
		switch {
		case !s.out && s.claimed():
			s.open()
		case s.meta.Datagram():
			s.pend[dir] = nil
		}
		return
	}
	s.parse(dir)
}

func (s *session) claimed() bool {
	return s.match[0] >= parsers.Likely || s.match[1] >= parsers.Likely
}

func (s *session) probe(dir parsers.Dir) {
	if s.settled[dir] {
		return
	}
	head := s.pend[dir]
	m := s.p.Probe(&s.meta, dir, head[:min(len(head), parsers.MaxHead)])
	if m > parsers.Certain {
		s.breach("probe says %d", m)
	}
	s.match[dir] = m
	s.settled[dir] = m != parsers.More
	if m == parsers.No && !s.claimed() {
		s.out = true
	}
}

// open starts the stream and gives it what came so far, the first speaker's bytes first.
func (s *session) open() {
	s.started = true
	s.stream = s.p.Open(&s.meta, s)
	if s.stream == nil {
		s.breach("open gives no stream")
		s.closed = true
		return
	}
	s.named = s.named || !s.layered
	s.parse(s.first)
	s.parse(s.first.Reverse())
}

// parse gives the stream what it has not used; bytes of a side that Probe cannot judge yet wait.
func (s *session) parse(dir parsers.Dir) {
	if s.closed || (!s.settled[dir] && !s.meta.Datagram()) {
		return
	}
	for len(s.pend[dir]) > 0 {
		r := s.stream.Parse(dir, s.pend[dir])
		if r.Used < 0 || r.Used > len(s.pend[dir]) {
			s.breach("parse used %d of %d bytes", r.Used, len(s.pend[dir]))
			s.end()
			return
		}
		s.pend[dir] = s.pend[dir][r.Used:]
		if !s.outcome(r.State) {
			return
		}
		if r.Used == 0 {
			break
		}
	}
	if s.meta.Datagram() {
		s.pend[dir] = nil
	}
	if len(s.pend[dir]) >= parsers.MaxHead {
		s.end()
	}
}

// outcome takes a result's state; false when the stream ended.
func (s *session) outcome(st parsers.State) bool {
	s.state = st
	switch st {
	case parsers.Undecided, parsers.Preamble:
		if s.named && s.layered {
			s.breach("undecided after it was named")
		}
		return true
	case parsers.Named:
		s.named = true
		return true
	case parsers.Done:
		s.named = true
	case parsers.Rejected:
		s.out = true
	default:
		s.breach("parse says state %d", st)
	}
	s.end()
	return false
}

func (s *session) gap(dir parsers.Dir, n int) {
	if s.out || s.closed {
		return
	}
	s.pend[dir] = nil
	if !s.settled[dir] {
		s.settled[dir] = true
	}
	if s.stream != nil && !s.stream.Gap(dir, n) {
		s.named = true
		s.end()
	}
}

func (s *session) end() {
	if !s.closed && s.stream != nil {
		s.stream.Close()
	}
	s.closed = true
}

// findings ends the session.
func (s *session) findings() Findings {
	s.end()
	f := s.found
	if s.out || !s.claimed() {
		return Findings{App: None, Base: None, Final: true}
	}
	f.Strength = max(s.match[0], s.match[1])
	if min(s.match[0], s.match[1]) >= parsers.Likely {
		f.Strength = parsers.Certain
	}
	f.Base, f.App = name(s.id), name(s.id)
	if s.riding != app.Unknown {
		f.App = name(s.riding)
	}
	f.Final = s.named
	return f
}

// App implements parsers.Sink.
func (s *session) App(id app.ID) {
	s.awake("app")
	if s.named && s.layered && id != s.riding {
		s.breach("app %s after it was final", id)
	}
	s.riding = id
}

// Attr implements parsers.Sink.
func (s *session) Attr(a parsers.Attr, v []byte) {
	s.awake("attr")
	if a.String() == "" {
		s.breach("unknown attribute %d", a)
	}
	s.found.attr(a, v)
}

// Threat implements parsers.Sink.
func (s *session) Threat(id uint16, text string) {
	s.awake("threat")
	if id == 0 || text == "" {
		s.breach("threat %d without number or text", id)
	}
	s.found.threat(id)
}

func (s *session) awake(what string) {
	if s.closed {
		s.breach("%s told after the end", what)
	}
}

var _ parsers.Sink = (*session)(nil)

// Replay gives a conversation to a parser and says what it found. The error is a breach of the contract.
func Replay(p parsers.Parser, id app.ID, m parsers.Meta, messages []Message) (Findings, error) {
	s := newSession(p, id, m)
	for i := range messages {
		if g := messages[i].Gap; g != 0 {
			s.gap(messages[i].Dir, g)
		} else {
			s.data(messages[i].Dir, messages[i].Data)
		}
	}
	f := s.findings()
	return f, s.fault
}
