// Package radius recognises RADIUS (RFC 2865, 2866, 5176) by its length and attributes. It reports
// the code's name and the user's, no passwords.
package radius

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	headerLen = 20
	maxLen    = 4096
	attrUser  = 1
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Sided      = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.RADIUS.Name() }

// Standalone implements parsers.Standalone: each datagram is a packet with its code and length.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

// Probe wants a code, which away from the known ports must be a standard one, and attributes that fill the length, one at least away from the known ports.
func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() || len(b) < headerLen || len(b) > maxLen {
		return parsers.No
	}
	c, known := codes[b[0]]
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size < headerLen || size > len(b) || known && c.answer != (dir == parsers.ToClient) || b[0] == 0 {
		return parsers.No
	}
	if !onPort(m) && (!known || size != len(b) || size < headerLen+6) {
		return parsers.No
	}
	for at := headerLen; at < size; at += int(b[at+1]) {
		if at+2 > size || b[at] == 0 || b[at+1] < 2 || at+int(b[at+1]) > size {
			return parsers.No
		}
	}
	return parsers.Likely
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// Tell reports the request and its user.
func (parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	c := codes[b[0]] // without a name at a known port, if others use it
	if c.answer {
		sink.Attr(parsers.Status, []byte(c.name))
		return
	}
	sink.Attr(parsers.Command, []byte(c.name))
	for at := headerLen; at < int(binary.BigEndian.Uint16(b[2:])); at += int(b[at+1]) {
		if b[at] == attrUser {
			sink.Attr(parsers.User, b[at+2:at+int(b[at+1])])
			return
		}
	}
}

func onPort(m *parsers.Meta) bool {
	for _, p := range [...]uint16{m.ServerPort, m.ClientPort} {
		switch p {
		case 1812, 1813, 1645, 1646, 3799:
			return true
		}
	}
	return false
}

type code struct {
	name   string
	answer bool
}

var codes = map[byte]code{1: {"access-request", false}, 2: {"access-accept", true}, 3: {"access-reject", true}, 4: {"accounting-request", false},
	5: {"accounting-response", true}, 11: {"access-challenge", true}, 12: {"status-server", false}, 40: {"disconnect-request", false},
	41: {"disconnect-ack", true}, 42: {"disconnect-nak", true}, 43: {"coa-request", false}, 44: {"coa-ack", true}, 45: {"coa-nak", true}}
