// Package smb recognises SMB 1, 2 and 3 behind the four-octet header of direct TCP or of a NetBIOS
// session (RFC 1002 4.3). It reports the dialect's family and no files or users.
package smb

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Types of NetBIOS session packets.
const (
	nbMessage  = 0x00
	nbRequest  = 0x81
	nbPositive = 0x82
)

type parser struct{}

var _ parsers.Teller = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.SMB.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	match, _ := find(m, dir, b)
	return match
}

// Tell reports the family by the mark that begins a message.
func (parser) Tell(m *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	match, mark := find(m, dir, b)
	if dir != parsers.ToClient || match != parsers.Likely {
		return
	}
	switch mark {
	case 0xff:
		sink.Attr(parsers.Version, []byte("1"))
	default:
		sink.Attr(parsers.Version, []byte("2+"))
	}
}

// find reads after the header of the first message, and behind the request for a NetBIOS session
// and its answer.
func find(m *parsers.Meta, dir parsers.Dir, b []byte) (match parsers.Match, mark byte) {
	if len(b) == 0 {
		return parsers.More, 0
	}
	switch {
	case b[0] == nbRequest && dir == parsers.ToServer:
		// Two encoded names of 34 octets, at least.
		if len(b) > 1 && b[1] != 0 || len(b) > 2 && b[2] != 0 || len(b) > 3 && b[3] < 68 || len(b) > 4 && b[4] != 0x20 {
			return parsers.No, 0
		}
		for _, c := range b[min(5, len(b)):min(37, len(b))] {
			if c < 'A' || c > 'P' {
				return parsers.No, 0
			}
		}
		if len(b) < 4 || len(b) <= 4+int(b[3]) {
			return parsers.More, 0
		}
		b = b[4+int(b[3]):]
	case b[0] == nbPositive && dir == parsers.ToClient:
		for _, c := range b[1:min(4, len(b))] {
			if c != 0 {
				return parsers.No, 0
			}
		}
		if len(b) <= 4 {
			return parsers.More, 0
		}
		b = b[4:]
	}
	return message(m, dir, b)
}

// message judges the length, the mark 0xff, 0xfe, 0xfd or 0xfc "SMB", and who answers.
func message(m *parsers.Meta, dir parsers.Dir, b []byte) (match parsers.Match, mark byte) {
	want := [...]int{nbMessage, -1, -1, -1, -1, 'S', 'M', 'B'}
	for i, c := range b[:min(len(b), len(want))] {
		if want[i] >= 0 && int(c) != want[i] || i == 4 && c < 0xfc {
			return parsers.No, 0
		}
	}
	if len(b) < 8 {
		return parsers.More, 0
	}
	size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	mark = b[4]
	least, at := 32, 13 // SMB_COM flags: bit 7 marks a reply
	switch mark {
	case 0xfe:
		least, at = 64, 20 // SMB2 flags: bit 0 marks a response
	case 0xfd, 0xfc: // encrypted, compressed
		if size < 16 || !m.Midstream {
			return parsers.No, 0
		}
		return parsers.Likely, mark
	}
	if size < least {
		return parsers.No, 0
	}
	if len(b) <= at {
		return parsers.More, 0
	}
	answer := b[at]&0x80 != 0
	if mark == 0xfe {
		answer = b[at]&1 != 0
		if b[8] != 64 || b[9] != 0 { // the header's own size
			return parsers.No, 0
		}
	}
	if answer != (dir == parsers.ToClient) && !m.Midstream {
		if !answer {
			return parsers.More, mark // some servers forget the bit
		}
		return parsers.No, 0
	}
	return parsers.Likely, mark
}
