// Package memcached recognises memcached's text, meta and binary protocols, over TCP and
// with the frame header of UDP. It reports the first command, no keys and no values.
// A verb that Redis has too is left open until the server answers.
package memcached

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxLine is the server's limit of a command line with its keys.
const maxLine = 2048

// maxDatagrams is how many datagrams an answer is believed to have: an item of 1 MiB in pieces of 1,400 bytes.
const maxDatagrams = 1024

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Sided      = parser{}
	_ parsers.Continuing = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.Memcached.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if m.Datagram() {
		// Request number, sequence, count of datagrams, and two octets that are reserved: clients may set them.
		if len(head) < 10 || head[4] != 0 || head[5] == 0 || head[2] != 0 || head[3] >= head[5] {
			return parsers.No
		}
		return judge(m, dir, head[8:])
	}
	return judge(m, dir, head)
}

// Continues implements parsers.Continuing: behind the header of a datagram is content of any kind in answers of
// several, and of what needs the other side to be known.
func (parser) Continues(_ *parsers.Meta, b []byte) bool {
	if len(b) < 8 {
		return false
	}
	n, count := binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])
	return n < count && count <= maxDatagrams
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

func judge(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	switch {
	case len(head) == 0:
		return parsers.More
	case dir == parsers.ToServer && head[0] == 0x80:
		return binaryPacket(head, 0x80)
	case dir == parsers.ToClient && head[0] == 0x81:
		return binaryPacket(head, 0x81)
	case dir == parsers.ToServer:
		return request(m, head)
	}
	return answer(m, head)
}

// Tell reports the verb of a text command.
func (parser) Tell(m *parsers.Meta, dir parsers.Dir, head []byte, sink parsers.Sink) {
	if m.Datagram() {
		head = head[8:]
	}
	if dir == parsers.ToClient || head[0] == 0x80 {
		return
	}
	if end := bytes.IndexAny(head, " \r\n"); end > 0 {
		sink.Attr(parsers.Command, head[:end])
	}
}

// line cuts the first line; whole is false while its end is missing.
func line(b []byte) (text []byte, whole bool) {
	end := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if end < 0 {
		return bytes.TrimSuffix(b[:min(len(b), maxLine)], []byte("\r")), false
	}
	return bytes.TrimSuffix(b[:end], []byte("\r")), true
}

// form is what follows a verb: k a key, w a word, n a number, s a signed one, and how sure it is.
type form struct {
	args string
	sure bool
}

var verbs = map[string]form{
	"set": {"knsn", true}, "add": {"knsn", true}, "replace": {"knsn", true}, "append": {"knsn", true}, "prepend": {"knsn", true},
	"cas": {"knsnn", true}, "get": {"k", false}, "gets": {"k", true}, "gat": {"sk", true}, "gats": {"sk", true},
	"delete": {"k", true}, "incr": {"kn", true}, "decr": {"kn", true}, "touch": {"ks", true}, "stats": {"", false},
	"version": {"", false}, "flush_all": {"", true}, "verbosity": {"n", true}, "quit": {"", false},
	"slabs": {"w", true}, "lru": {"w", true}, "lru_crawler": {"w", true}, "watch": {"", false}, "cache_memlimit": {"n", true},
	"extstore": {"w", true}, "refresh_certs": {"", true}, "misbehave": {"", false}, "shutdown": {"", false},
	"mg": {"k", true}, "ms": {"kn", true}, "md": {"k", true}, "ma": {"k", true}, "me": {"k", true}, "mn": {"", false},
}

func request(m *parsers.Meta, b []byte) parsers.Match {
	text, whole := line(b)
	verb, rest, found := bytes.Cut(text, []byte(" "))
	f, known := verbs[string(verb)]
	switch {
	case !found && !whole:
		return moreIf(len(verb) <= maxVerb && lower(verb))
	case !known: // a command of another version or a proxy's: the server decides
		return moreIf(len(verb) > 1 && len(verb) <= maxVerb && lower(verb) && (whole || len(b) < maxLine) && !foreign(text))
	case !whole && string(verb) == "get", !whole && string(verb) == "gets":
		return parsers.More // of any number of keys
	case !whole:
		return moreIf(len(b) < maxLine)
	}
	for _, kind := range []byte(f.args) {
		var word []byte
		word, rest, _ = bytes.Cut(rest, []byte(" "))
		if !wordFits(kind, word) {
			return parsers.No
		}
	}
	if !f.sure || m.Midstream && len(f.args) < 2 {
		return parsers.More
	}
	return parsers.Likely
}

