package sip

import (
	"bytes"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// stream is one session: messages of both sides, read for the media that they agree on.
type stream struct {
	p    parser
	meta parsers.Meta
	sink parsers.Sink
	seen [2]bool // that side's first message was judged
	lost [2]bool // where that side's messages begin is unknown
	skip [2]int  // bytes of a body that is not read
	odd  uint8   // datagrams that were not the protocol's
}

// Limits of a message that is read whole.
const (
	maxMessage = 12 << 10
	maxOdd     = 3
)

// Follows implements parsers.Follower.
func (parser) Follows() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{p: p, meta: *m, sink: sink}
}

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if s.meta.Datagram() {
		return s.datagram(dir, data)
	}
	used := 0
	for used < len(data) {
		n, state := s.next(dir, data[used:])
		if state == parsers.Rejected && used > 0 {
			state, n, s.lost[dir] = parsers.Named, len(data)-used, true
		}
		if used += n; state != parsers.Named || n == 0 {
			return parsers.Result{Used: used, State: state}
		}
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// datagram reads a message that is a datagram.
func (s *stream) datagram(dir parsers.Dir, data []byte) parsers.Result {
	if s.p.Probe(&s.meta, dir, data) == parsers.No {
		if s.odd++; s.odd > maxOdd || !s.seen[0] && !s.seen[1] {
			return parsers.Result{State: parsers.Rejected}
		}
		return parsers.Result{Used: len(data), State: parsers.Named}
	}
	s.report(dir, data)
	if head, body, found := cutHeader(data); found {
		s.message(dir, head, body)
	}
	return parsers.Result{Used: len(data), State: parsers.Named}
}

// next reads a message, or a part of what is skipped, at the beginning of data, and returns how much
// it used; 0 where more is needed.
func (s *stream) next(dir parsers.Dir, data []byte) (used int, state parsers.State) {
	switch {
	case s.lost[dir]:
		return len(data), parsers.Named
	case s.skip[dir] > 0:
		n := min(s.skip[dir], len(data))
		s.skip[dir] -= n
		return n, parsers.Named
	case s.seen[dir] && (data[0] == '\r' || data[0] == '\n'): // RFC 3261 7.5, RFC 5626 3.5.1
		return 1, parsers.Named
	case s.seen[dir] && data[0] == '$' && s.p.id == app.RTSP:
		return len(data), parsers.Done // the media is in this session (RFC 7826 14)
	}
	switch s.p.Probe(&s.meta, dir, data[:min(len(data), parsers.MaxHead)]) {
	case parsers.More:
		return 0, parsers.Named
	case parsers.No:
		if !s.seen[dir] {
			return 0, parsers.Rejected
		}
		s.lost[dir] = true
		return len(data), parsers.Named
	}
	s.report(dir, data)
	head, body, found := cutHeader(data[:min(len(data), maxMessage)])
	if !found {
		s.lost[dir] = len(data) >= maxMessage
		return 0, parsers.Named
	}
	n := length(head)
	whole := len(data[:min(len(data), maxMessage)]) - len(body) + n
	switch {
	case n < 0:
		s.lost[dir] = true
		return len(data), parsers.Named
	case whole > maxMessage:
		s.skip[dir] = whole
		return s.next(dir, data)
	case len(body) < n:
		return 0, parsers.Named
	}
	s.message(dir, head, body[:n])
	return whole, parsers.Named
}

// report reports a side's first message.
func (s *stream) report(dir parsers.Dir, data []byte) {
	if !s.seen[dir] {
		s.seen[dir] = true
		s.p.Tell(&s.meta, dir, data, s.sink)
	}
}

// message reads what a message announces.
func (s *stream) message(dir parsers.Dir, head, body []byte) {
	if s.p.id == app.RTSP {
		s.transports(dir, head)
		return
	}
	if kind := header(head, "content-type", "c"); bytes.EqualFold(bytes.TrimSpace(before(kind, ';')), []byte("application/sdp")) {
		s.media(dir, body)
	}
}

// Gap implements parsers.Stream.
func (s *stream) Gap(dir parsers.Dir, n int) bool {
	switch {
	case s.meta.Datagram():
	case n > 0 && n <= s.skip[dir]:
		s.skip[dir] -= n
	default:
		s.lost[dir] = true
	}
	return s.seen[0] || s.seen[1]
}

// Close implements parsers.Stream.
func (*stream) Close() {}

// cutHeader returns the lines of a message and what is behind the empty one.
func cutHeader(b []byte) (head, body []byte, found bool) {
	if head, body, found = bytes.Cut(b, []byte("\r\n\r\n")); found {
		return head, body, true
	}
	return bytes.Cut(b, []byte("\n\n"))
}

// header returns the value of a field by its name or its short form, in lower case; nil without it.
func header(head []byte, name, short string) []byte {
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\n"))
		key, value, found := bytes.Cut(line, []byte(":"))
		if key = bytes.TrimSpace(key); found && (bytes.EqualFold(key, []byte(name)) || short != "" && bytes.EqualFold(key, []byte(short))) {
			return bytes.TrimSpace(value)
		}
	}
	return nil
}

// length returns the length of a message's body: 0 where none is stated, -1 where it makes no sense.
func length(head []byte) int {
	v := header(head, "content-length", "l")
	if v == nil {
		return 0
	}
	n, err := strconv.ParseUint(string(v[:min(len(v), 12)]), 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

func before(b []byte, c byte) []byte {
	x, _, _ := bytes.Cut(b, []byte{c})
	return x
}
