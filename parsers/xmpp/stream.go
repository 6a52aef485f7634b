package xmpp

import (
	"bytes"

	"github.com/sluicenet/sluice/parsers"
)

// stream reads each side's header, and tags up to a change to TLS or to the first after which none begins.
type stream struct {
	sink  parsers.Sink
	seen  [2]bool // the header was read
	asked bool    // the client asked for TLS
	over  bool
}

var _ parsers.Stream = (*stream)(nil)

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	used := 0
	if !s.seen[dir] {
		rest, match := header(data)
		switch match {
		case parsers.No:
			return parsers.Result{State: parsers.Rejected}
		case parsers.More:
			return parsers.Result{State: parsers.Named}
		}
		s.seen[dir] = true
		used = len(data[:min(len(data), maxHead)]) - len(rest)
		if dir == parsers.ToServer {
			s.sink.Attr(parsers.Host, value(data[:used], "to"))
		}
	}
	for used < len(data) && !s.over {
		n, state := s.step(dir, data[used:])
		if used += n; n == 0 || state == parsers.Upgraded {
			return parsers.Result{Used: used, State: state}
		}
	}
	if s.over {
		used = len(data)
	}
	if s.over && s.seen[0] && s.seen[1] {
		return parsers.Result{Used: used, State: parsers.Done}
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// step reads text up to a tag, or a tag, and returns its length: 0 where more bytes, or the other side's, are needed first.
func (s *stream) step(dir parsers.Dir, b []byte) (int, parsers.State) {
	if dir == parsers.ToServer && s.asked {
		return 0, parsers.Named // until the answer
	}
	if b[0] != '<' {
		if at := bytes.IndexByte(b, '<'); at > 0 {
			return at, parsers.Named
		}
		return len(b), parsers.Named
	}
	end := tagEnd(b)
	if end < 0 {
		s.over = len(b) > maxHead
		return 0, parsers.Named
	}
	name := b[1:end]
	if at := bytes.IndexAny(name, " \t\r\n/>"); at > 0 {
		name = name[:at]
	}
	switch string(name) {
	case "starttls":
		s.asked = dir == parsers.ToServer
	case "proceed":
		if dir == parsers.ToClient && !s.asked {
			return 0, parsers.Named // until the request was read
		}
		return end, parsers.Upgraded
	case "failure":
		s.asked = false
	case "auth", "authenticate", "iq", "message", "presence", "handshake", "db:result":
		s.over = true
	}
	return end, parsers.Named
}

// Gap implements parsers.Stream: where the next tag begins is lost.
func (s *stream) Gap(parsers.Dir, int) bool { return false }

// Close implements parsers.Stream.
func (s *stream) Close() {}
