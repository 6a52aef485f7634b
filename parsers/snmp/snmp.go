// Package snmp recognises SNMP versions 1, 2c and 3 by their BER framing. It reports
// version and kind of the request; communities are as good as passwords and stay unreported.
package snmp

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// BER tags.
const (
	tagInteger  = 0x02
	tagOctets   = 0x04
	tagOID      = 0x06
	tagSequence = 0x30
	firstPDU    = 0xa0
	lastPDU     = 0xa8
	trapV1      = 0xa4
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.SNMP.Name() }

// Standalone implements parsers.Standalone: each datagram is a message with its version.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() {
		return parsers.No
	}
	if _, _, fits := read(b); !fits {
		return parsers.No
	}
	return parsers.Likely
}

// Tell reports version and request.
func (parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	version, pdu, _ := read(b)
	sink.Attr(parsers.Version, []byte(versions[version]))
	if pdu != 0 {
		sink.Attr(parsers.Command, []byte(pdus[pdu-firstPDU]))
	}
}

var (
	versions = [...]string{"1", "2c", "", "3"}
	pdus     = [...]string{"get-request", "get-next-request", "response", "set-request", "trap", "get-bulk-request", "inform-request", "trap", "report"}
)

// element reads one BER element of definite length.
func element(b []byte) (tag byte, value, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	n, at := int(b[1]), 2
	if n > 0x80 {
		count := n & 0x7f
		if count > 4 || len(b) < 2+count {
			return 0, nil, nil, false
		}
		n = 0
		for _, c := range b[2 : 2+count] {
			n = n<<8 | int(c)
		}
		at += count
	} else if n == 0x80 {
		return 0, nil, nil, false
	}
	if n > len(b)-at {
		return 0, nil, nil, false
	}
	return b[0], b[at : at+n], b[at+n:], true
}

// want reads an element with a tag.
func want(b []byte, tag byte) (value, rest []byte, ok bool) {
	t, value, rest, ok := element(b)
	return value, rest, ok && t == tag
}

// read walks a message: RFC 1157 4, RFC 3416 3, RFC 3412 6. pdu is 0 if it is encrypted.
func read(b []byte) (version, pdu byte, ok bool) {
	body, rest, ok := want(b, tagSequence)
	if !ok || len(rest) != 0 {
		return 0, 0, false
	}
	v, body, ok := want(body, tagInteger)
	if !ok || len(v) != 1 || v[0] > 3 || v[0] == 2 {
		return 0, 0, false
	}
	if v[0] == 3 {
		pdu, ok = readV3(body)
		return 3, pdu, ok
	}
	_, body, ok = want(body, tagOctets)
	if !ok {
		return 0, 0, false
	}
	pdu, ok = readPDU(body)
	return v[0], pdu, ok
}

// readV3 walks the global data, the security parameters and the scoped PDU.
func readV3(b []byte) (pdu byte, ok bool) {
	global, b, ok := want(b, tagSequence)
	if !ok {
		return 0, false
	}
	for _, tag := range [...]byte{tagInteger, tagInteger, tagOctets, tagInteger} {
		if _, global, ok = want(global, tag); !ok {
			return 0, false
		}
	}
	if _, b, ok = want(b, tagOctets); !ok || len(global) != 0 {
		return 0, false
	}
	tag, value, rest, ok := element(b)
	if !ok || len(rest) != 0 {
		return 0, false
	}
	if tag == tagOctets {
		return 0, true
	}
	for range 2 { // context engine and name
		if _, value, ok = want(value, tagOctets); !ok {
			return 0, false
		}
	}
	return readPDU(value)
}

// readPDU wants three integers and a sequence, or the layout of version 1's trap.
func readPDU(b []byte) (pdu byte, ok bool) {
	tag, value, rest, ok := element(b)
	if !ok || tag < firstPDU || tag > lastPDU || len(rest) != 0 {
		return 0, false
	}
	if tag == trapV1 {
		_, _, ok = want(value, tagOID)
		return tag, ok
	}
	for range 3 {
		if _, value, ok = want(value, tagInteger); !ok {
			return 0, false
		}
	}
	_, rest, ok = want(value, tagSequence)
	return tag, ok && len(rest) == 0
}
