// Package amqp recognises AMQP 0-8, 0-9-1 and 1.0 by the 8-octet protocol header and the
// server's first frame, and in midstream by whole frames. It reports the version.
package amqp

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Frames (4.2.3), and the octet that ends each.
const (
	frameMethod = 1
	frameHeader = 2
	frameBody   = 3
	frameBeat   = 8
	frameEnd    = 0xce
	maxClass    = 130 // of classes and methods that are believed, some of which brokers add
	maxMethod   = 130
)

type parser struct{}

var _ parsers.Teller = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.AMQP.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	match := header(b)
	if match == parsers.No && (dir == parsers.ToClient || m.Midstream) {
		match = frame(m, dir, b)
	}
	if match == parsers.No && m.Midstream {
		match = frame10(b)
	}
	return match
}

// Tell reports the version of a protocol header.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if dir != parsers.ToServer || b[0] != 'A' {
		return
	}
	for _, h := range headers {
		if string(b[:8]) == h.octets {
			sink.Attr(parsers.Version, []byte(h.version))
		}
	}
}

var headers = [...]struct{ octets, version string }{
	{"AMQP\x00\x00\x09\x01", "0-9-1"}, {"AMQP\x01\x01\x00\x09", "0-9"}, {"AMQP\x01\x01\x08\x00", "0-8"}, {"AMQP\x01\x01\x00\x0a", "0-10"},
	{"AMQP\x00\x01\x00\x00", "1.0"}, {"AMQP\x02\x01\x00\x00", "1.0"}, {"AMQP\x03\x01\x00\x00", "1.0"}, // plain, TLS, SASL
}

func header(b []byte) parsers.Match {
	for _, h := range headers {
		n := min(len(b), len(h.octets))
		if string(b[:n]) != h.octets[:n] {
			continue
		}
		if n < len(h.octets) {
			return parsers.More
		}
		return parsers.Likely
	}
	return parsers.No
}

// frame judges a frame of 0-9-1 (4.2.3): Connection.Start from the server at the beginning, in
// midstream a method or heartbeat with the octet that ends it.
func frame(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if len(b) > 0 && b[0] != frameMethod && (!m.Midstream || b[0] != frameBeat && b[0] != frameHeader && b[0] != frameBody) || len(b) > 3 && b[3] != 0 {
		return parsers.No
	}
	if len(b) < 8 {
		return parsers.More
	}
	channel, size := binary.BigEndian.Uint16(b[1:]), int(binary.BigEndian.Uint32(b[3:]))
	if b[0] == frameBeat {
		return likelyIf(channel == 0 && size == 0 && b[7] == frameEnd)
	}
	if size < 4 && b[0] != frameBody || size < 1 || size > 1<<16 || channel > 2047 && m.Midstream {
		return parsers.No
	}
	if b[0] != frameMethod {
		return content(b, channel, size)
	}
	if len(b) < 13 {
		return parsers.More
	}
	class, method := binary.BigEndian.Uint16(b[7:]), binary.BigEndian.Uint16(b[9:])
	if !m.Midstream {
		return likelyIf(dir == parsers.ToClient && channel == 0 && class == 10 && method == 10 && b[11] == 0 && b[12] >= 8 && b[12] <= 10)
	}
	if class == 0 || class > maxClass || method == 0 || method > maxMethod || size > parsers.MaxHead/4 {
		return parsers.No
	}
	if len(b) < 8+size {
		return parsers.More
	}
	return likelyIf(b[7+size] == frameEnd)
}

// content judges the header or the body of a message, which follow its method (4.2.6).
func content(b []byte, channel uint16, size int) parsers.Match {
	if channel == 0 || size > parsers.MaxHead/2 {
		return parsers.No
	}
	if b[0] == frameHeader && (size < 14 || len(b) > 10 && (b[7] != 0 || b[8] == 0 || b[8] > maxClass || b[9]|b[10] != 0)) {
		return parsers.No
	}
	if len(b) < 8+size {
		return parsers.More
	}
	return likelyIf(b[7+size] == frameEnd)
}

// frame10 judges a frame of 1.0 (part 2, 2.3.1): size, data offset, type, and a performative's descriptor.
func frame10(b []byte) parsers.Match {
	want := [...]int{0, 0, -1, -1, 2, -1, 0, -1, 0, 0x53, -1}
	for i, c := range b[:min(len(b), len(want))] {
		if want[i] >= 0 && int(c) != want[i] || i == 5 && c > 1 {
			return parsers.No
		}
	}
	if len(b) < 12 {
		return parsers.More
	}
	size := int(binary.BigEndian.Uint32(b))
	known := b[5] == 0 && b[10] >= 0x10 && b[10] <= 0x18 || b[5] == 1 && b[10] >= 0x40 && b[10] <= 0x44
	return likelyIf(known && size >= 12 && (b[11] == 0x45 || b[11] == 0xc0 || b[11] == 0xd0)) // a list
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}
