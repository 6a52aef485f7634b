// Package postgresql recognises the PostgreSQL frontend/backend protocol 3 by its start-up, TLS,
// GSS and cancel requests, by the server's answers, and mid-stream by chains of messages. It reports
// user, database, server version, the first statement's verb and refused log-ins, never
// passwords or values. What comes after a change to TLS is that protocol's.
package postgresql

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Codes in the position of the protocol version.
const (
	version3      = 3 // the major version, whatever the minor one is: servers negotiate it
	cancelRequest = 80877102
	sslRequest    = 80877103
	gssRequest    = 80877104
)

// maxStartup is the server's own limit (MAX_STARTUP_PACKET_LENGTH).
const maxStartup = 10000

type parser struct{}

var _ parsers.Sided = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.PostgreSQL.Name() }

func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, typed: [2]bool{m.Midstream, m.Midstream}, midstream: m.Midstream}
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	var match parsers.Match
	if dir == parsers.ToServer {
		match = startup(head)
	} else {
		match = answer(head)
	}
	if match == parsers.No && m.Midstream {
		match = chain(dir, head)
	}
	return match
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	if len(head) > 5 && head[0] == 'd' {
		size := int(binary.BigEndian.Uint32(head[1:])) - 4
		body := head[5:]
		switch whole := len(body) >= size; {
		case replicates(parsers.ToServer, size, body, whole):
			return parsers.ClientPart
		case replicates(parsers.ToClient, size, body, whole):
			return parsers.ServerPart
		}
	}
	return parsers.PartByProbe(p, m, head)
}

// startup judges a client's first message.
func startup(b []byte) parsers.Match {
	if len(b) < 8 {
		// The length of every first message is below 10,000.
		if len(b) > 0 && b[0] != 0 || len(b) > 1 && b[1] != 0 {
			return parsers.No
		}
		return parsers.More
	}
	size := int(binary.BigEndian.Uint32(b))
	switch binary.BigEndian.Uint32(b[4:]) {
	case sslRequest, gssRequest:
		return likelyIf(size == 8)
	case cancelRequest:
		return likelyIf(size >= 16 && size <= 12+256)
	default:
		if b[4] != 0 || b[5] != version3 {
			return parsers.No
		}
	}
	if size < 8+len("user\x00x\x00\x00") || size > maxStartup {
		return parsers.No
	}
	pairs := b[8:min(len(b), size)]
	if len(pairs) > 0 && pairs[0] == 0 {
		return parsers.No
	}
	if len(b) < size {
		return parsers.More
	}
	user, _, ok := params(pairs)
	return likelyIf(ok && len(user) > 0)
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

// params walks the pairs of a start-up message: names and values, each ended by a zero, and one more.
func params(b []byte) (user, database []byte, ok bool) {
	for len(b) > 0 && b[0] != 0 {
		name, rest, found := bytes.Cut(b, []byte{0})
		if !found {
			return nil, nil, false
		}
		value, rest, found := bytes.Cut(rest, []byte{0})
		if !found {
			return nil, nil, false
		}
		switch string(name) {
		case "user":
			user = value
		case "database":
			database = value
		}
		b = rest
	}
	return user, database, len(b) == 1
}

// answer judges a server's first bytes: the one octet that answers a request for TLS or GSS, an
// authentication request, an error or a version negotiation.
func answer(b []byte) parsers.Match {
	if len(b) == 0 {
		return parsers.More
	}
	switch b[0] {
	case 'S', 'G':
		switch {
		case len(b) < 3:
			if len(b) == 2 && b[1] != 0x16 && b[0] == 'S' {
				return parsers.No
			}
			return parsers.More
		case b[0] == 'S':
			return likelyIf(b[1] == 0x16 && b[2] == 3)
		}
		return parsers.No
	case 'N':
		if len(b) == 1 {
			return parsers.More
		}
		if b[1] == 0 {
			return message(b, 'N')
		}
		if b[1] == 'N' || b[1] == 'S' { // both requests, one after the other
			return answer(b[1:])
		}
		return message(b[1:], b[1])
	}
	return message(b, b[0])
}

// message judges the first typed message of a server.
func message(b []byte, kind byte) parsers.Match {
	switch kind {
	case 'R', 'E', 'N', 'v':
	default:
		return parsers.No
	}
	if len(b) < 9 {
		if len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] != 0 {
			return parsers.No
		}
		return parsers.More
	}
	size, first := int(binary.BigEndian.Uint32(b[1:])), binary.BigEndian.Uint32(b[5:])
	switch kind {
	case 'R':
		switch first {
		case 0, 2, 3, 6, 7, 9:
			return likelyIf(size == 8)
		case 4:
			return likelyIf(size == 10)
		case 5:
			return likelyIf(size == 12)
		}
		return likelyIf(first < 32 && size >= 8 && size < 4096) // GSS, SASL, and what others add
	case 'v':
		return likelyIf(size >= 12 && size < 4096 && first>>16 <= 3)
	}
	return notice(b, size)
}

// notice judges fields of an error or notice: a severity comes first.
func notice(b []byte, size int) parsers.Match {
	if size < 12 || size > 8192 || b[5] != 'S' && b[5] != 'V' {
		return parsers.No
	}
	for _, c := range b[6:min(len(b), 6+8)] {
		if c == 0 {
			return parsers.Likely
		}
		if c < 'A' {
			return parsers.No // severities are words, in any language
		}
	}
	if len(b) < 6+8 {
		return parsers.More
	}
	return parsers.Likely
}
