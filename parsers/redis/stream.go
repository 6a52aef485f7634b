package redis

import (
	"bytes"

	"github.com/sluicenet/sluice/parsers"
)

// side is the state of one direction.
type side struct {
	skip  int // bytes of a value still to pass over
	off   bool
	count int // commands begun, replies seen
}

type stream struct {
	sink      parsers.Sink
	midstream bool
	side      [2]side
	read      int
	// Of the command under way: its verb, how many arguments it has and which one comes.
	verb      [16]byte
	verbLen   int
	args, arg int
	userNext  bool
}

var _ parsers.Stream = (*stream)(nil)

// A session is read until log-in and the first commands are over.
const (
	enough    = 16
	enoughLen = 64 << 10
	maxLook   = 256 // a longer argument is passed over unread
)

func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	sd := &s.side[dir]
	used := 0
	for used < len(data) && !sd.off {
		rest := data[used:]
		if sd.skip > 0 {
			n := min(sd.skip, len(rest))
			sd.skip -= n
			used += n
			continue
		}
		var n int
		if dir == parsers.ToServer {
			n = s.command(rest)
		} else {
			n = s.reply(rest)
		}
		if n == 0 {
			break
		}
		if n < 0 {
			if sd.count == 0 {
				return parsers.Result{Used: used, State: parsers.Rejected}
			}
			sd.off = true
			break
		}
		used += n
		s.read += n
		if s.read > enoughLen || s.side[0].count >= enough && s.side[1].count >= enough {
			return parsers.Result{Used: used, State: parsers.Done}
		}
	}
	if sd.off {
		used = len(data)
	}
	if s.side[0].off && s.side[1].off {
		return parsers.Result{Used: used, State: parsers.Done}
	}
	return parsers.Result{Used: used, State: parsers.Named}
}

// Gap gives the session up: what is a length and what a value is lost.
func (s *stream) Gap(parsers.Dir, int) bool { return false }

func (s *stream) Close() {}

// command reads one token of a command: a count, an argument or an inline line. It
// returns the bytes used, 0 for more, -1 for nonsense.
func (s *stream) command(b []byte) int {
	if s.arg < s.args {
		return s.argument(b)
	}
	if b[0] != '*' {
		return s.line(b)
	}
	n, size := number(b[1:], maxArgs)
	if size <= 0 {
		return size
	}
	s.args, s.arg, s.userNext, s.verbLen = n, 0, false, 0
	return 1 + size
}

func (s *stream) argument(b []byte) int {
	if b[0] != '$' {
		return -1
	}
	n, size := number(b[1:], maxBulk)
	if size <= 0 {
		return size
	}
	head := 1 + size
	if n > maxLook {
		s.readArgument(nil)
		s.side[parsers.ToServer].skip = n + 2
		return head
	}
	if len(b) < head+n+2 {
		return 0
	}
	if b[head+n] != '\r' || b[head+n+1] != '\n' {
		return -1
	}
	s.readArgument(b[head : head+n])
	return head + n + 2
}

// line reads an inline command.
func (s *stream) line(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > maxInline {
			return -1
		}
		return 0
	}
	line := bytes.TrimSpace(b[:end])
	if len(line) == 0 {
		return end + 1 // empty lines are skipped
	}
	s.args, s.arg, s.userNext = 1+bytes.Count(line, []byte(" ")), 0, false
	for s.arg < s.args {
		word, rest, _ := bytes.Cut(line, []byte(" "))
		if s.arg == 0 && kindOf(word) == unknownVerb && !module(word) {
			return -1
		}
		s.readArgument(word)
		line = rest
	}
	return end + 1
}

// readArgument reads the next argument; nil is one that is too long.
func (s *stream) readArgument(value []byte) {
	i := s.arg
	s.arg++
	if i == 0 {
		s.side[parsers.ToServer].count++
		s.verbLen = len(upper(s.verb[:0], value[:min(len(value), len(s.verb))]))
		if s.midstream && kindOf(value) == unknownVerb && bytes.IndexByte(value, '.') < 0 {
			return // an answer's first element, maybe
		}
		s.sink.Attr(parsers.Command, s.verb[:s.verbLen])
		return
	}
	switch string(s.verb[:s.verbLen]) {
	case "AUTH":
		if i == 1 && s.args == 3 {
			s.sink.Attr(parsers.User, value)
		}
	case "SELECT":
		if i == 1 {
			s.sink.Attr(parsers.Database, value)
		}
	case "HELLO":
		if i == 1 {
			s.sink.Attr(parsers.Version, value)
		}
		if s.userNext {
			s.sink.Attr(parsers.User, value)
		}
		s.userNext = bytes.EqualFold(value, []byte("AUTH"))
	}
}

// reply reads one token of an answer, in order, nested or not.
func (s *stream) reply(b []byte) int {
	sd := &s.side[parsers.ToClient]
	switch b[0] {
	case '$', '!', '=':
		if prefixOf(b, "$-1\r\n") {
			return full(b, len("$-1\r\n"))
		}
		n, size := number(b[1:], maxBulk)
		if size <= 0 {
			return size
		}
		sd.skip = n + 2
		sd.count++
		return 1 + size
	case '*', '%', '~', '>', '|':
		if prefixOf(b, "*-1\r\n") {
			return full(b, len("*-1\r\n"))
		}
		_, size := number(b[1:], maxArgs)
		if size <= 0 {
			return size
		}
		sd.count++
		return 1 + size
	case '+', '-', ':', '(', ',', '#', '_':
	default:
		return -1
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) > maxInline {
			return -1
		}
		return 0
	}
	sd.count++
	if line := bytes.TrimRight(b[1:end], "\r"); b[0] == '-' && sd.count == 1 && refused(line) { // of the command that is reported
		s.sink.Attr(parsers.Error, line)
	}
	return end + 1
}

func full(b []byte, n int) int {
	if len(b) < n {
		return 0
	}
	return n
}

// refused knows the errors of a log-in that failed, of all versions.
func refused(line []byte) bool {
	for _, p := range [...]string{"WRONGPASS", "NOAUTH", "NOPERM", "ERR invalid password", "ERR operation not permitted", "DENIED"} {
		if len(line) >= len(p) && string(line[:len(p)]) == p {
			return true
		}
	}
	return false
}
