// Package nats recognises the NATS client protocol by the server's INFO and the client's CONNECT,
// and in midstream by messages with their sizes. It reports the first operation
// and reads no payloads.
package nats

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	maxInfo    = 15 << 10
	maxControl = 4096 // the server's max_control_line
)

type parser struct{}

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.NATS.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	var match parsers.Match
	if dir == parsers.ToClient {
		match = object(b, "INFO ", `"server_id"`)
	} else {
		match = object(b, "CONNECT ", "{") // which may be empty
	}
	if match == parsers.No && m.Midstream {
		match = message(dir, b)
	}
	return match
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// Tell reports the first operation of the client.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if end := bytes.IndexAny(b[:min(len(b), 16)], " \t\r"); dir == parsers.ToServer && end > 0 {
		sink.Attr(parsers.Command, b[:end])
	}
}

// object judges a verb with a JSON object that must hold a name.
func object(b []byte, verb, holds string) parsers.Match {
	if n := min(len(b), len(verb)); !bytes.EqualFold(b[:n], []byte(verb[:n])) {
		return parsers.No
	} else if n < len(verb) {
		return parsers.More
	}
	text := b[len(verb):min(len(b), maxInfo)]
	end := bytes.IndexByte(text, '\n')
	line := text
	if end >= 0 {
		line = text[:end]
	}
	json := bytes.TrimSpace(line)
	if len(json) > 0 && json[0] != '{' {
		return parsers.No
	}
	if end < 0 {
		switch {
		case len(b) < maxInfo:
			return parsers.More
		case bytes.Contains(json, []byte(holds)):
			return parsers.Likely // with many servers' addresses, or a token
		}
		return parsers.No
	}
	if len(json) < 2 || json[len(json)-1] != '}' || !bytes.Contains(json, []byte(holds)) {
		return parsers.No
	}
	return parsers.Likely
}

// operation is one that a side sends in the middle of a connection: how many words follow it, and whether a payload
// does, whose size is the last word (two sizes with headers).
type operation struct {
	verb        string
	least, most int
	payload     bool
}

var operations = [2][]operation{
	parsers.ToServer: {{"PUB", 2, 3, true}, {"HPUB", 3, 4, true}, {"SUB", 2, 3, false}, {"UNSUB", 1, 2, false}, {"PING", 0, 0, false}, {"PONG", 0, 0, false}},
	parsers.ToClient: {{"MSG", 3, 4, true}, {"HMSG", 4, 5, true}, {"+OK", 0, 0, false}, {"-ERR", 1, 16, false}, {"PING", 0, 0, false}, {"PONG", 0, 0, false}},
}

// message judges a row of operations up to the first with a payload, whose size the end of line behind it confirms.
// The others are other protocols' words too.
func message(dir parsers.Dir, b []byte) parsers.Match {
	for range maxOperations {
		end := bytes.IndexByte(b[:min(len(b), maxControl)], '\n')
		whole := end >= 0
		line := b[:min(len(b), maxControl)]
		if whole {
			line = bytes.TrimSuffix(b[:end], []byte("\r"))
		}
		op := find(dir, line, whole)
		switch {
		case op == nil, !whole && len(b) >= maxControl:
			return parsers.No
		case !whole:
			return parsers.More
		}
		words := bytes.Count(line, []byte(" "))
		if words < op.least || words > op.most {
			return parsers.No
		}
		b = b[end+1:]
		if op.payload {
			size := number(line[bytes.LastIndexByte(line, ' ')+1:])
			switch {
			case size < 0:
				return parsers.No
			case size > parsers.MaxHead/2:
				return parsers.Likely // its end is behind every head
			case len(b) < size+2:
				return parsers.More
			case b[size] != '\r' || b[size+1] != '\n':
				return parsers.No
			}
			return parsers.Likely
		}
		if len(b) == 0 {
			return parsers.More
		}
	}
	return parsers.No
}

// maxOperations is how many are read for one with a payload.
const maxOperations = 64

// find returns the operation that a line begins with, or may.
func find(dir parsers.Dir, line []byte, whole bool) *operation {
	verb, _, ended := bytes.Cut(line, []byte(" "))
	verb = bytes.TrimSuffix(verb, []byte("\r"))
	for i := range operations[dir] {
		op := &operations[dir][i]
		n := len(op.verb)
		if (ended || whole) && bytes.EqualFold(verb, []byte(op.verb)) || !ended && !whole && len(verb) <= n && bytes.EqualFold(verb, []byte(op.verb[:len(verb)])) {
			return op
		}
	}
	return nil
}

func number(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > 1<<24 {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	if len(b) == 0 {
		return -1
	}
	return n
}
