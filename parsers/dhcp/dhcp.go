// Package dhcp recognises DHCP (RFC 2131) by its magic number and options, and DHCPv6 (RFC 8415) at
// its ports. It reports the message's type and the host's name.
package dhcp

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	fixedLen   = 236
	magic      = 0x63825363
	optPad     = 0
	optHost    = 12
	optType    = 53
	optEnd     = 255
	portClient = 546
	portServer = 547
	v6Relay    = 12
	v6MaxType  = 36
)

type parser struct{ v6 bool }

var (
	_ parsers.Teller     = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser of DHCP.
func New() parsers.Parser { return parser{} }

// NewV6 is the parser of DHCPv6.
func NewV6() parsers.Parser { return parser{v6: true} }

func (p parser) Name() string {
	if p.v6 {
		return app.DHCPv6.Name()
	}
	return app.DHCP.Name()
}

// Standalone implements parsers.Standalone: each datagram is a message of either protocol.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (p parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() || p.v6 && !v6Fits(m, b) || !p.v6 && !v4Fits(b) {
		return parsers.No
	}
	return parsers.Likely
}

// Tell reports the type, and the host's name.
func (p parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	if p.v6 {
		sink.Attr(parsers.Command, []byte(v6Types[b[0]]))
		return
	}
	for o := b[fixedLen+4:]; len(o) > 0; {
		code, value, rest := option(o)
		switch {
		case code == optType && len(value) == 1 && int(value[0]) < len(types):
			sink.Attr(parsers.Command, []byte(types[value[0]]))
		case code == optHost:
			sink.Attr(parsers.Host, value)
		case code == optEnd:
			return
		}
		o = rest
	}
}

var types = [...]string{"", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM", "FORCERENEW",
	"LEASEQUERY", "LEASEUNASSIGNED", "LEASEUNKNOWN", "LEASEACTIVE", "BULKLEASEQUERY", "LEASEQUERYDONE", "ACTIVELEASEQUERY",
	"LEASEQUERYSTATUS", "TLS"}

// option reads one option; rest is nil if it does not fit or is the last.
func option(b []byte) (code byte, value, rest []byte) {
	switch {
	case b[0] == optPad:
		return optPad, nil, b[1:]
	case b[0] == optEnd:
		return optEnd, nil, nil
	case len(b) < 2 || len(b) < 2+int(b[1]):
		return optPad, nil, nil
	}
	n := 2 + int(b[1])
	return b[0], b[2:n], b[n:]
}

// v4Fits wants a message type, which new ones are added to. Options may continue in the fields for names, which is not followed.
func v4Fits(b []byte) bool {
	if len(b) < fixedLen+4+4 || b[0] != 1 && b[0] != 2 || b[2] > 16 || binary.BigEndian.Uint32(b[fixedLen:]) != magic {
		return false
	}
	for o := b[fixedLen+4:]; len(o) > 0; {
		code, value, rest := option(o)
		if code == optType {
			return len(value) == 1 && value[0] > 0
		}
		o = rest
	}
	return false
}

var v6Types = [v6MaxType + 1]string{1: "SOLICIT", 2: "ADVERTISE", 3: "REQUEST", 4: "CONFIRM", 5: "RENEW", 6: "REBIND", 7: "REPLY", 8: "RELEASE", 9: "DECLINE",
	10: "RECONFIGURE", 11: "INFORMATION-REQUEST", 12: "RELAY-FORW", 13: "RELAY-REPL", 14: "LEASEQUERY", 15: "LEASEQUERY-REPLY"}

// v6Fits wants a known type and options that fill the datagram.
func v6Fits(m *parsers.Meta, b []byte) bool {
	if m.ServerPort != portServer && m.ClientPort != portServer && m.ServerPort != portClient && m.ClientPort != portClient {
		return false
	}
	if len(b) < 8 || b[0] == 0 || int(b[0]) >= len(v6Types) {
		return false
	}
	at := 4
	if b[0] == v6Relay || b[0] == v6Relay+1 {
		at = 34 // hops, and two addresses
	}
	for at < len(b) {
		if at+4 > len(b) || binary.BigEndian.Uint16(b[at:]) == 0 {
			return false
		}
		at += 4 + int(binary.BigEndian.Uint16(b[at+2:]))
	}
	return at == len(b)
}
