// Package stun recognises STUN and TURN messages (RFC 8489, 8656) by the magic cookie and attributes that
// fill them. It reports the method. Channel data of TURN is not claimed by itself.
package stun

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	headerLen = 20
	cookie    = 0x2112a442
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Continuing = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.STUN.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	if len(b) > 0 && b[0]&0xc0 != 0 || len(b) > 3 && b[3]&3 != 0 {
		return parsers.No
	}
	if len(b) < headerLen {
		if m.Datagram() || len(b) > 7 && binary.BigEndian.Uint32(b[4:]) != cookie || len(b) > 4 && b[4] != cookie>>24 {
			return parsers.No
		}
		return parsers.More
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if binary.BigEndian.Uint32(b[4:]) != cookie || m.Datagram() && size != len(b)-headerLen {
		return parsers.No
	}
	if len(b) < headerLen+size {
		if size > 4096 {
			return parsers.No
		}
		return parsers.More
	}
	for at := headerLen; at < headerLen+size; {
		if at+4 > headerLen+size {
			return parsers.No
		}
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if at += 4 + (n+3)&^3; at > headerLen+size {
			return parsers.No
		}
	}
	return parsers.Likely
}

// Continues implements parsers.Continuing: what shares its port (RFC 7983): DTLS, channels of TURN, and media with their
// control packets.
func (parser) Continues(_ *parsers.Meta, b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch k := b[0]; {
	case k >= 20 && k <= 63:
		return b[1] == 0xfe // version of DTLS
	case k >= 64 && k <= 79:
		n := len(b) - 4 - int(binary.BigEndian.Uint16(b[2:]))
		return n >= 0 && n < 4
	case k >= 128 && k <= 191:
		return true // version 2 of RTP
	}
	return false
}

// Tell reports the method.
func (parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	sink.Attr(parsers.Command, []byte(method(b)))
}

// method is a message's method by its type, without the two bits of the class; empty for an extension's.
func method(b []byte) string {
	t := binary.BigEndian.Uint16(b)
	switch t &^ 0x0110 {
	case 1:
		return "binding"
	case 3:
		return "allocate"
	case 4:
		return "refresh"
	case 6:
		return "send"
	case 7:
		return "data"
	case 8:
		return "create-permission"
	case 9:
		return "channel-bind"
	case 0xa:
		return "connect"
	case 0xb:
		return "connection-bind"
	case 0xc:
		return "connection-attempt"
	}
	return ""
}
