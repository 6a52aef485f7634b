// Package http recognises HTTP/1.0 and 1.1 by content and reports the first request and
// response: method, host, path, status, client and server software, and the
// applications that ride on it (websocket, elasticsearch, consul, etcd ...) as far as the request gives
// them away. It reads no bodies, does not follow further requests of a kept-alive
// connection, and is not for HTTP/2 and 3. A request without a version
// (HTTP/0.9) is believed only when its answer has one.
package http

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Limits.
const (
	maxMethod = 24      // bytes of a method
	maxName   = 64      // bytes of the name of a header field behind a method in lower case
	maxBlock  = 8 << 10 // bytes of a start line and its header fields that are read
	maxSure   = 2 << 10 // bytes of a target behind a known method that need no version
	maxBlank  = 4       // bytes of empty lines before a start line; RFC 9112 2.2 asks for patience
	maxSpaces = 64      // spaces between a method and its target
	maxBare   = 1 << 10 // bytes of a request without a version that are waited with
)

// New is the parser of HTTP/1.
func New() parsers.Parser { return parser{} }

type parser struct{}

var (
	_ parsers.Parser  = parser{}
	_ parsers.Layered = parser{}
	_ parsers.Sided   = parser{}
)

// Name implements parsers.Parser.
func (parser) Name() string { return app.HTTP.Name() }

// Layered implements parsers.Layered.
func (parser) Layered() {}

// Open implements parsers.Parser.
func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	s := &stream{sink: sink, midstream: m.Midstream}
	s.side = [2]half{{left: maxBlock, length: -1}, {left: maxBlock, length: -1}}
	return s
}

// Probe implements parsers.Parser.
func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	if dir == parsers.ToServer {
		return probeRequest(head)
	}
	return probeResponse(head)
}

// Part implements parsers.Sided: requests and responses begin differently.
func (parser) Part(_ *parsers.Meta, head []byte) parsers.Part {
	switch {
	case probeResponse(head) == parsers.Likely:
		return parsers.ServerPart
	case probeRequest(head) == parsers.Likely:
		return parsers.ClientPart
	}
	return parsers.EitherPart
}

// methods are those that vouch for a target of any form; any other token is believed with
// a path or an http URI behind it.
var methods = [...]string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PROPFIND", "PROPPATCH",
	"MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "REPORT", "SEARCH", "PURGE", "SUBSCRIBE", "UNSUBSCRIBE", "NOTIFY", "CHECKOUT", "MERGE"}

func known(method []byte) bool {
	for _, m := range methods {
		if string(method) == m {
			return true
		}
	}
	return false
}

// token is how many bytes of b can be a method.
func token(b []byte) int {
	for i, c := range b {
		if (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' {
			return i
		}
	}
	return len(b)
}

// probeRequest searches for a method, a target and "HTTP/1.x". The version decides: RTSP
// and SIP look alike up to it, and an inline command of redis has none.
func probeRequest(b []byte) parsers.Match {
	blank := 0
	for blank < len(b) && blank < maxBlank && (b[blank] == '\r' || b[blank] == '\n' || b[blank] == ' ') {
		blank++
	}
	b = b[blank:]
	n := token(b)
	switch {
	case n > maxMethod:
		return parsers.No
	case n == len(b):
		return parsers.More
	case n < 2 || b[n] != ' ':
		return parsers.No
	}
	method, rest := b[:n], b[n+1:]
	for spaces := 0; spaces < maxSpaces && len(rest) > 0 && rest[0] == ' '; spaces++ {
		rest = rest[1:]
	}
	if m := probeTarget(method, rest); m != parsers.Likely {
		return m
	}
	limit := maxBlock
	if rest[0] == '/' && known(method) {
		limit = maxSure
	}
	window := rest[:min(len(rest), limit)]
	end := bytes.IndexByte(window, '\n')
	if end < 0 {
		switch {
		case len(rest) < limit:
			return parsers.More
		case limit == maxSure && !binary(window):
			return parsers.Likely // no other protocol has as much in one line
		}
		return parsers.No
	}
	switch line := window[:end]; {
	case versioned(line) && method[0] >= 'a':
		return probeField(window[end+1:]) // memcached's get may be followed by any keys, but by no empty line
	case versioned(line):
		return parsers.Likely
	case string(method) == "GET" && rest[0] == '/' && len(b) <= maxBare:
		return parsers.More // HTTP/0.9, or a careless client: the answer decides
	}
	return parsers.No
}

