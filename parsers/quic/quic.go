// Package quic recognises QUIC versions 1 and 2, their drafts and version negotiation (RFC 9000, 9369,
// 8999) by long headers. It reports the version. The Initial is not decrypted, so the name
// and protocol that the client asks for stay unreported.
package quic

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// RFC 9000 14.1: a client pads its first datagram; 17.2: connection ids have 20 octets at most.
const (
	minInitial = 1200
	maxID      = 20
	version1   = 1
	version2   = 0x6b3343cf
	mvfst      = 0xfaceb00  // another implementation's own drafts, in sixteen versions
	reserved   = 0x0a0a0a0a // versions that exercise negotiation (RFC 9000 15)
	tagLen     = 16
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Continuing = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.QUIC.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() || len(b) < 7 || b[0]&0x80 == 0 {
		return parsers.No
	}
	version := binary.BigEndian.Uint32(b[1:])
	rest, ok := id(b[5:])
	if !ok {
		return parsers.No
	}
	if rest, ok = id(rest); !ok {
		return parsers.No
	}
	if version == 0 {
		return negotiation(dir, rest)
	}
	kind, known := packetKind(version, b[0])
	if !known || b[0]&0x40 == 0 {
		return parsers.No
	}
	switch kind {
	case initial:
		n, after, ok := number(rest)
		if !ok || n > uint64(len(after)) {
			return parsers.No
		}
		// A client pads its datagram; a server may send Initials that only acknowledge.
		return fits(after[n:], dir == parsers.ToClient || m.Midstream || len(b) >= minInitial)
	case handshake, zeroRTT:
		return fits(rest, len(b) >= 40)
	}
	if dir == parsers.ToClient && len(rest) >= tagLen { // Retry: a token and its tag
		return parsers.Likely
	}
	return parsers.No
}

// Continues implements parsers.Continuing: short headers (RFC 9000 17.3), of 21 bytes at least as they are encrypted
// (RFC 9001 5.4.2), and small or mistaken packets of a handshake.
func (parser) Continues(_ *parsers.Meta, b []byte) bool {
	if len(b) < 7 {
		return false
	}
	if b[0]&0x80 == 0 {
		return b[0]&0x40 != 0 && len(b) >= 21
	}
	version := binary.BigEndian.Uint32(b[1:])
	_, known := packetKind(version, b[0])
	return version == 0 || known && b[0]&0x40 != 0
}

// Tell reports the version.
func (parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	switch v := binary.BigEndian.Uint32(b[1:]); {
	case v == version1:
		sink.Attr(parsers.Version, []byte("1"))
	case v == version2:
		sink.Attr(parsers.Version, []byte("2"))
	case v != 0 && v&0x0f0f0f0f != reserved:
		sink.Attr(parsers.Version, []byte("draft"))
	}
}

// id passes over a connection id with its length.
func id(b []byte) (rest []byte, ok bool) {
	if len(b) < 1 || b[0] > maxID || len(b) < 1+int(b[0]) {
		return nil, false
	}
	return b[1+int(b[0]):], true
}

// Kinds of long-header packets, as version 1 numbers them.
const (
	initial = iota
	zeroRTT
	handshake
	retry
)

// packetKind knows that version 2 numbers the kinds one further (RFC 9369 3.2).
func packetKind(version uint32, first byte) (kind byte, known bool) {
	kind = first >> 4 & 3
	switch {
	case version == version2:
		return (kind + 3) & 3, true
	case version == version1, version >= 0xff000017 && version <= 0xff000022, version>>4 == mvfst, version&0x0f0f0f0f == reserved:
		return kind, true
	}
	return 0, false
}

// number reads a variable-length integer (RFC 9000 16).
func number(b []byte) (n uint64, rest []byte, ok bool) {
	if len(b) == 0 || len(b) < 1<<(b[0]>>6) {
		return 0, nil, false
	}
	size := 1 << (b[0] >> 6)
	n = uint64(b[0] & 0x3f)
	for _, c := range b[1:size] {
		n = n<<8 | uint64(c)
	}
	return n, b[size:], true
}

// fits checks a packet's length against the datagram.
func fits(b []byte, padded bool) parsers.Match {
	n, rest, ok := number(b)
	if !ok || !padded || n < 1+tagLen || n > uint64(len(rest)) {
		return parsers.No
	}
	return parsers.Likely
}

// negotiation judges a server's list of versions, of which it must know one.
func negotiation(dir parsers.Dir, b []byte) parsers.Match {
	if dir != parsers.ToClient || len(b) == 0 || len(b)%4 != 0 || len(b) > 128 {
		return parsers.No
	}
	for ; len(b) > 0; b = b[4:] {
		if _, known := packetKind(binary.BigEndian.Uint32(b), 0); known {
			return parsers.Likely
		}
	}
	return parsers.No
}
