package tls

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/parsers"
)

// Threats. Their numbers are unique over all parsers and core/threat.
const (
	threatHeartbleed = 2009
	threatV2Overflow = 2010
	threatSSL        = 2011
	threatTLS10      = 2012
	threatTLS11      = 2027
)

// half is one side of a session.
type half struct {
	over   bool // what follows is protected, or not understood
	sslv2  bool // it began with an SSL 2 hello
	server bool // it sent a ServerHello
	skip   int  // bytes to pass over
	left   int  // handshake bytes left in the current record

	header  [4]byte // of the current handshake message
	headerN int
	message int    // bytes of the message that are still to come
	want    int    // bytes of the message that are read; 0: it is passed over
	buf     []byte // what came of them in earlier segments or records
}

// stream reads one session's plain records.
type stream struct {
	sink       parsers.Sink
	side       [2]half
	named      bool
	clientSeen bool
	serverSeen bool
	done       bool
	// alpn is what the client offered first, kept until it is known what was negotiated.
	alpn []byte
}

var _ parsers.Stream = (*stream)(nil)

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	h := &s.side[dir]
	used := 0
	for used < len(data) && !h.over && !s.done {
		n := s.step(h, data[used:])
		if n == 0 {
			return parsers.Result{Used: used, State: s.state()}
		}
		used += n
	}
	if h.over {
		s.named = true
		s.offered()
		h.buf = nil
		used = len(data)
	}
	return parsers.Result{Used: used, State: s.state()}
}

func (s *stream) state() parsers.State {
	switch {
	case s.done, s.side[0].over && s.side[1].over:
		return parsers.Done
	case s.named:
		return parsers.Named
	}
	return parsers.Undecided
}

// Gap implements parsers.Stream: records cannot be found again behind a gap.
func (s *stream) Gap(dir parsers.Dir, n int) bool {
	h := &s.side[dir]
	switch {
	case h.over:
	case n > 0 && n <= h.skip:
		h.skip -= n
	default:
		h.over, h.buf = true, nil
	}
	return s.named
}

// Close implements parsers.Stream.
func (s *stream) Close() { s.side[0].buf, s.side[1].buf = nil, nil }

// step reads a record header, or a part of a handshake record. 0: it needs more bytes.
func (s *stream) step(h *half, data []byte) int {
	switch {
	case h.skip > 0:
		n := min(h.skip, len(data))
		h.skip -= n
		return n
	case h.left > 0:
		n := min(h.left, len(data))
		h.left -= n
		s.handshake(h, data[:n])
		return n
	case data[0]&0x80 != 0:
		return s.v2(h, data)
	case len(data) < recordHeader:
		return 0
	}
	size := int(binary.BigEndian.Uint16(data[3:]))
	if data[1] != 3 || data[2] > 4 || size == 0 || size > maxRecord {
		h.over = true
		return len(data)
	}
	switch data[0] {
	case handshake:
		h.left = size
	case alert:
		return s.alert(h, data, size)
	case heartbeat:
		return s.heartbeat(h, data, size)
	default: // what follows is protected
		h.over = true
	}
	return recordHeader
}

// alert reads a plain alert; a fatal one ends the session.
func (s *stream) alert(h *half, data []byte, size int) int {
	if size != 2 {
		h.over = true // protected
		return recordHeader
	}
	if len(data) < recordHeader+2 {
		return 0
	}
	s.named = true
	if data[5] == 2 {
		s.sink.Attr(parsers.Error, []byte(alertName(data[6])))
		s.done = true
	}
	return recordHeader + 2
}

// heartbeat judges a plain heartbeat request (RFC 6520 4: its payload lies within its record).
func (s *stream) heartbeat(h *half, data []byte, size int) int {
	if size < 3 {
		h.skip = size
		return recordHeader
	}
	if len(data) < recordHeader+3 {
		return 0
	}
	if data[5] == 1 && 3+int(binary.BigEndian.Uint16(data[6:])) > size {
		s.sink.Threat(threatHeartbleed, "heartbeat request longer than its record")
	}
	h.skip = size - 3
	return recordHeader + 3
}

// handshake reads handshake bytes, which know nothing of record borders.
func (s *stream) handshake(h *half, b []byte) {
	for len(b) > 0 && !h.over {
		if h.headerN < len(h.header) {
			n := copy(h.header[h.headerN:], b)
			h.headerN += n
			b = b[n:]
			if h.headerN < len(h.header) {
				return
			}
			h.message = int(h.header[1])<<16 | int(h.header[2])<<8 | int(h.header[3])
			h.want = s.wanted(h)
		}
		n := min(h.message, len(b))
		s.body(h, b[:n])
		h.message -= n
		b = b[n:]
		if h.message == 0 {
			h.headerN = 0
		}
	}
}

// wanted is how many bytes of the message are worth reading.
func (s *stream) wanted(h *half) int {
	switch h.header[0] {
	case clientHello:
		if h.message > maxHello {
			s.named, h.over = true, true
		}
		return h.message
	case serverHello:
		return min(h.message, maxHello)
	case certificate:
		if h.server {
			return min(h.message, maxLeaf)
		}
	}
	return 0
}

// body takes a part of the current message; what is wanted is parsed as soon as it is whole.
func (s *stream) body(h *half, b []byte) {
	if h.want == 0 {
		return
	}
	n := min(h.want, len(b))
	h.want -= n
	whole := b[:n]
	if h.want > 0 || len(h.buf) > 0 {
		h.buf = append(h.buf, whole...)
		whole = h.buf
	}
	if h.want > 0 {
		return
	}
	switch h.header[0] {
	case clientHello:
		s.client(whole)
	case serverHello:
		s.server(h, whole)
	case certificate:
		s.certificate(whole)
	}
	h.buf = nil
}

// negotiated reports the version that the server chose.
func (s *stream) negotiated(version uint16) {
	switch version {
	case 2:
		s.version("SSLv2")
		s.sink.Threat(threatSSL, "sslv2 negotiated")
	case 0x300:
		s.version("SSLv3")
		s.sink.Threat(threatSSL, "sslv3 negotiated")
	case 0x301:
		s.version("TLSv1.0")
		s.sink.Threat(threatTLS10, "tls 1.0 negotiated")
	case 0x302:
		s.version("TLSv1.1")
		s.sink.Threat(threatTLS11, "tls 1.1 negotiated")
	case 0x303:
		s.version("TLSv1.2")
	default: // RFC 8446 and its drafts, 0x7fnn
		s.version("TLSv1.3")
	}
}

func (s *stream) version(name string) { s.sink.Attr(parsers.Version, []byte(name)) }
