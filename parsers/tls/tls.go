// Package tls recognises SSL 2 and 3 and TLS 1.0 to 1.3 over streams by content and
// reports the plain part of the handshake: names, versions, ALPN, fingerprints of the client,
// the server's certificate up to TLS 1.2, fatal alerts, and threats that show there. It
// decrypts nothing and verifies nothing, and it is not for DTLS or QUIC, nor for the
// TLS that begins inside another protocol.
package tls

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Record content types, RFC 8446 5.1 and RFC 6520.
const (
	changeCipherSpec = 20
	alert            = 21
	handshake        = 22
	applicationData  = 23
	heartbeat        = 24
)

// Handshake types.
const (
	clientHello = 1
	serverHello = 2
	certificate = 11
)

// Limits.
const (
	recordHeader = 5
	maxPlain     = 1 << 14     // payload of a plaintext record
	maxRecord    = 1<<14 + 256 // payload of a protected record
	lowest       = 16          // what the smallest ciphers add to a record
	maxAlert     = 64          // payload of a protected alert
	maxMessage   = 1 << 17     // handshake message that is believed
	maxHello     = 32 << 10    // ClientHello that is read
	maxLeaf      = 16<<10 + 6  // Certificate message up to the end of its first certificate
	prefix       = 4 + 2 + 32 + 1 + 32 + 3
)

// New is the parser of TLS.
func New() parsers.Parser { return parser{} }

type parser struct{}

var (
	_ parsers.Parser  = parser{}
	_ parsers.Layered = parser{}
	_ parsers.Sided   = parser{}
)

// Name implements parsers.Parser.
func (parser) Name() string { return app.TLS.Name() }

// Layered implements parsers.Layered.
func (parser) Layered() {}

// Open implements parsers.Parser.
func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream { return &stream{sink: sink} }

// Probe implements parsers.Parser.
func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	switch {
	case m.Datagram():
		return parsers.No
	case len(head) == 0:
		return parsers.More
	case m.Midstream: // the sides may be swapped, and the handshake may be over
		return max(probeHello(head, clientHello), probeHello(head, serverHello), probeAlert(head), probeV2(head, v2ClientHello),
			probeV2(head, v2ServerHello), probeChain(head))
	case dir == parsers.ToServer:
		return max(probeHello(head, clientHello), probeV2(head, v2ClientHello))
	}
	return max(probeHello(head, serverHello), probeAlert(head), probeV2(head, v2ServerHello))
}

// Part implements parsers.Sided by the hello.
func (parser) Part(_ *parsers.Meta, head []byte) parsers.Part {
	switch {
	case len(head) == 0:
	case probeHello(head, clientHello) == parsers.Likely, probeV2(head, v2ClientHello) == parsers.Likely:
		return parsers.ClientPart
	case probeHello(head, serverHello) == parsers.Likely:
		return parsers.ServerPart
	}
	return parsers.EitherPart
}

// record judges as much of a record header as there is.
func record(b []byte, kind byte) bool {
	return b[0] == kind && (len(b) < 2 || b[1] == 3) && (len(b) < 3 || b[2] <= 4)
}

// collect copies the first handshake bytes out of plaintext records, because a hello may be
// spread over records of a few bytes; false: something else follows.
func collect(head []byte, buf *[prefix]byte) (n int, ok bool) {
	for n < prefix && len(head) > 0 {
		if !record(head, handshake) {
			return n, false
		}
		if len(head) < recordHeader {
			return n, true
		}
		size := int(binary.BigEndian.Uint16(head[3:]))
		if size == 0 || size > maxPlain {
			return n, false
		}
		head = head[recordHeader:]
		body := head[:min(size, len(head))]
		n += copy(buf[n:], body)
		head = head[len(body):]
	}
	return n, true
}

// probeHello searches for the beginning of a hello message, up to its cipher suites.
func probeHello(head []byte, kind byte) parsers.Match {
	var buf [prefix]byte
	n, ok := collect(head, &buf)
	b := buf[:n]
	more := parsers.More
	if !ok { // what was collected must do
		more = parsers.No
	}
	switch {
	case n >= 1 && b[0] != kind, n >= 2 && b[1] > 1:
		return parsers.No
	case n < 4:
		return more
	}
	size := 4 + (int(b[1])<<16 | int(b[2])<<8 | int(b[3]))
	switch {
	case size < 42 || size > maxMessage:
		return parsers.No
	case n >= 5 && b[4] != 3, n >= 6 && b[5] > 4, n >= 39 && b[38] > 32:
		return parsers.No
	case n < 39:
		return more
	}
	at := 39 + int(b[38])
	if at+3 > size {
		return parsers.No
	}
	if n < at+3 {
		return more
	}
	if kind == serverHello {
		if b[at+2] > 1 && b[at+2] != 64 { // compression: none, deflate, LZS
			return parsers.No
		}
		return parsers.Likely
	}
	suites := int(binary.BigEndian.Uint16(b[at:]))
	if suites < 2 || suites%2 != 0 || at+2+suites+2 > size {
		if int(binary.BigEndian.Uint16(head[3:])) == size {
			return parsers.Likely // a broken hello, but its record and message agree: no other protocol is similar
		}
		return parsers.No
	}
	return parsers.Likely
}

// probeAlert searches for a plain alert, with which a server may refuse a ClientHello.
func probeAlert(b []byte) parsers.Match {
	want := [...]byte{3: 0, 4: 2}
	switch {
	case !record(b, alert), len(b) > 3 && b[3] != want[3], len(b) > 4 && b[4] != want[4]:
		return parsers.No
	case len(b) > 5 && b[5] != 1 && b[5] != 2:
		return parsers.No
	case len(b) < 7:
		return parsers.More
	}
	return parsers.Likely
}

// probeChain searches for a whole protected record in midstream, 22 bits that must be right; of SSL 3, and of the
// weaker types, for another one after it.
func probeChain(b []byte) parsers.Match {
	if m := chained(b); m != parsers.Likely {
		return m
	}
	size := recordHeader + int(binary.BigEndian.Uint16(b[3:]))
	alone := b[2] != 0 && (b[0] == applicationData || b[0] == alert && size >= recordHeader+lowest && size <= recordHeader+maxAlert)
	switch {
	case len(b) < size || len(b) == size && !alone:
		return parsers.More
	case alone:
		return parsers.Likely
	}
	next := b[size:]
	if m := chained(next); m != parsers.Likely {
		return m
	}
	if next[2] != b[2] {
		return parsers.No
	}
	return parsers.Likely
}

// chained judges a record header in midstream.
func chained(b []byte) parsers.Match {
	switch {
	case b[0] < changeCipherSpec || b[0] > heartbeat, len(b) > 1 && b[1] != 3, len(b) > 2 && b[2] > 3:
		return parsers.No
	case len(b) < recordHeader:
		return parsers.More
	}
	size := int(binary.BigEndian.Uint16(b[3:]))
	low := lowest
	switch b[0] {
	case changeCipherSpec:
		low = 1
		if size != 1 {
			return parsers.No
		}
	case alert:
		low = 2
	case handshake:
		low = 4
	}
	if size < low || size > maxRecord {
		return parsers.No
	}
	return parsers.Likely
}
