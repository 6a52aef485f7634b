// Package mysql recognises the MySQL and MariaDB client/server protocol by the server's
// greeting, the client's log-in, and mid-stream by statements. It reports server version, user,
// database, the first statement's verb and refused log-ins, never passwords or values.
// After a change to TLS, and once a session is compressed, nothing more is read. The X
// protocol is another one.
package mysql

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Capability flags of a client (the Protocol::CapabilitiesFlags of the server's manual).
const (
	capConnectWithDB  = 0x8
	capCompress       = 0x20
	cap41             = 0x200
	capTLS            = 0x800
	capSecure         = 0x8000
	capAuthLenEnc     = 0x200000
	capZstd           = 0x4000000
	loginFixed        = 32 // flags, packet size, character set, 23 reserved octets
	greetingAfterName = 4 + 8 + 1 + 2
)

// Commands.
const (
	comQuery   = 0x03
	comInitDB  = 0x02
	comPing    = 0x0e
	comPrepare = 0x16
)

// Bounds of what is believed at a session's beginning.
const (
	maxGreeting = 512
	maxLogin    = 8 << 10
	maxVersion  = 96
)

type parser struct{}

var _ parsers.Sided = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.MySQL.Name() }

func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, midstream: m.Midstream, commands: m.Midstream}
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	var match parsers.Match
	if dir == parsers.ToClient {
		match = greeting(head)
	} else {
		match = login(head)
	}
	if match == parsers.No && m.Midstream {
		if dir == parsers.ToClient {
			return resultSet(head)
		}
		return command(head)
	}
	return match
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// packet reads a packet's header: three octets of length, little endian, and a sequence number.
func packet(b []byte) (size int, seq byte) {
	return int(b[0]) | int(b[1])<<8 | int(b[2])<<16, b[3]
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

// greeting judges a server's first packet: Protocol::HandshakeV10 or V9, or an error.
func greeting(b []byte) parsers.Match {
	if len(b) < 5 {
		if len(b) > 2 && b[2] != 0 || len(b) > 1 && b[1] >= maxGreeting>>8 || len(b) > 3 && b[3] > 1 {
			return parsers.No
		}
		return parsers.More
	}
	size, seq := packet(b)
	if size < 8 || size >= maxGreeting || seq > 1 {
		return parsers.No
	}
	body := b[4:min(len(b), 4+size)]
	whole := len(body) == size
	switch body[0] {
	case 10, 9:
		if seq != 0 {
			return parsers.No
		}
		return handshake(body, whole)
	case 0xff:
		return refusal(body, whole)
	}
	return parsers.No
}

func handshake(body []byte, whole bool) parsers.Match {
	version, rest, found := bytes.Cut(body[1:], []byte{0})
	for i, c := range version {
		if c < 0x20 || c > 0x7e || i == 0 && (c < '0' || c > '9') || i == maxVersion {
			return parsers.No
		}
	}
	if found && bytes.IndexByte(version, '.') < 0 {
		return parsers.No
	}
	if !whole {
		return parsers.More
	}
	if !found {
		return parsers.No
	}
	if body[0] == 9 {
		return likelyIf(len(rest) >= 4+8+1 && len(rest) <= 4+9+1 && rest[len(rest)-1] == 0)
	}
	if len(rest) < greetingAfterName || rest[12] != 0 {
		return parsers.No
	}
	if len(rest) == greetingAfterName {
		return parsers.Likely
	}
	// Character set, status, upper capabilities, length of the scramble, ten reserved octets; MariaDB uses
	// the last four.
	if rest = rest[greetingAfterName:]; len(rest) < 16 {
		return parsers.No
	}
	return likelyIf(rest[5] <= 64 && bytes.Count(rest[6:12], []byte{0}) == 6)
}

// refusal judges an error in place of the greeting: too many connections, host not allowed.
func refusal(body []byte, whole bool) parsers.Match {
	if len(body) < 3 {
		return parsers.More
	}
	if code := binary.LittleEndian.Uint16(body[1:]); code < 1000 || code > 4999 {
		return parsers.No
	}
	text := body[3:]
	for _, c := range text {
		if c < 0x20 || c == 0x7f {
			return parsers.No
		}
	}
	if !whole {
		return parsers.More
	}
	return likelyIf(len(text) >= 8)
}

// login judges a client's first packet: Protocol::HandshakeResponse41, or the request for TLS
// that is its beginning.
func login(b []byte) parsers.Match {
	if len(b) < 4+loginFixed {
		if len(b) > 3 && b[3] != 1 || len(b) > 2 && b[2] != 0 || len(b) > 1 && b[1] >= maxLogin>>8 {
			return parsers.No
		}
		return parsers.More
	}
	size, seq := packet(b)
	if seq != 1 || size < loginFixed || size >= maxLogin {
		return parsers.No
	}
	flags := binary.LittleEndian.Uint32(b[4:])
	if flags&cap41 == 0 || bytes.Count(b[13:4+28], []byte{0}) != 19 {
		return parsers.No
	}
	if size == loginFixed {
		return likelyIf(flags&capTLS != 0)
	}
	user := b[4+loginFixed : min(len(b), 4+size)]
	name, _, found := bytes.Cut(user, []byte{0})
	for _, c := range name {
		if c < 0x20 || c == 0x7f {
			return parsers.No
		}
	}
	if len(name) > 128 || !found && len(user) == size-loginFixed {
		return parsers.No
	}
	if !found {
		return parsers.More
	}
	return parsers.Likely
}

// command judges a statement without what came before it.
func command(b []byte) parsers.Match {
	if len(b) < 5 {
		if len(b) > 3 && b[3] != 0 {
			return parsers.No
		}
		return parsers.More
	}
	size, seq := packet(b)
	if seq == 0 && size == 1 && b[4] == comPing {
		return pings(b)
	}
	if seq == 0 && b[4] == 0 && size >= 10 {
		return compressed(b, size)
	}
	if seq != 0 || size < 6 || b[4] != comQuery && b[4] != comPrepare {
		return parsers.No
	}
	text := b[5:min(len(b), 4+size)]
	if b[4] == comQuery && len(text) > 0 && text[0] == 0 { // no query attributes, one set
		if len(text) < 2 {
			return parsers.More
		}
		if text[1] != 1 {
			return parsers.No
		}
		text = text[2:]
	}
	for _, c := range text {
		if c == 0 || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
			return parsers.No
		}
	}
	var up [16]byte
	v, ended := verb(up[:0], text)
	if !ended && len(b) < 4+size {
		return parsers.More
	}
	return likelyIf(sqlVerbs[string(v)])
}

