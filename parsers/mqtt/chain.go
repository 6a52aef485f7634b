package mqtt

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/sluicenet/sluice/parsers"
)

// enough is how many whole packets in midstream are believed.
const enough = 3

// chain judges a row of packets in midstream: three that fit, or two that publish, whose topics are stronger
// evidence.
func chain(dir parsers.Dir, b []byte) parsers.Match {
	good := 0
	for len(b) > 0 {
		size, at := remaining(b[1:])
		if at < 0 || !shape(dir, b[0], size, at > 0) {
			return parsers.No
		}
		if at == 0 {
			return parsers.More
		}
		body := b[1+at:]
		match := fits(b[0], body[:min(len(body), size)], size)
		if match == parsers.No {
			return parsers.No
		}
		if match == parsers.More || len(body) < size {
			return parsers.More
		}
		if good++; b[0]>>4 == publish && plain(topic(body[:size])) {
			good++
		}
		if good >= enough {
			return parsers.Likely
		}
		b = body[size:]
	}
	return parsers.More
}

// Packet types (5.0, 2.1.2) in the middle of a connection.
const (
	publish  = 3
	puback   = 4
	pubrec   = 5
	pubrel   = 6
	pubcomp  = 7
	subscr   = 8
	suback   = 9
	unsubscr = 10
	unsuback = 11
	pingreq  = 12
	pingresp = 13
	farewell = 14
	auth     = 15
)

// maxReason bounds what version 5 adds to an acknowledgement: properties, with a text.
const maxReason = 1024

// shape judges a packet's first octet, by its side, and its length once it is known.
func shape(dir parsers.Dir, first byte, size int, sized bool) bool {
	flags := first & 0xf
	switch first >> 4 {
	case publish:
		return flags&6 != 6 && (!sized || size >= 3 && size <= 1<<24)
	case puback, pubrec, pubcomp:
		return flags == 0 && (!sized || size >= 2 && size <= maxReason)
	case pubrel:
		return flags == 2 && (!sized || size >= 2 && size <= maxReason)
	case subscr, unsubscr:
		return dir == parsers.ToServer && flags == 2 && (!sized || size >= 5 && size <= maxConnect)
	case suback, unsuback:
		return dir == parsers.ToClient && flags == 0 && (!sized || size >= 2 && size <= 1024)
	case pingreq:
		return dir == parsers.ToServer && flags == 0 && (!sized || size == 0)
	case pingresp:
		return dir == parsers.ToClient && flags == 0 && (!sized || size == 0)
	case farewell, auth:
		return flags == 0 && (!sized || size <= maxReason)
	}
	return false
}

// fits judges what there is of a packet of size octets: a packet number, which is not zero, or a topic.
func fits(first byte, b []byte, size int) parsers.Match {
	kind := first >> 4
	switch {
	case kind >= pingreq:
		return parsers.Likely
	case len(b) < 2:
		return parsers.More
	case kind != publish:
		return likelyIf(binary.BigEndian.Uint16(b) != 0)
	}
	n := int(binary.BigEndian.Uint16(b))
	least := 2 + n
	if first&6 != 0 {
		least += 2
	}
	if n == 0 || least > size {
		return parsers.No
	}
	name := b[2:min(len(b), 2+n)]
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRune(name[i:])
		switch {
		case r == 0, r == '+', r == '#': // 5.0, 4.7: what no topic has
			return parsers.No
		case r == utf8.RuneError && size == 1: // 1.5.4: a malformed packet
			if !utf8.FullRune(name[i:]) && len(name) < n {
				return parsers.More
			}
			return parsers.No
		}
		i += size
	}
	if len(name) < n {
		return parsers.More
	}
	return parsers.Likely
}

// topic returns the topic of a whole PUBLISH.
func topic(body []byte) []byte { return body[2 : 2+int(binary.BigEndian.Uint16(body))] }

// plain reports whether a topic has no control characters, which clients may send but seldom do.
func plain(topic []byte) bool {
	for _, c := range topic {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return true
}