// maxVerb bounds a command's name.
const maxVerb = 14

// foreign reports whether a line ends in another protocol's version, as HTTP/1.1 is.
func foreign(line []byte) bool {
	n := len(line)
	return n > 4 && line[n-4] == '/' && line[n-2] == '.'
}

func wordFits(kind byte, word []byte) bool {
	if len(word) == 0 || len(word) > 250 {
		return false
	}
	if kind == 'k' || kind == 'w' && lower(word[:1]) {
		return true
	}
	if kind == 's' && word[0] == '-' && len(word) > 1 {
		word = word[1:]
	}
	return digits(word)
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 20
}

func lower(b []byte) bool {
	for _, c := range b {
		if (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// answers are the lines that servers begin with; short ones do not suffice in midstream.
var answers = map[string]bool{"STORED": true, "NOT_STORED": true, "EXISTS": true, "NOT_FOUND": true, "DELETED": true, "TOUCHED": true,
	"VALUE": true, "STAT": true, "VERSION": true, "CLIENT_ERROR": true, "SERVER_ERROR": true, "END": false, "OK": false, "RESET": false, "HD": false, "EN": false,
	"VA": false, "MN": false, "NS": false, "EX": false, "NF": false, "ERROR": false}

func answer(m *parsers.Meta, b []byte) parsers.Match {
	text, whole := line(b)
	if !whole {
		for _, c := range text[:min(len(text), 12)] {
			if c == ' ' || c == '\r' || c >= '0' && c <= '9' && text[0] <= '9' {
				break
			}
			if (c < 'A' || c > 'Z') && c != '_' && (c < '0' || c > '9') {
				return parsers.No
			}
		}
		return moreIf(len(b) < maxLine)
	}
	word, rest, more := bytes.Cut(text, []byte(" "))
	if digits(word) && !more {
		return parsers.More // the answer to incr: too little
	}
	sure, known := answers[string(word)]
	if !known {
		return parsers.No
	}
	switch string(word) {
	case "VALUE":
		key, numbers, found := bytes.Cut(rest, []byte(" "))
		flags, size, found2 := bytes.Cut(numbers, []byte(" "))
		size, _, _ = bytes.Cut(size, []byte(" "))
		if !found || !found2 || len(key) == 0 || !digits(flags) || !digits(size) {
			return parsers.No
		}
	case "STAT", "VERSION", "CLIENT_ERROR", "SERVER_ERROR":
		if !more {
			return parsers.No
		}
	case "HD", "VA", "EN", "NS", "EX", "NF": // with flags
	default:
		if more {
			return parsers.No
		}
	}
	if !sure && m.Midstream || string(word) == "ERROR" || string(word) == "OK" || string(word) == "RESET" { // other protocols' too
		return parsers.More
	}
	return parsers.Likely
}

// extras is how many octets of extras a request has, by its opcode: 0xff for 0 or 4, 0xfe for none known.
var extras = [...]byte{0, 8, 8, 8, 0, 20, 20, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 0, 20, 20, 0, 0xff, 0, 0, 4, 4, 4, 4}

// binaryPacket judges the 24-octet header. Couchbase shares the frame: it begins with HELLO (0x1f), and
// its operations have virtual buckets and opcodes that memcached has not.
func binaryPacket(b []byte, magic byte) parsers.Match {
	for range 8 {
		if len(b) > 0 && b[0] != magic || len(b) > 5 && b[5] != 0 {
			return parsers.No
		}
		if len(b) < 24 {
			return parsers.More
		}
		op, keyLen, extra := b[1], int(binary.BigEndian.Uint16(b[2:])), int(b[4])
		body, status := int(binary.BigEndian.Uint32(b[8:])), binary.BigEndian.Uint16(b[6:])
		if keyLen > 250 || body > 1<<27 || body < keyLen+extra || magic == 0x80 && status != 0 || magic == 0x81 && status > 0x86 {
			return parsers.No
		}
		if op >= 0x20 && op <= 0x22 { // SASL is both's: what comes behind it reports
			if len(b) < 24+body {
				return moreIf(body < parsers.MaxHead/2)
			}
			b = b[24+body:]
			continue
		}
		if int(op) >= len(extras) {
			return parsers.No
		}
		if magic == 0x80 {
			if want := extras[op]; want == 0xff && extra != 0 && extra != 4 || want != 0xff && int(want) != extra {
				return parsers.No
			}
		} else if extra != 0 && extra != 4 {
			return parsers.No
		}
		return parsers.Likely
	}
	return parsers.No
}
