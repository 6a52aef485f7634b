package parsertest

import (
	"fmt"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/parsers"
)

// session has one parser identify one conversation, through the engine's own core/detect and with its limits, and
// watches that the parser keeps the contract.
type session struct {
	ident   detect.Ident
	packets int
	pend    [2][]byte
	offset  [2]int
	watched *watched
}

func newSession(p parsers.Parser, id app.ID, m parsers.Meta) *session {
	s := &session{watched: &watched{Parser: p}}
	reg := &parsers.Registry{}
	on := parsers.TCP
	if m.Datagram() {
		on = parsers.UDP
	}
	if err := reg.Add(s.watched.parser(), id, on); err != nil {
		panic(err)
	}
	s.ident.Reset(reg, m)
	s.ident.OnThreat = s.watched.threat
	return s
}

// data delivers one segment or datagram, as the engine does.
func (s *session) data(dir parsers.Dir, b []byte) {
	if !s.ident.Wants() || len(b) == 0 {
		return
	}
	if s.packets++; s.ident.Meta.Datagram() {
		s.ident.Data(dir, b)
	} else {
		s.pend[dir] = append(s.pend[dir], b...)
		chosen, upgraded := s.ident.Chosen(), s.ident.Upgraded()
		s.read(dir)
		if chosen != s.ident.Chosen() || upgraded != s.ident.Upgraded() {
			s.read(dir.Reverse())
		}
		if s.offset[dir]+len(s.pend[dir]) >= detect.MaxBytes {
			s.ident.End()
		}
	}
	if s.packets >= detect.MaxPackets {
		s.ident.End()
	}
}

// read gives what is pending of a direction.
func (s *session) read(dir parsers.Dir) {
	if len(s.pend[dir]) == 0 || !s.ident.Wants() {
		return
	}
	n := s.ident.Data(dir, s.pend[dir])
	s.pend[dir] = s.pend[dir][n:]
	s.offset[dir] += n
}

func (s *session) gap(dir parsers.Dir, n int) {
	s.offset[dir] += len(s.pend[dir]) + max(n, 0)
	s.pend[dir] = nil
	s.ident.Gap(dir, n)
}

// findings ends the session.
func (s *session) findings() Findings {
	d := &s.ident
	claimed := d.Chosen()
	final := d.Outcome() == detect.Decided
	d.End()
	if !claimed || d.App == app.Unknown {
		return Findings{App: None, Base: None, Final: true}
	}
	f := Findings{App: name(d.App), Base: name(d.Base), Strength: d.Strength, Side: d.Side(), Final: final}
	for i := range d.Attrs.Len() {
		a, v := d.Attrs.At(i)
		f.attr(a, []byte(v))
	}
	for _, id := range s.watched.threats {
		f.threat(id)
	}
	return f
}

// watched is a parser whose calls are checked.
type watched struct {
	parsers.Parser
	threats []uint16
	// fault is the first breach of the contract.
	fault error
}

func (w *watched) breach(format string, args ...any) {
	if w.fault == nil {
		w.fault = fmt.Errorf(format, args...)
	}
}

// The optional abilities of a watched parser.
type (
	layered      struct{ *watched }
	sided        struct{ *watched }
	layeredSided struct{ sided }
)

func (layered) Layered()      {}
func (layeredSided) Layered() {}

// Part implements parsers.Sided.
func (s sided) Part(m *parsers.Meta, head []byte) parsers.Part {
	p := s.Parser.(parsers.Sided).Part(m, head)
	if p > parsers.ServerPart {
		s.breach("part says %d", p)
	}
	return p
}

// parser is w with the abilities of its parser, and no other.
func (w *watched) parser() parsers.Parser {
	_, isLayered := w.Parser.(parsers.Layered)
	_, isSided := w.Parser.(parsers.Sided)
	switch {
	case isLayered && isSided:
		return layeredSided{sided{w}}
	case isLayered:
		return layered{w}
	case isSided:
		return sided{w}
	}
	return w
}

// Probe implements parsers.Parser.
func (w *watched) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	match := w.Parser.Probe(m, dir, head[:min(len(head), parsers.MaxHead)])
	if match > parsers.Certain {
		w.breach("probe says %d", match)
	}
	return match
}

// Open implements parsers.Parser.
func (w *watched) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	_, isLayered := w.Parser.(parsers.Layered)
	s := &watchedStream{w: w, sink: sink, layered: isLayered}
	if s.stream = w.Parser.Open(m, s); s.stream == nil {
		w.breach("open gives no stream")
		return nil
	}
	return s
}

func (w *watched) threat(id uint16, _ string) { w.threats = append(w.threats, id) }

// watchedStream is a stream whose results, and what it reports, are checked.
type watchedStream struct {
	w       *watched
	stream  parsers.Stream
	sink    parsers.Sink
	layered bool
	named   bool
	closed  bool
	riding  app.ID
}

// Parse implements parsers.Stream.
func (s *watchedStream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	r := s.stream.Parse(dir, data)
	if r.Used < 0 || r.Used > len(data) {
		s.w.breach("parse used %d of %d bytes", r.Used, len(data))
	}
	switch r.State {
	case parsers.Undecided, parsers.Preamble:
		if s.named && s.layered {
			s.w.breach("undecided after it was named")
		}
	case parsers.Named, parsers.Done, parsers.Upgraded:
		s.named = true
	case parsers.Rejected:
	default:
		s.w.breach("parse says state %d", r.State)
	}
	return r
}

// Gap implements parsers.Stream.
func (s *watchedStream) Gap(dir parsers.Dir, n int) bool { return s.stream.Gap(dir, n) }

// Close implements parsers.Stream.
func (s *watchedStream) Close() {
	if s.closed {
		s.w.breach("closed twice")
	}
	s.closed = true
	s.stream.Close()
}

// App implements parsers.Sink.
func (s *watchedStream) App(id app.ID) {
	s.awake("app")
	if s.named && s.layered && id != s.riding {
		s.w.breach("app %s after it was final", id)
	}
	s.riding = id
	s.sink.App(id)
}

// Attr implements parsers.Sink.
func (s *watchedStream) Attr(a parsers.Attr, v []byte) {
	s.awake("attr")
	if a.String() == "" {
		s.w.breach("unknown attribute %d", a)
	}
	s.sink.Attr(a, v)
}

// Threat implements parsers.Sink.
func (s *watchedStream) Threat(id uint16, text string) {
	s.awake("threat")
	if id == 0 || text == "" {
		s.w.breach("threat %d without number or text", id)
	}
	s.sink.Threat(id, text)
}

func (s *watchedStream) awake(what string) {
	if s.closed {
		s.w.breach("%s reported after the end", what)
	}
}

var (
	_ parsers.Sink   = (*watchedStream)(nil)
	_ parsers.Stream = (*watchedStream)(nil)
)

// Replay gives a conversation to a parser and reports what it found. The error is a breach of the contract.
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
	return f, s.watched.fault
}
