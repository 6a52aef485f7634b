// Package mail recognises the similar line protocols in which the server sends a greeting first:
// SMTP, FTP, IMAP and POP3. It reports greeting, first command and refused log-ins, neither
// users' secrets nor messages. A greeting that two of them could send is left open until
// the client answers; what comes after STARTTLS is TLS's.
package mail

import (
	"bytes"
	"strings"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxLine bounds a line: RFC 5321 4.5.3.1 has 512, RFC 3501 none; greetings with capabilities are longer.
const maxLine = 2048

// rules distinguish the protocols.
type rules struct {
	id app.ID
	// greeting judges whole lines of the server's beginning.
	greeting func(m *parsers.Meta, b []byte) parsers.Match
	// command judges a line of the client's, without its end, and its first word.
	command func(verb, line []byte) parsers.Match
	// startsTLS reports whether a command asks for TLS.
	startsTLS func(verb, line []byte) bool
	// reply reports whether a server's line ends a reply, and whether that lets TLS begin.
	reply func(line []byte) (final, positive bool)
	// last are the commands after which no TLS begins.
	last []string
}

type parser struct{ r *rules }

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

var (
	smtpRules = rules{app.SMTP, smtpGreeting, smtpCommand, smtpStartsTLS, smtpReply, []string{"MAIL", "RCPT", "DATA", "BDAT", "AUTH", "QUIT"}}
	ftpRules  = rules{app.FTP, ftpGreeting, ftpCommand, ftpStartsTLS, ftpReply, []string{"PASS", "AUTH", "QUIT"}}
	imapRules = rules{app.IMAP, imapGreeting, imapCommand, smtpStartsTLS, imapReply, []string{"LOGIN", "AUTHENTICATE", "SELECT", "EXAMINE", "APPEND", "LOGOUT"}}
	pop3Rules = rules{app.POP3, pop3Greeting, pop3Command, pop3StartsTLS, pop3Reply, []string{"PASS", "APOP", "AUTH", "QUIT"}}
)

// NewSMTP is the parser of SMTP and LMTP.
func NewSMTP() parsers.Parser { return parser{&smtpRules} }

// NewFTP is the parser of FTP's control connection.
func NewFTP() parsers.Parser { return parser{&ftpRules} }

// NewIMAP is the parser of IMAP 4.
func NewIMAP() parsers.Parser { return parser{&imapRules} }

// NewPOP3 is the parser of POP3.
func NewPOP3() parsers.Parser { return parser{&pop3Rules} }

func (p parser) Name() string { return p.r.id.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{p: p, meta: *m, sink: sink, over: m.Midstream}
}

func (p parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	if dir == parsers.ToClient {
		match := p.r.greeting(m, b)
		if match == parsers.No && m.Midstream && (p.r.id == app.SMTP || p.r.id == app.FTP) && anyReply(b) {
			return parsers.More // a later reply is ambiguous: the next command decides
		}
		return match
	}
	return p.commands(b)
}

// maxCommands is how many commands are read for one that decides.
const maxCommands = 8

// commands judges the client's lines, until one decides: others share words, and each has words that are not in
// its standards.
func (p parser) commands(b []byte) parsers.Match {
	for i := range maxCommands {
		text, whole := line(b)
		verb := word(text)
		if !whole {
			return moreIf(i > 0 || len(b) < maxLine && (p.r.id == app.IMAP && isTag(verb) || p.r.id != app.IMAP && letters(verb)))
		}
		if match := p.r.command(verb, text); match == parsers.Likely || match == parsers.No && i == 0 {
			return match
		}
		if b = b[bytes.IndexByte(b, '\n')+1:]; len(b) == 0 {
			return parsers.More
		}
	}
	return parsers.More
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// Part implements parsers.Sided: replies begin with a code or a mark, commands with a word.
func (p parser) Part(m *parsers.Meta, b []byte) parsers.Part {
	switch {
	case p.r.greeting(m, b) == parsers.Likely:
		return parsers.ServerPart
	case p.Probe(m, parsers.ToServer, b) == parsers.Likely:
		return parsers.ClientPart
	}
	return parsers.EitherPart
}

// Tell reports the greeting or the first command.
func (p parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	text, _ := line(b)
	if dir == parsers.ToClient {
		sink.Attr(parsers.Banner, text)
		return
	}
	if p.r.id == app.IMAP {
		_, text, _ = bytes.Cut(text, []byte(" "))
	}
	verb, _, _ := bytes.Cut(text, []byte(" "))
	sink.Attr(parsers.Command, verb)
}

// line cuts the first line; whole is false while its end is missing.
func line(b []byte) (text []byte, whole bool) {
	b = b[:min(len(b), maxLine)]
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return bytes.TrimSuffix(b, []byte("\r")), false
	}
	return bytes.TrimSuffix(b[:end], []byte("\r")), true
}

// replyCode judges "220 text" or "220-text": More while it is not whole. What follows the code is the operator's.
func replyCode(b []byte) parsers.Match {
	for i, c := range b[:min(len(b), 4)] {
		if i == 0 && (c < '1' || c > '5') || i > 0 && i < 3 && (c < '0' || c > '9') || i == 3 && c != ' ' && c != '-' && c != '\r' && c != '\n' {
			return parsers.No
		}
	}
	if len(b) < 4 {
		return parsers.More
	}
	return parsers.Likely
}

// anyReply reports whether a line may be "250 text" with any code.
func anyReply(b []byte) bool {
	_, whole := line(b)
	return replyCode(b) != parsers.No && (len(b) == 0 || b[0] > '1') && (whole || len(b) < maxLine)
}

// contains searches for a word in any case; the word is in upper case.
func contains(b []byte, word string) bool {
	for i := 0; i+len(word) <= len(b); i++ {
		if bytes.EqualFold(b[i:i+len(word)], []byte(word)) {
			return true
		}
	}
	return false
}

// opening are the codes that a server of SMTP or FTP begins with: ready, ready soon, unavailable, none here, no access.
const opening = "220 120 421 554 530"

// decide reads the lines of a greeting: the first that names the protocol claims it, one that names the other
// abandons it, and a second reply with a code of only one decides, too. The text is anything that its operator
// chose: where it misleads, the client's first command has the claim withdrawn, and the other is asked again.
func decide(b []byte, mine, other, codes, others string) parsers.Match {
	var code [3]byte
	inside := false // a reply of several lines, whose inner ones are free (RFC 959 4.2)
	for i := range 32 {
		text, whole := line(b)
		if !inside {
			switch match := replyCode(b); {
			case match != parsers.Likely:
				return match
			case i == 0 && !strings.Contains(opening, string(b[:3])):
				return parsers.No
			case i == 0:
				code = [3]byte(b)
			case strings.Contains(codes, string(b[:3])):
				return parsers.Likely
			case strings.Contains(others, string(b[:3])):
				return parsers.No
			}
		}
		if !whole {
			return moreIf(len(b) < maxLine)
		}
		switch {
		case contains(text, mine):
			return parsers.Likely
		case contains(text, other):
			return parsers.No
		case inside:
			inside = len(text) < 4 || [3]byte(text) != code || text[3] != ' '
		default:
			code, inside = [3]byte(b), len(text) > 3 && text[3] == '-'
		}
		if b = b[bytes.IndexByte(b, '\n')+1:]; len(b) == 0 {
			return parsers.More
		}
	}
	return parsers.No
}

// SMTP answers EHLO with 250, FTP answers USER with 331 or 230.
func smtpGreeting(_ *parsers.Meta, b []byte) parsers.Match {
	return decide(b, "SMTP", "FTP", "250", "331 230 234")
}

func ftpGreeting(_ *parsers.Meta, b []byte) parsers.Match {
	return decide(b, "FTP", "SMTP", "331 230 234", "250")
}

// word cuts a line's first word.
func word(text []byte) []byte {
	verb, _, _ := bytes.Cut(text, []byte(" "))
	return verb
}

// is compares a word in any case.
func is(verb []byte, words ...string) bool {
	for _, w := range words {
		if bytes.EqualFold(verb, []byte(w)) {
			return true
		}
	}
	return false
}

// letters reports whether a word may be the beginning of a command.
func letters(verb []byte) bool {
	for i, c := range verb {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return len(verb) <= 12
}

// unknown judges a line with a command that is not in the standards: More, unless it is another protocol's.
func unknown(verb, text []byte, others ...string) parsers.Match {
	n := len(text)
	versioned := n > 4 && text[n-4] == '/' && text[n-2] == '.' // HTTP/1.1, SIP/2.0
	return moreIf(len(verb) >= 3 && letters(verb) && !versioned && !is(verb, others...))
}

func smtpCommand(verb, text []byte) parsers.Match {
	switch {
	case is(verb, "EHLO", "HELO", "LHLO") && len(text) > len(verb):
		return parsers.Likely
	case len(text) > 10 && bytes.EqualFold(text[:10], []byte("MAIL FROM:")):
		return parsers.Likely
	case len(text) > 8 && bytes.EqualFold(text[:8], []byte("RCPT TO:")):
		return parsers.Likely
	}
	return unknown(verb, text, "USER", "PASS", "FEAT", "SYST", "PASV", "EPSV", "CAPA", "APOP", "UIDL", "CLNT", "OPTS", "GET", "POST", "INFO", "CONNECT")
}

func ftpCommand(verb, text []byte) parsers.Match {
	if ftpStartsTLS(verb, text) || is(verb, "EPSV", "PASV", "MLSD", "FEAT", "SYST", "PWD", "PBSZ", "CLNT", "EPRT", "MLST") {
		return parsers.Likely // POP3 and SMTP have none of them
	}
	return unknown(verb, text, "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "CAPA", "APOP", "UIDL", "STLS", "DELE", "TOP", "GET", "POST", "INFO", "CONNECT")
}

// imapGreeting judges RFC 3501 7.1: an untagged OK, PREAUTH or BYE.
func imapGreeting(_ *parsers.Meta, b []byte) parsers.Match {
	text, whole := line(b)
	fits := false
	for _, p := range [...]string{"* OK ", "* PREAUTH ", "* BYE "} {
		if n := min(len(text), len(p)); bytes.EqualFold(text[:n], []byte(p[:n])) {
			fits = true
			if len(text) < len(p) && whole {
				return parsers.No
			}
		}
	}
	if !fits || !whole && len(b) >= maxLine {
		return parsers.No
	}
	if !whole {
		return parsers.More
	}
	return parsers.Likely
}

// isTag reports whether a word may be a tag (RFC 3501 9).
func isTag(word []byte) bool {
	for _, c := range word {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("(){%*\"\\+", c) >= 0 {
			return false
		}
	}
	return len(word) <= 64
}

// imapCommand wants a tag and a verb. Clients choose their tags.
func imapCommand(tag, text []byte) parsers.Match {
	if len(tag) == len(text) || len(tag) == 0 || !isTag(tag) {
		return parsers.No
	}
	verb := word(text[len(tag)+1:])
	if is(verb, "CAPABILITY", "LOGIN", "AUTHENTICATE", "STARTTLS", "SELECT", "EXAMINE", "LSUB", "UID", "ENABLE", "NAMESPACE", "IDLE") {
		return parsers.Likely
	}
	return moreIf(len(verb) >= 2 && letters(verb) && bytes.IndexByte(verb, '-') < 0 && !is(tag, others...) && unknown([]byte("ANY"), text) == parsers.More)
}

// others are words that other protocols' lines begin with, where IMAP has its tag.
var others = []string{"EHLO", "HELO", "MAIL", "RCPT", "USER", "PASS", "AUTH", "GET", "SET", "PUB", "SUB", "CONNECT", "PING"}

// pop3Greeting judges RFC 1939 4: "+OK" and a text. Redis sends a bare +OK.
func pop3Greeting(m *parsers.Meta, b []byte) parsers.Match {
	text, whole := line(b)
	const ok, refused = "+OK ", "-ERR "
	if n := min(len(text), len(refused)); n > 0 && string(text[:n]) == refused[:n] {
		return moreIf((whole || len(b) < maxLine) && (!whole || n == len(refused)) && !m.Midstream) // redis refuses so, too
	}
	if n := min(len(text), len(ok)); string(text[:n]) != ok[:n] || !whole && len(b) >= maxLine {
		return parsers.No
	}
	if !whole {
		return parsers.More
	}
	if len(text) <= len(ok) {
		return parsers.More
	}
	if contains(text, "POP") || text[len(text)-1] == '>' { // a time stamp for APOP
		return parsers.Likely
	}
	if m.Midstream {
		return parsers.More
	}
	return parsers.Likely
}

func pop3Command(verb, text []byte) parsers.Match {
	if is(verb, "APOP", "UIDL", "CAPA", "STLS") {
		return parsers.Likely
	}
	return unknown(verb, text, "EHLO", "HELO", "LHLO", "MAIL", "RCPT", "FEAT", "SYST", "PASV", "EPSV", "CLNT", "OPTS", "GET", "POST", "PWD", "INFO", "CONNECT")
}