// probeField judges whether a header field begins here.
func probeField(b []byte) parsers.Match {
	for i, c := range b[:min(len(b), maxName)] {
		switch {
		case c == ':' && i > 0, c == '\n' && (i == 0 || i == 1 && b[0] == '\r'):
			return parsers.Likely
		case c == '\r' && i == 0:
		case b[0] == '\r', (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' && c != '.' && !digit(c):
			return parsers.No
		}
	}
	if len(b) < maxName {
		return parsers.More
	}
	return parsers.No
}

// probeTarget judges how a target begins.
func probeTarget(method, target []byte) parsers.Match {
	if string(method) == "PRI" || string(method) == "M-SEARCH" {
		return parsers.No // HTTP/2's preface; SSDP, which is no business of TCP
	}
	if len(target) == 0 {
		return parsers.More
	}
	switch c := target[0]; {
	case c == '/':
		return parsers.Likely
	case c == '*':
		if string(method) == "OPTIONS" {
			return parsers.Likely
		}
		return parsers.No
	case known(method):
		if c > ' ' && c != 0x7f {
			return parsers.Likely
		}
		return parsers.No
	}
	return uri(target)
}

// uri judges whether an absolute URI of http begins here.
func uri(b []byte) parsers.Match {
	m := parsers.No
	for _, scheme := range [...]string{"http://", "https://"} {
		n := min(len(b), len(scheme))
		if string(b[:n]) == scheme[:n] {
			if n == len(scheme) {
				return parsers.Likely
			}
			m = parsers.More
		}
	}
	return m
}

// binary reports whether a line holds what no start line does.
func binary(line []byte) bool {
	for i, c := range line {
		if c < ' ' && c != '\t' && (c != '\r' || i != len(line)-1) {
			return true
		}
	}
	return false
}

// versioned reports whether a line without its newline ends in HTTP/1.x (or 0.x).
func versioned(line []byte) bool {
	line = bytes.TrimRight(line, "\r \t")
	n := len(line) - len("HTTP/1.1")
	if n < 0 || n > 0 && line[n-1] != ' ' { // a target may be missing: servers answer that
		return false
	}
	v := line[n:]
	return string(v[:5]) == "HTTP/" && (v[5] == '1' || v[5] == '0') && v[6] == '.' && digit(v[7])
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// probeResponse searches for "HTTP/1.x NNN".
func probeResponse(b []byte) parsers.Match {
	const shape = "HTTP/1.d ddd"
	for i := range min(len(b), len(shape)) {
		if shape[i] == 'd' && digit(b[i]) || shape[i] != 'd' && shape[i] == b[i] {
			continue
		}
		return parsers.No
	}
	if len(b) <= len(shape) {
		return parsers.More
	}
	if c := b[len(shape)]; c != ' ' && c != '\r' && c != '\n' || b[len("HTTP/1.d ")] == '0' {
		return parsers.No
	}
	return parsers.Likely
}

// statusLine reports whether a line without its newline is a status line.
func statusLine(line []byte) bool {
	switch m := probeResponse(line); m {
	case parsers.More: // "HTTP/1.1 200" and no more is complete here
		return len(line) == len("HTTP/1.1 200") && line[len("HTTP/1.1 ")] != '0'
	default:
		return m == parsers.Likely
	}
}
