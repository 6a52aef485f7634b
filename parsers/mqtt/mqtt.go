// Package mqtt recognises MQTT 3.1, 3.1.1 and 5.0 by CONNECT and CONNACK. It reports version
// and user. A session that was not seen from its beginning is claimed by a row of packets: one of two octets of
// header may be anything.
package mqtt

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Sizes: a CONNECT is waited for up to here, to find its user; and what the properties of an answer, texts among them,
// may have.
const (
	maxConnect = 4096
	maxConnack = 64 << 10
)

type parser struct{}

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.MQTT.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	switch {
	case m.Datagram():
		return parsers.No
	case m.Midstream:
		return max(first(dir, b), chain(dir, b))
	}
	return first(dir, b)
}

// first judges what a side begins with.
func first(dir parsers.Dir, b []byte) parsers.Match {
	if dir == parsers.ToServer {
		return connect(b)
	}
	return connack(b)
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// Tell reports what a CONNECT holds.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if dir != parsers.ToServer || connect(b) != parsers.Likely {
		return
	}
	size, at := remaining(b[1:])
	body := b[1+at:]
	body = body[:min(len(body), size)]
	n := 2 + int(binary.BigEndian.Uint16(body))
	level, flags := body[n], body[n+1]
	switch level &^ 0x80 {
	case 3:
		sink.Attr(parsers.Version, []byte("3.1"))
	case 4:
		sink.Attr(parsers.Version, []byte("3.1.1"))
	case 5:
		sink.Attr(parsers.Version, []byte("5.0"))
	}
	if size <= maxConnect && flags&0x80 != 0 {
		sink.Attr(parsers.User, user(body[n+4:], level, flags))
	}
}

// user walks the payload: client id, will, then the user's name.
func user(b []byte, level, flags byte) []byte {
	b = properties(b, level)
	skip := 1
	if flags&4 != 0 {
		skip = 3
	}
	for i := range skip {
		if i == 1 {
			b = properties(b, level)
		}
		if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
			return nil
		}
		b = b[2+int(binary.BigEndian.Uint16(b)):]
	}
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
		return nil
	}
	return b[2 : 2+int(binary.BigEndian.Uint16(b))]
}

// properties passes over the properties that version 5 has before a client id and a will.
func properties(b []byte, level byte) []byte {
	if level != 5 {
		return b
	}
	n, at := remaining(b)
	if at <= 0 || at+n > len(b) {
		return nil
	}
	return b[at+n:]
}

// remaining reads a variable byte integer (5.0, 1.5.5): at is where it ends, 0 for more, -1 for none.
func remaining(b []byte) (n, at int) {
	for i := 0; i < 4; i++ {
		if i == len(b) {
			return 0, 0
		}
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			if i > 0 && b[i] == 0 {
				return 0, -1 // the fewest octets must be used
			}
			return n, i + 1
		}
	}
	return 0, -1
}

func connect(b []byte) parsers.Match {
	if len(b) > 0 && b[0] != 0x10 {
		return parsers.No
	}
	if len(b) < 2 {
		return parsers.More
	}
	size, at := remaining(b[1:])
	if at < 0 || at > 0 && size < 12 {
		return parsers.No
	}
	if at == 0 {
		return parsers.More
	}
	body := b[1+at:]
	level := 0
	for _, name := range [...]string{"\x00\x04MQTT", "\x00\x06MQIsdp"} {
		if n := min(len(body), len(name)); string(body[:n]) != name[:n] {
			continue
		}
		if level = len(name); len(body) < level+4 {
			return parsers.More
		}
	}
	if level == 0 {
		return parsers.No
	}
	v, flags := body[level]&^0x80, body[level+1] // the top bit marks a bridge
	if v != 3 && v != 4 && v != 5 || (v == 3) != (level == 8) || flags&1 != 0 || flags&0x18 == 0x18 || flags&4 == 0 && flags&0x38 != 0 {
		return parsers.No
	}
	if len(body) < size && size <= maxConnect {
		return parsers.More
	}
	return parsers.Likely
}

// connack judges the server's first packet: two octets, and in 5.0 properties behind them.
func connack(b []byte) parsers.Match {
	if len(b) > 0 && b[0] != 0x20 {
		return parsers.No
	}
	if len(b) < 2 {
		return parsers.More
	}
	size, at := remaining(b[1:])
	if at == 0 {
		return parsers.More
	}
	if at < 0 || size < 2 || size > maxConnack {
		return parsers.No
	}
	if b = b[1+at:]; len(b) > 0 && b[0] > 1 {
		return parsers.No
	}
	if len(b) < 2 {
		return parsers.More
	}
	if size == 2 {
		return likelyIf(b[1] <= 5 && (b[1] == 0 || b[0] == 0))
	}
	if b[1] != 0 && b[1] < 0x80 {
		return parsers.No
	}
	switch n, at := remaining(b[2:]); {
	case at == 0:
		return parsers.More
	default:
		return likelyIf(at > 0 && n == size-2-at)
	}
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}
