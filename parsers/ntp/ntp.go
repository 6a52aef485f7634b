// Package ntp recognises NTP versions 1 to 4 (RFC 5905) with its control and private modes. It
// reports version and mode. Away from port 123 only whole client and server packets
// whose fields make sense together are claimed.
package ntp

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	port      = 123
	packetLen = 48
	maxPacket = 1024
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.NTP.Name() }

// Standalone implements parsers.Standalone: each datagram is a packet with its header.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() || len(b) < 8 || len(b) > maxPacket || len(b)%4 != 0 {
		return parsers.No
	}
	version, mode := b[0]>>3&7, b[0]&7
	known := m.ServerPort == port || m.ClientPort == port
	if version < 1 || version > 4 {
		return parsers.No
	}
	switch mode {
	case 1, 2, 3, 4, 5:
		return likelyIf(len(b) >= packetLen && fieldsFit(b, mode, known) && tailFits(b[packetLen:]))
	case 6: // RFC 9327: offset and count of the data
		return likelyIf(known && len(b) >= 12 && b[0]>>6 == 0 && len(b) >= 12+int(binary.BigEndian.Uint16(b[10:])))
	case 7: // no RFC: response and more bits, authentication and sequence, implementation, request
		return likelyIf(known && b[0]>>3&7 == 2 && b[2] <= 3)
	}
	return parsers.No
}

// Tell reports version and mode.
func (parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	sink.Attr(parsers.Version, []byte{'0' + b[0]>>3&7})
	sink.Attr(parsers.Command, []byte(modes[b[0]&7]))
}

var modes = [...]string{"", "symmetric active", "symmetric passive", "client", "server", "broadcast", "control", "private"}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

// fieldsFit checks stratum, poll, precision and the time stamps.
func fieldsFit(b []byte, mode byte, known bool) bool {
	stratum, poll, precision := b[1], int8(b[2]), int8(b[3])
	if stratum > 16 || poll < -6 || poll > 17 || precision > 10 && precision != 0x20 {
		return false
	}
	if known {
		return true
	}
	stamps := [4]uint32{}
	for i := range stamps { // reference, origin, receive, transmit
		stamps[i] = binary.BigEndian.Uint32(b[16+8*i:])
	}
	switch mode {
	case 3:
		// A simple client sends nothing but its own time; RFC 9109 and data minimisation make even that random.
		for _, c := range b[4:40] {
			if c != 0 {
				return stamps[0] > 1<<31 && stamps[3] > 1<<31 && near(stamps[0], stamps[3])
			}
		}
		return stamps[3] > 1<<31
	case 4:
		return stratum > 0 && stamps[2] > 1<<31 && near(stamps[2], stamps[3])
	}
	return false
}

// near reports whether two times are within a day of each other.
func near(a, b uint32) bool { return a-b+86400 < 2*86400 }

// tailFits checks extension fields and a message authentication code.
func tailFits(b []byte) bool {
	for len(b) > 24 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n < 16 || n%4 != 0 || n > len(b) {
			return false
		}
		b = b[n:]
	}
	switch len(b) {
	case 0, 4, 8, 12, 16, 20, 24:
		return true
	}
	return false
}
