package mail

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxCommandsRead is how many commands are read for one that begins TLS.
const maxCommandsRead = 64

// stream reports each side's beginning, and reads commands and replies up to a change to TLS, or to a command after which
// none comes.
type stream struct {
	p        parser
	meta     parsers.Meta
	sink     parsers.Sink
	seen     [2]bool // the beginning was reported
	cut      [2]bool // the last line was too long to wait for: its rest follows
	commands int
	replies  int // complete ones, the greeting among them
	asked    int // number of the reply to the command that begins TLS; 0 without one
	over     bool
}

var _ parsers.Stream = (*stream)(nil)

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if !s.seen[dir] {
		switch s.p.Probe(&s.meta, dir, data[:min(len(data), parsers.MaxHead)]) {
		case parsers.No:
			return parsers.Result{State: parsers.Rejected}
		case parsers.More:
			if len(data) < parsers.MaxHead {
				return parsers.Result{State: parsers.Named}
			}
		default:
			s.p.Tell(&s.meta, dir, data, s.sink)
		}
		s.seen[dir] = true
	}
	used := 0
	for used < len(data) && !s.over {
		n, state := s.line(dir, data[used:])
		if used += n; n == 0 || state == parsers.Upgraded {
			return parsers.Result{Used: used, State: state}
		}
	}
	if !s.over {
		return parsers.Result{Used: used, State: parsers.Named}
	}
	if s.seen[0] && s.seen[1] {
		return parsers.Result{Used: len(data), State: parsers.Done}
	}
	return parsers.Result{Used: len(data), State: parsers.Named}
}

// Gap implements parsers.Stream: a head with a gap is not parsed.
func (s *stream) Gap(parsers.Dir, int) bool { return false }

// Close implements parsers.Stream.
func (s *stream) Close() {}

// line reads one line and returns its length. It is 0 where the rest must wait: for the end of the line, for the answer to
// a command that begins TLS, or for the command that a reply belongs to.
func (s *stream) line(dir parsers.Dir, b []byte) (int, parsers.State) {
	if dir == parsers.ToServer && s.asked > 0 || dir == parsers.ToClient && s.replies > s.commands {
		return 0, parsers.Named
	}
	text, whole := line(b)
	if !whole {
		if len(b) < maxLine {
			return 0, parsers.Named
		}
		s.cut[dir] = true
		return len(b), parsers.Named
	}
	n := bytes.IndexByte(b, '\n') + 1
	if s.cut[dir] {
		s.cut[dir] = false
		return n, parsers.Named
	}
	if dir == parsers.ToClient {
		return n, s.reply(text)
	}
	s.command(text)
	return n, parsers.Named
}

// command reads a client's line.
func (s *stream) command(text []byte) {
	s.commands++
	verb := word(text)
	if s.p.r.id == app.IMAP && len(verb) < len(text) {
		text = text[len(verb)+1:]
		verb = word(text)
	}
	switch {
	case s.p.r.startsTLS(verb, text):
		s.asked = s.commands + 1
	case is(verb, s.p.r.last...), s.commands > maxCommandsRead:
		s.over = true
	}
}

// reply reads a server's line.
func (s *stream) reply(text []byte) parsers.State {
	first := s.replies == 0
	final, positive := s.p.r.reply(text)
	if !final && !(first && s.p.r.id == app.IMAP) {
		return parsers.Named
	}
	s.replies++
	if s.replies != s.asked {
		return parsers.Named
	}
	s.asked = 0
	if positive {
		return parsers.Upgraded
	}
	return parsers.Named
}

// coded reads a reply of SMTP or FTP. Preliminary ones are followed by others.
func coded(text []byte, code string) (final, positive bool) {
	if len(text) < 3 || replyCode(text[:3]) == parsers.No || len(text) > 3 && text[3] != ' ' || text[0] == '1' {
		return false, false
	}
	return true, string(text[:3]) == code
}

func smtpReply(text []byte) (final, positive bool) { return coded(text, "220") }
func ftpReply(text []byte) (final, positive bool)  { return coded(text, "234") }

func pop3Reply(text []byte) (final, positive bool) {
	positive = bytes.HasPrefix(text, []byte("+OK"))
	return positive || bytes.HasPrefix(text, []byte("-ERR")), positive
}

// imapReply reads a line, which is the last of a reply if it has the command's tag.
func imapReply(text []byte) (final, positive bool) {
	tag := word(text)
	if len(tag) == 0 || tag[0] == '*' || tag[0] == '+' || len(tag) == len(text) {
		return false, false
	}
	return true, is(word(text[len(tag)+1:]), "OK")
}

func smtpStartsTLS(verb, _ []byte) bool { return is(verb, "STARTTLS") }
func pop3StartsTLS(verb, _ []byte) bool { return is(verb, "STLS") }
func ftpStartsTLS(verb, text []byte) bool {
	return is(verb, "AUTH") && len(text) > len("AUTH ") && is(bytes.TrimSpace(text[len("AUTH "):]), "TLS", "SSL", "TLS-C", "TLS-P")
}
