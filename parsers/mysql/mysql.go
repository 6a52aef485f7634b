// Package mysql recognises the MySQL and MariaDB client/server protocol by the server's
// greeting, the client's log-in, and mid-stream by statements. It reports server version, user,
// database, the first statement's verb and refused log-ins, never passwords or values.
// What comes after a change to TLS is that protocol's; once a session is compressed, nothing more is read. The X
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
	comQuit        = 0x01
	comInitDB      = 0x02
	comQuery       = 0x03
	comFieldList   = 0x04
	comRefresh     = 0x07
	comStatistics  = 0x09
	comProcessInfo = 0x0a
	comKill        = 0x0c
	comDebug       = 0x0d
	comPing        = 0x0e
	comChangeUser  = 0x11
	comBinlogDump  = 0x12
	comPrepare     = 0x16
	comExecute     = 0x17
	comLongData    = 0x18
	comStmtClose   = 0x19
	comStmtReset   = 0x1a
	comSetOption   = 0x1b
	comFetch       = 0x1c
	comBinlogGTID  = 0x1e
	comReset       = 0x1f
	comBulkExecute = 0xfa // MariaDB's
)

// Bounds of what is believed at a session's beginning.
const (
	maxGreeting = 512
	maxLogin    = 8 << 10
	maxUser     = 512
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
		return commands(head)
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
	_, rest, found := bytes.Cut(body[1:], []byte{0}) // the version is any text that the server's operator chose
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
	code, text := binary.LittleEndian.Uint16(body[1:]), body[3:]
	if code < 1000 {
		return parsers.No
	}
	if !whole || code > 9999 || len(text) < 8 || !textual(text) { // proxies and other servers have codes and texts of their own
		return parsers.More
	}
	return parsers.Likely
}

func textual(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
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
	if len(name) > maxUser || !found && len(user) == size-loginFixed {
		return parsers.No
	}
	if !found {
		return parsers.More
	}
	return parsers.Likely
}
