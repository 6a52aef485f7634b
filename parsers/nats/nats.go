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
	maxInfo    = 8 << 10
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
		match = object(b, "CONNECT ", `"`)
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
	for _, c := range json {
		if c < 0x20 {
			return parsers.No
		}
	}
	if end < 0 {
		if len(b) >= maxInfo {
			return parsers.No
		}
		return parsers.More
	}
	if len(json) < 2 || json[len(json)-1] != '}' || !bytes.Contains(json, []byte(holds)) {
		return parsers.No
	}
	return parsers.Likely
}

// message judges PUB and HPUB of clients, MSG and HMSG of servers: words, a size, and the end of
// line that follows so many octets. The other operations are other protocols' words too.
func message(dir parsers.Dir, b []byte) parsers.Match {
	verbs, least, most := [...]string{"PUB ", "HPUB "}, 2, 3
	if dir == parsers.ToClient {
		verbs, least, most = [...]string{"MSG ", "HMSG "}, 3, 4
	}
	for i, verb := range verbs {
		if n := min(len(b), len(verb)); string(b[:n]) != verb[:n] {
			continue
		} else if n < len(verb) {
			return parsers.More
		}
		rest := b[len(verb):]
		end := bytes.IndexByte(rest[:min(len(rest), maxControl)], '\n')
		if end < 0 {
			if len(rest) >= maxControl {
				return parsers.No
			}
			return parsers.More
		}
		words := bytes.TrimSuffix(rest[:end], []byte("\r"))
		n, size := bytes.Count(words, []byte(" "))+1, number(words[bytes.LastIndexByte(words, ' ')+1:])
		if n < least+i || n > most+i || size < 0 || size > parsers.MaxHead/2 {
			return parsers.No
		}
		if rest = rest[end+1:]; len(rest) < size+2 {
			return parsers.More
		}
		if rest[size] != '\r' || rest[size+1] != '\n' {
			return parsers.No
		}
		return parsers.Likely
	}
	return parsers.No
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
