// Package redis recognises the Redis protocol: RESP2, RESP3 and inline commands. It reports
// the first command, user, database number and refused log-ins, and keeps neither keys,
// values nor passwords. What shares words with it (memcached, NATS, POP3) is
// left alone until a server's answer settles the matter.
package redis

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Bounds: of arguments and bytes by the server's own limits, of lines by its inline limit's use.
const (
	maxArgs    = 1 << 20
	maxBulk    = 512 << 20
	maxVerb    = 128 // of a verb, which modules bring and operators rename
	maxInlined = 40
	maxInline  = 4096
	maxReplyOf = 1024 // a simple string or an error
)

type parser struct{}

var _ parsers.Sided = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.Redis.Name() }

func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, midstream: m.Midstream}
}

// Part implements parsers.Sided. A status, an error, a number and the types of RESP3 are a server's. An array may be
// a command or an answer, and a primary sends its replicas commands.
func (parser) Part(_ *parsers.Meta, head []byte) parsers.Part {
	if len(head) > 0 && bytes.IndexByte([]byte("+-:$(,#_!=%~>|"), head[0]) >= 0 {
		return parsers.ServerPart
	}
	return parsers.EitherPart
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	switch {
	case m.Datagram():
		return parsers.No
	case len(head) == 0:
		return parsers.More
	case dir == parsers.ToClient:
		return reply(m, head)
	case head[0] == '*':
		return array(head)
	}
	return inline(m, head)
}

// number reads decimal digits up to CR LF: size is 0 for more, -1 for none.
func number(b []byte, limit int) (n, size int) {
	for i, c := range b {
		switch {
		case c >= '0' && c <= '9' && i < 10:
			if n = n*10 + int(c-'0'); n > limit {
				return 0, -1
			}
		case c == '\r' && i > 0:
			if i+1 == len(b) {
				return 0, 0
			}
			if b[i+1] != '\n' {
				return 0, -1
			}
			return n, i + 2
		default:
			return 0, -1
		}
	}
	return 0, 0
}

// array judges "*n CRLF $n CRLF verb CRLF".
func array(b []byte) parsers.Match {
	n, size := number(b[1:], maxArgs)
	if size < 0 || size > 0 && n == 0 {
		return parsers.No
	}
	if size == 0 || len(b) < size+2 {
		return parsers.More
	}
	if b = b[1+size:]; b[0] != '$' {
		return parsers.No
	}
	n, size = number(b[1:], maxVerb)
	if size < 0 || size > 0 && n == 0 {
		return parsers.No
	}
	if size == 0 {
		return parsers.More
	}
	b = b[1+size:]
	if !prefixOf(b[min(n, len(b)):], "\r\n") {
		return parsers.No
	}
	if len(b) < n+2 {
		return parsers.More
	}
	return parsers.Likely
}