// pings wants the check of an idle connection three times.
func pings(b []byte) parsers.Match {
	const ping = "\x01\x00\x00\x00\x0e"
	const three = ping + ping + ping
	if n := min(len(b), len(three)); string(b[:n]) != three[:n] {
		return parsers.No
	} else if n < len(three) {
		return parsers.More
	}
	return parsers.Likely
}

// compressed judges a statement too short to be worth compressing: its uncompressed length
// is zero, and one packet fills the frame.
func compressed(b []byte, size int) parsers.Match {
	if len(b) < 7+5 {
		return parsers.More
	}
	inner, seq := packet(b[7:])
	if b[5] != 0 || b[6] != 0 || seq != 0 || inner+4 != size || b[11] == 0 {
		return parsers.No
	}
	return command(b[7:])
}

// resultSet judges an answer without what came before it: a count of columns in a packet of
// its own, and the first column, whose catalogue is always "def". Anything shorter is too weak.
func resultSet(b []byte) parsers.Match {
	want := [...]int{1, 0, 0, 1, -1, -1, -1, 0, 2, 3, 'd', 'e', 'f'}
	for i, c := range b[:min(len(b), len(want))] {
		if want[i] >= 0 && int(c) != want[i] || i == 4 && (c == 0 || c > 250) {
			return short(b)
		}
	}
	if len(b) < len(want) {
		return parsers.More
	}
	return parsers.Likely
}

// short delays an OK or an error until the client's next statement.
func short(b []byte) parsers.Match {
	if len(b) < 5 {
		return parsers.More
	}
	size, seq := packet(b)
	if seq != 1 || size < 7 || size >= maxGreeting || b[4] != 0 && b[4] != 0xff || len(b) > 4+size && len(b) >= 64 {
		return parsers.No
	}
	return parsers.More
}
