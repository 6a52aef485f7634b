// Package mail recognises the similar line protocols in which the server sends a greeting first:
// SMTP, FTP, IMAP and POP3. It reports greeting, first command and refused log-ins, neither
// users' secrets nor messages. A greeting that two of them could send is left open until
// the client answers; what comes after STARTTLS is not read.
package mail

import (
	"bytes"

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
	// command judges the client's first line, without its end.
	command func(line []byte) parsers.Match
}

type parser struct{ r *rules }

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

var (
	smtpRules = rules{app.SMTP, smtpGreeting, smtpCommand}
	ftpRules  = rules{app.FTP, ftpGreeting, ftpCommand}
	imapRules = rules{app.IMAP, imapGreeting, imapCommand}
	pop3Rules = rules{app.POP3, pop3Greeting, pop3Command}
)

// NewSMTP is the parser of SMTP and LMTP.
func NewSMTP() parsers.Parser { return parser{&smtpRules} }

// NewIMAP is the parser of IMAP 4.
func NewIMAP() parsers.Parser { return parser{&imapRules} }

// NewPOP3 is the parser of POP3.
func NewPOP3() parsers.Parser { return parser{&pop3Rules} }

func (p parser) Name() string { return p.r.id.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
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
	text, whole := line(b)
	if !printable(text) {
		return parsers.No
	}
	if !whole {
		if len(b) >= maxLine || len(text) > 0 && (text[0] < 'A' || text[0] > 'z') && p.r.id != app.IMAP {
			return parsers.No
		}
		return parsers.More
	}
	return p.r.command(text)
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

func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// reply judges a first reply "220 text" or "220-text": its text, or More or No without one.
func reply(b []byte) (text, rest []byte, match parsers.Match) {
	text, whole := line(b)
	for i, c := range text[:min(len(text), 4)] {
		if i < 2 && c != '2' || i == 2 && c != '0' || i == 3 && c != ' ' && c != '-' {
			return nil, nil, parsers.No
		}
	}
	if !printable(text) || !whole && len(b) >= maxLine {
		return nil, nil, parsers.No
	}
	if !whole {
		return nil, nil, parsers.More
	}
	if len(text) < 4 {
		return nil, nil, parsers.No
	}
	return text, b[bytes.IndexByte(b, '\n')+1:], parsers.Likely
}

// anyReply reports whether a line may be "250 text" with any code.
func anyReply(b []byte) bool {
	for i, c := range b[:min(len(b), 4)] {
		if i == 0 && (c < '2' || c > '5') || i < 3 && (c < '0' || c > '9') || i == 3 && c != ' ' && c != '-' {
			return false
		}
	}
	text, whole := line(b)
	return printable(text) && (whole || len(b) < maxLine)
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

// decide reads the lines of a greeting: the first that names the protocol claims it, one that names
// the other
// abandons it, and a second reply with a code of only one decides, too. The text is anything that its operator
// chose: where it misleads, the client's first command has the claim withdrawn, and the other is asked again.
func decide(b []byte, mine, other, codes, others string) parsers.Match {
	for i := range 32 {
		text, rest, match := reply(b)
		switch {
		case match == parsers.Likely && contains(text, mine):
			return parsers.Likely
		case match == parsers.Likely && contains(text, other):
			return parsers.No
		case match == parsers.Likely:
			b = rest
			continue
		case match == parsers.More || i > 0 && len(b) < 3:
			return parsers.More
		case i == 0:
			return parsers.No
		}
		code := string(b[:3])
		switch {
		case bytes.Contains([]byte(codes), []byte(code)):
			return parsers.Likely
		case bytes.Contains([]byte(others), []byte(code)):
			return parsers.No
		}
		return parsers.No
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

// word compares a line's first word in any case.
func word(text []byte, words ...string) bool {
	verb, _, _ := bytes.Cut(text, []byte(" "))
	for _, w := range words {
		if bytes.EqualFold(verb, []byte(w)) {
			return true
		}
	}
	return false
}

func smtpCommand(text []byte) parsers.Match {
	switch {
	case word(text, "EHLO", "HELO", "LHLO") && bytes.IndexByte(text, ' ') > 0:
		return parsers.Likely
	case len(text) > 10 && bytes.EqualFold(text[:10], []byte("MAIL FROM:")):
		return parsers.Likely
	case len(text) > 8 && bytes.EqualFold(text[:8], []byte("RCPT TO:")):
		return parsers.Likely
	case word(text, "STARTTLS", "EHLO", "HELO", "QUIT", "NOOP", "RSET", "HELP", "VRFY", "AUTH", "EXPN", "ETRN", "BDAT", "DATA",
		"XCLIENT", "XFORWARD", "MAIL", "RCPT"):
		return parsers.More
	}
	return parsers.No
}

func ftpCommand(text []byte) parsers.Match {
	switch {
	case word(text, "USER") && bytes.IndexByte(text, ' ') > 0:
		return parsers.More // POP3's too: the greeting decides
	case word(text, "EPSV", "PASV", "MLSD", "FEAT") && len(text) == 4:
		return parsers.Likely
	case word(text, "SYST", "OPTS", "HOST", "QUIT", "NOOP", "HELP", "CLNT", "PWD", "TYPE", "CWD", "PORT", "EPRT", "LIST", "RETR", "STOR", "PASS",
		"AUTH", "ADAT", "PBSZ", "PROT", "LANG", "SITE", "STAT", "ACCT", "MODE", "STRU", "ALLO", "APPE", "REST", "SIZE", "MDTM", "NLST", "CDUP"):
		return parsers.More
	}
	return parsers.No
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
	if !fits || !printable(text) || !whole && len(b) >= maxLine {
		return parsers.No
	}
	if !whole {
		return parsers.More
	}
	return parsers.Likely
}

// imapCommand wants a tag and a verb.
func imapCommand(text []byte) parsers.Match {
	tag, rest, found := bytes.Cut(text, []byte(" "))
	if !found || len(tag) == 0 || len(tag) > 24 {
		return parsers.No
	}
	for _, c := range tag {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '.' && c != '-' && c != '_' {
			return parsers.No
		}
	}
	if word(rest, "CAPABILITY", "LOGIN", "AUTHENTICATE", "STARTTLS", "SELECT", "EXAMINE", "LSUB", "UID", "ENABLE", "NAMESPACE", "IDLE") {
		return parsers.Likely
	}
	if word(rest, "NOOP", "LOGOUT", "ID", "LIST", "FETCH", "STATUS", "CLOSE", "SEARCH", "CREATE", "APPEND", "STORE", "COMPRESS", "EXPUNGE",
		"CHECK", "COPY", "MOVE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "SORT", "THREAD", "GETQUOTA", "GETQUOTAROOT", "GETACL", "MYRIGHTS",
		"UNSELECT", "NOTIFY", "GETMETADATA", "SETMETADATA", "XLIST") {
		return parsers.More
	}
	return parsers.No
}

// pop3Greeting judges RFC 1939 4: "+OK" and a text. Redis sends a bare +OK.
func pop3Greeting(m *parsers.Meta, b []byte) parsers.Match {
	text, whole := line(b)
	const ok = "+OK "
	if n := min(len(text), len(ok)); string(text[:n]) != ok[:n] || !printable(text) || !whole && len(b) >= maxLine {
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

func pop3Command(text []byte) parsers.Match {
	switch {
	case word(text, "APOP", "UIDL", "CAPA", "STLS"):
		return parsers.Likely
	case word(text, "USER", "AUTH", "QUIT", "STAT", "LIST", "RETR", "DELE", "NOOP", "TOP", "PASS", "RSET", "LAST", "XTND", "UTF8", "LANG"):
		return parsers.More
	}
	return parsers.No
}
