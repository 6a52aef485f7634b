package tls

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/parsers"
)

// SSL 2 message types.
const (
	v2ClientHello     = 1
	v2ClientMasterKey = 2
	v2ServerHello     = 4
)

// v2Header is how many bytes of an SSL 2 message are looked at, its two-byte record header included.
const v2Header = 13

// v2KeyArg is the longest key argument of SSL 2, an initialisation vector.
const v2KeyArg = 8

// probeV2 searches for an SSL 2 hello: its length field must be the sum of its parts. Clients
// of the TLS 1.0 days used this form to offer newer versions.
func probeV2(b []byte, kind byte) parsers.Match {
	switch {
	case b[0]&0x80 == 0, len(b) > 2 && b[2] != kind:
		return parsers.No
	case kind == v2ServerHello && (len(b) > 3 && b[3] > 1 || len(b) > 4 && b[4] > 1):
		return parsers.No
	}
	at := 3 // the version
	if kind == v2ServerHello {
		at = 5
	}
	if len(b) >= at+2 && !v2Version(binary.BigEndian.Uint16(b[at:]), kind) {
		return parsers.No
	}
	if len(b) < at+8 {
		return parsers.More
	}
	first := int(binary.BigEndian.Uint16(b[at+2:])) // cipher specs of a client, the server's certificate
	second := int(binary.BigEndian.Uint16(b[at+4:]))
	third := int(binary.BigEndian.Uint16(b[at+6:]))
	specs := first
	if kind == v2ServerHello {
		specs = second
	}
	total := int(binary.BigEndian.Uint16(b)&0x7fff) + 2
	switch {
	case total != at+8+first+second+third, specs%3 != 0, third > 32:
		return parsers.No
	case kind == v2ClientHello && (specs == 0 || second > 32 || third < 16):
		return parsers.No
	}
	return parsers.Likely
}

func v2Version(v uint16, kind byte) bool {
	return v == 2 || kind == v2ClientHello && v >= 0x300 && v <= 0x303
}

// v2 reads one SSL 2 message at the beginning of data. It returns how many bytes it used, 0: too few.
func (s *stream) v2(h *half, data []byte) int {
	if len(data) < v2Header {
		return 0
	}
	size := int(binary.BigEndian.Uint16(data)&0x7fff) + 2
	switch {
	case data[2] == v2ClientHello && probeV2(data, v2ClientHello) == parsers.Likely:
		s.named, s.clientSeen = true, true
		h.sslv2 = true
	case data[2] == v2ServerHello && probeV2(data, v2ServerHello) == parsers.Likely:
		s.named, s.serverSeen = true, true
		s.negotiated(2)
		h.over = true
	case data[2] == v2ClientMasterKey && h.sslv2:
		if binary.BigEndian.Uint16(data[10:]) > v2KeyArg {
			s.sink.Threat(threatV2Overflow, "sslv2 key argument too long")
		}
		h.over = true
	default:
		h.over = true
		return len(data)
	}
	used := min(size, len(data))
	h.skip = size - used
	return used
}
