package postgresql

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/sluicenet/sluice/parsers"
)

type stream struct {
	sink      parsers.Sink
	midstream bool
	typed     [2]bool // messages have a type octet from here on
	off       [2]bool
	skip      [2]int
	asked     uint8 // requests for TLS or GSS that wait for their one octet
	read      int
	ready     int // how often the server was ready for a statement
	told      bool
	text      [256]byte
}

var _ parsers.Stream = (*stream)(nil)

// A session is read until its first statements are over.
const (
	enoughReady = 4
	enoughLen   = 64 << 10
	maxLook     = 2 << 10 // the rest of a longer message is passed over
)

func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	used := 0
	for used < len(data) && !s.off[dir] {
		rest := data[used:]
		if s.skip[dir] > 0 {
			n := min(s.skip[dir], len(rest))
			s.skip[dir] -= n
			used += n
			continue
		}
		n, state := s.step(dir, rest)
		if state != parsers.Named {
			return parsers.Result{Used: used + n, State: state}
		}
		if n == 0 {
			break
		}
		used += n
		if s.read += n; s.read > enoughLen || s.ready >= enoughReady && s.told {
			return parsers.Result{Used: used, State: parsers.Done}
		}
	}
	if s.off[dir] {
		used = len(data)
	}
	if s.off[0] && s.off[1] {
		return parsers.Result{Used: used, State: parsers.Done}
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// Gap gives the session up: message borders are lost.
func (s *stream) Gap(parsers.Dir, int) bool { return false }

func (s *stream) Close() {}

// step reads one message; 0 with Named asks for more.
func (s *stream) step(dir parsers.Dir, b []byte) (int, parsers.State) {
	switch {
	case s.typed[dir]:
		return s.message(dir, b)
	case dir == parsers.ToServer:
		return s.start(b)
	case s.asked == 0 || b[0] == 'E' && len(b) > 1:
		// Without a request outstanding the server begins with a typed message.
		s.typed[dir] = true
		return s.message(dir, b)
	}
	s.asked--
	switch b[0] {
	case 'S':
		s.sink.Attr(parsers.Version, []byte("tls"))
		return 1, parsers.Upgraded
	case 'G':
		s.sink.Attr(parsers.Version, []byte("gss"))
		return 1, parsers.Done
	case 'N':
		return 1, parsers.Named
	}
	return 0, parsers.Rejected
}

// start reads a start-up message or a request before it.
func (s *stream) start(b []byte) (int, parsers.State) {
	if s.asked > 0 && b[0] == 0x16 { // the server sent S, and its octet was not read yet
		s.sink.Attr(parsers.Version, []byte("tls"))
		return 0, parsers.Named
	}
	if len(b) < 8 {
		return 0, parsers.Named
	}
	size := int(binary.BigEndian.Uint32(b))
	code := binary.BigEndian.Uint32(b[4:])
	if size < 8 || size > maxStartup {
		return 0, parsers.Rejected
	}
	if len(b) < size {
		return 0, parsers.Named
	}
	switch code {
	case sslRequest, gssRequest:
		s.asked++
		return size, parsers.Named
	case cancelRequest:
		s.sink.Attr(parsers.Command, []byte("CANCEL"))
		return size, parsers.Done
	default:
		if code>>16 != version3 {
			return 0, parsers.Rejected
		}
		s.sink.Attr(parsers.Version, strconv.AppendUint(append(s.text[:0], "3."...), uint64(code&0xffff), 10))
	}
	s.typed[parsers.ToServer] = true
	if user, database, ok := params(b[8:size]); ok {
		s.sink.Attr(parsers.User, user)
		if len(database) == 0 {
			database = user // the server's rule
		}
		s.sink.Attr(parsers.Database, database)
	}
	return size, parsers.Named
}

func (s *stream) message(dir parsers.Dir, b []byte) (int, parsers.State) {
	if len(b) < 5 {
		return 0, parsers.Named
	}
	size := int(binary.BigEndian.Uint32(b[1:]))
	if size < 4 || size > 1<<30 || b[0] < '0' || b[0] > 'z' {
		s.off[dir] = true
		if s.read == 0 && !s.midstream {
			return 0, parsers.Rejected
		}
		return 0, parsers.Named
	}
	n := min(1+size, maxLook)
	if len(b) < n {
		return 0, parsers.Named
	}
	s.reportMessage(dir, b[0], b[5:n])
	s.skip[dir] = 1 + size - n
	return n, parsers.Named
}

// reportMessage reports the contents of a message, whose end may be missing.
func (s *stream) reportMessage(dir parsers.Dir, kind byte, body []byte) {
	if dir == parsers.ToClient {
		s.reportServerMessage(kind, body)
		return
	}
	switch kind {
	case 'P':
		_, body, _ = bytes.Cut(body, []byte{0})
	case 'Q':
	default:
		return
	}
	if v := verb(s.text[:0], body); len(v) > 0 && !s.told {
		s.told = true
		s.sink.Attr(parsers.Command, v)
	}
}

func (s *stream) reportServerMessage(kind byte, body []byte) {
	switch kind {
	case 'Z':
		s.ready++
	case 'S':
		name, value, found := bytes.Cut(body, []byte{0})
		if found && string(name) == "server_version" {
			s.sink.Attr(parsers.Software, bytes.TrimRight(value, "\x00"))
		}
	case 'E':
		s.refused(body)
	}
}

// refused reports errors of class 28, invalid authorization: SQLSTATE and text.
func (s *stream) refused(body []byte) {
	var code, text []byte
	for len(body) > 1 {
		value, rest, found := bytes.Cut(body[1:], []byte{0})
		if !found {
			break
		}
		switch body[0] {
		case 'C':
			code = value
		case 'M':
			text = value
		}
		body = rest
	}
	if len(code) != 5 || string(code[:2]) != "28" {
		return
	}
	out := append(s.text[:0], code...)
	out = append(out, ' ')
	s.sink.Attr(parsers.Error, append(out, text[:min(len(text), 200)]...))
}
