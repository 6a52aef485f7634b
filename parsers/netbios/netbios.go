// Package netbios recognises the NetBIOS name and datagram services over UDP (RFC 1002 4.2, 4.4). It reports
// the requested name. Package smb handles NetBIOS sessions.
package netbios

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	portNames     = 137
	portDatagrams = 138
	headerLen     = 12
	encodedLen    = 32
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.NetBIOS.Name() }

// Standalone implements parsers.Standalone: each datagram is a message of one of the services.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	switch {
	case !m.Datagram():
	case m.ServerPort == portNames || m.ClientPort == portNames:
		if nameService(b) {
			return parsers.Likely
		}
	case m.ServerPort == portDatagrams || m.ClientPort == portDatagrams:
		if datagramService(m, b) {
			return parsers.Likely
		}
	}
	return parsers.No
}

// Tell reports the name of the name service.
func (parser) Tell(m *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	if m.ServerPort != portNames && m.ClientPort != portNames {
		return
	}
	var name [15]byte // the sixteenth octet is the name's type
	n := 0
	for i := range name {
		name[i] = (b[headerLen+1+2*i]-'A')<<4 | (b[headerLen+2+2*i] - 'A')
		if name[i] > ' ' {
			n = i + 1
		}
	}
	sink.Attr(parsers.Question, name[:n])
}

// nameService wants an opcode that exists, one name or record, and its 32 letters.
func nameService(b []byte) bool {
	if len(b) < headerLen+1+encodedLen+1+4 {
		return false
	}
	be := binary.BigEndian
	switch be.Uint16(b[2:]) >> 11 & 15 {
	case 0, 5, 6, 7, 8, 9, 15: // query, registration, release, wait, refresh (two numbers), multi-homed
	default:
		return false
	}
	if be.Uint16(b[4:]) > 1 || be.Uint16(b[6:]) > 1 || be.Uint16(b[4:])+be.Uint16(b[6:]) == 0 || be.Uint16(b[8:]) > 8 || be.Uint16(b[10:]) > 8 {
		return false
	}
	at, ok := encoded(b, headerLen)
	if !ok || at+4 > len(b) {
		return false
	}
	typ, class := be.Uint16(b[at:]), be.Uint16(b[at+2:])
	return (typ == 0x20 || typ == 0x21 || typ == 0x0a) && class == 1
}

// encoded walks a first-level encoded name (RFC 1001 14.1) with its scope.
func encoded(b []byte, at int) (next int, ok bool) {
	if at+1+encodedLen >= len(b) || b[at] != encodedLen {
		return 0, false
	}
	for _, c := range b[at+1 : at+1+encodedLen] {
		if c < 'A' || c > 'P' {
			return 0, false
		}
	}
	for at += 1 + encodedLen; at < len(b) && b[at] != 0; at += 1 + int(b[at]) {
		if b[at] > 63 {
			return 0, false
		}
	}
	return at + 1, at < len(b)
}

// datagramService wants a type, the source's address and port, and two names.
func datagramService(m *parsers.Meta, b []byte) bool {
	if len(b) < 14 || b[0] < 0x10 || b[0] > 0x16 || binary.BigEndian.Uint16(b[8:]) != portDatagrams && m.ClientPort != portDatagrams {
		return false
	}
	if b[0] > 0x12 { // errors and queries have no two names
		return len(b) < 300
	}
	at, ok := encoded(b, 14)
	if !ok {
		return false
	}
	_, ok = encoded(b, at)
	return ok
}