func prefixOf(b []byte, want string) bool {
	n := min(len(b), len(want))
	return string(b[:n]) == want[:n]
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func verbChar(c byte) bool {
	return letter(c) || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-'
}

// inline judges one line: a verb and words.
func inline(m *parsers.Meta, b []byte) parsers.Match {
	end := 0
	for end < len(b) && (letter(b[end]) || end > 0 && verbChar(b[end])) {
		end++
	}
	if end == len(b) {
		return moreIf(end <= maxInlined)
	}
	kind := kindOf(b[:end])
	if end < 2 || end > maxInlined || kind == unknownVerb && !module(b[:end]) || b[end] != ' ' && b[end] != '\r' && b[end] != '\n' {
		return parsers.No
	}
	line, words, inWord := -1, 0, false
	for i, c := range b[:min(len(b), maxInline)] {
		if c == '\n' {
			line = i
			break
		}
		space := c == ' ' || c == '\r' || c == '\t'
		if !space && !inWord {
			words++
		}
		inWord = !space
	}
	if line < 0 {
		if len(b) >= maxInline {
			return parsers.No
		}
		return parsers.More
	}
	return judgeInline(m, kind, bytes.TrimSpace(b[:line]), words)
}

// module reports whether a verb that is not known has the form of a module's, as FT.SEARCH has.
func module(verb []byte) bool {
	at := bytes.IndexByte(verb, '.')
	return at > 0 && at < len(verb)-1
}

// judgeInline weighs a line. Text is little evidence: a word alone is none, and where other protocols have the verb, too,
// the server's answer decides. Memcached's and HTTP's lines are ruled out, since theirs are not to wait.
func judgeInline(m *parsers.Meta, kind verbKind, line []byte, words int) parsers.Match {
	verb, rest, _ := bytes.Cut(line, []byte(" "))
	rest = bytes.TrimLeft(rest, " \t")
	switch {
	case versioned(line), kind == counterVerb && words > 2, memcached(verb, words, rest):
		return parsers.No
	case kind == unknownVerb:
		return parsers.More
	case words < 2:
		return parsers.More
	case kind == ownVerb, kind == counterVerb, words == 3 && bytes.EqualFold(verb, []byte("SET")):
		return parsers.Likely
	case kind == firstVerb && !m.Midstream && words <= 3 && numbered(verb, rest):
		return parsers.Likely
	}
	return parsers.More
}

// numbered reports whether a verb has the number that it needs.
func numbered(verb, rest []byte) bool {
	word, _, _ := bytes.Cut(rest, []byte(" "))
	return bytes.EqualFold(verb, []byte("HELLO")) && (string(word) == "2" || string(word) == "3")
}

// versioned reports whether a line ends as a request of HTTP, SIP or RTSP does.
func versioned(line []byte) bool {
	n := len(line)
	return n > 4 && line[n-4] == '/' && line[n-2] == '.' && digit(line[n-3]) && digit(line[n-1]) && letter(line[n-5])
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// memcached reports whether a line is one of memcached's: more than one key to get, or a verb, a key and numbers only.
func memcached(verb []byte, words int, rest []byte) bool {
	switch {
	case bytes.EqualFold(verb, []byte("GET")):
		return words > 2
	case bytes.EqualFold(verb, []byte("TOUCH")) && words >= 3, bytes.EqualFold(verb, []byte("SET")) && words >= 5,
		bytes.EqualFold(verb, []byte("APPEND")) && words >= 5:
	default:
		return false
	}
	_, numbers, _ := bytes.Cut(rest, []byte(" "))
	for _, c := range bytes.TrimSuffix(numbers, []byte("noreply")) {
		if !digit(c) && c != ' ' && c != '-' {
			return false
		}
	}
	return true
}

// reply judges a server's first answer. In midstream short ones are too like others' to claim
// on, and a status or an error alone never suffices: NATS and POP3 have them too.
func reply(m *parsers.Meta, b []byte) parsers.Match {
	if !m.Midstream {
		match, _ := token(b)
		return match
	}
	for range midTokens {
		match, size := token(b)
		if match != parsers.Likely {
			return match
		}
		if b[0] == '$' && size > len("$-1\r\n") {
			return parsers.Likely
		}
		if b[0] == '+' || b[0] == '-' || size == 0 || size >= len(b) {
			return parsers.More
		}
		b = b[size:]
	}
	return parsers.Likely
}

// midTokens is how many answers in a row are believed in midstream.
const midTokens = 4

// token judges one answer, or the beginning of a collection; size is 0 if its end is not known.
func token(b []byte) (match parsers.Match, size int) {
	switch b[0] {
	case '+', '-':
		return simple(b)
	case ':', '(', ',', '#', '_':
		return scalar(b)
	case '$', '!', '=':
		return bulk(b)
	case '*', '%', '~', '>', '|':
		return aggregate(b)
	}
	return parsers.No, 0
}

// simple judges a status or an error: one line.
func simple(b []byte) (parsers.Match, int) {
	end := bytes.IndexByte(b[:min(len(b), maxReplyOf)], '\n')
	line := b[1:min(len(b), maxReplyOf)]
	if end >= 0 {
		line = b[1:end]
	}
	if at := bytes.IndexByte(line, '\r'); at >= 0 && at != len(line)-1 || len(line) > 0 && line[0] <= ' ' {
		return parsers.No, 0
	}
	if end < 0 {
		return moreIf(len(b) < maxReplyOf), 0
	}
	if len(line) < 2 || line[len(line)-1] != '\r' {
		return parsers.No, 0
	}
	line = line[:len(line)-1]
	word, _, more := bytes.Cut(line, []byte(" "))
	switch {
	case b[0] == '+' && string(word) == "OK" && more:
		return parsers.No, 0 // POP3 adds a text
	case b[0] == '-' && (!more || string(word) != "ERR" && !errorWords[string(word)]):
		return parsers.More, end + 1 // a script's or a module's own, or another protocol's
	}
	if b[0] == '+' && !letter(line[0]) {
		return parsers.More, end + 1
	}
	return parsers.Likely, end + 1
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

// scalar judges integers, big numbers, doubles, booleans and null by their line.
func scalar(b []byte) (parsers.Match, int) {
	const limit = 64
	for i, c := range b[1:min(len(b), limit)] {
		switch {
		case c == '\r' && (i > 0) == (b[0] != '_'):
			if len(b) < i+3 {
				return parsers.More, 0
			}
			return likelyIf(b[i+2] == '\n'), i + 3
		case b[0] == '#' && i == 0 && (c == 't' || c == 'f'):
		case b[0] == '_' || b[0] == '#':
			return parsers.No, 0
		case c >= '0' && c <= '9', i == 0 && (c == '-' || c == '+'):
		case b[0] == ',' && (c == '.' || c == 'e' || c == 'i' || c == 'n' || c == 'f' || c == 'a' || c == '-'):
		default:
			return parsers.No, 0
		}
	}
	return moreIf(len(b) < limit), 0
}

func bulk(b []byte) (parsers.Match, int) {
	const null = "$-1\r\n"
	if prefixOf(b, null) {
		if len(b) < len(null) {
			return parsers.More, 0
		}
		return parsers.Likely, len(null)
	}
	n, size := number(b[1:], maxBulk)
	switch {
	case size < 0:
		return parsers.No, 0
	case size == 0:
		return parsers.More, 0
	case n > parsers.MaxHead/2:
		return parsers.Likely, 0
	}
	rest := b[1+size:]
	if len(rest) > n && !prefixOf(rest[n:], "\r\n") {
		return parsers.No, 0
	}
	if len(rest) < n+2 {
		return parsers.More, 0
	}
	return parsers.Likely, 1 + size + n + 2
}

// aggregate wants a count and the beginning of an element; its size is that of the count's line.
func aggregate(b []byte) (parsers.Match, int) {
	const null = "*-1\r\n"
	if prefixOf(b, null) {
		if len(b) < len(null) {
			return parsers.More, 0
		}
		return parsers.Likely, len(null)
	}
	n, size := number(b[1:], maxArgs)
	switch {
	case size < 0:
		return parsers.No, 0
	case size == 0:
		return parsers.More, 0
	case n == 0:
		return likelyIf(b[0] != '|'), 1 + size
	case len(b) == 1+size:
		return parsers.More, 0
	}
	if bytes.IndexByte([]byte("$+-:*%~_,#(=!|"), b[1+size]) < 0 {
		return parsers.No, 0
	}
	return parsers.Likely, 1 + size
}
