// Package sip recognises SIP (RFC 3261) over UDP and TCP and RTSP (RFC 2326, 7826) by their request
// and status lines. It reports method and status, and announces the media that both sides agree on.
package sip

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Bounds: of a first line, of octets of empty lines before it, and of a method.
const (
	maxLine   = 8 << 10
	maxBlank  = 8
	maxMethod = 24
)

type parser struct {
	id      app.ID
	version string
}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Follower   = parser{}
	_ parsers.Continuing = parser{}
)

// New is the parser of SIP.
func New() parsers.Parser { return parser{app.SIP, "SIP/2.0"} }

// NewRTSP is the parser of RTSP over TCP.
func NewRTSP() parsers.Parser { return parser{app.RTSP, "RTSP/"} }

func (p parser) Name() string { return p.id.Name() }

func (p parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	b = skipBlank(b)
	b = b[:min(len(b), maxLine)]
	end := bytes.IndexByte(b, '\n')
	line := b
	if end >= 0 {
		line = b[:end]
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	if end < 0 {
		if m.Datagram() || len(b) >= maxLine || !p.begins(line) {
			return parsers.No
		}
		return parsers.More
	}
	if p.status(line) || p.request(line) {
		return parsers.Likely
	}
	return parsers.No
}

// Continues implements parsers.Continuing: empty lines and a few bytes keep the way through address translation open.
func (parser) Continues(_ *parsers.Meta, b []byte) bool {
	return len(b) <= 4 || len(bytes.Trim(b, "\r\n")) == 0
}

// skipBlank passes over empty lines before a message (RFC 3261 7.5), which keep connections alive.
func skipBlank(b []byte) []byte {
	for n := 0; n < maxBlank && len(b) > 0 && (b[0] == '\r' || b[0] == '\n'); n++ {
		b = b[1:]
	}
	return b
}

// Tell reports method or status.
func (p parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	line, _, _ := bytes.Cut(skipBlank(b), []byte("\n"))
	first, rest, _ := bytes.Cut(line, []byte(" "))
	if bytes.HasPrefix(line, []byte(p.version)) && len(rest) > 2 {
		sink.Attr(parsers.Status, rest[:3])
		return
	}
	sink.Attr(parsers.Method, first)
}

// begins reports whether a line that is not here to its end may become one.
func (p parser) begins(line []byte) bool {
	n := min(len(line), len(p.version))
	if string(line[:n]) == p.version[:n] {
		return true
	}
	verb, target, ended := bytes.Cut(line, []byte(" "))
	if !isMethod(verb) || ended && len(verb) == 0 {
		return false
	}
	return !ended || p.isTarget(target, true)
}

// isTarget reports whether b, which may be cut, is a target of any method: extensions bring their own.
func (p parser) isTarget(b []byte, cut bool) bool {
	for _, scheme := range p.schemes() {
		n := len(scheme)
		if cut {
			n = min(n, len(b))
		}
		if len(b) >= n && bytes.EqualFold(b[:n], []byte(scheme[:n])) {
			return true
		}
	}
	return false
}

// schemes are what a target begins with.
func (p parser) schemes() []string {
	if p.id == app.SIP {
		return sipSchemes[:]
	}
	return rtspSchemes[:]
}

var (
	sipSchemes  = [...]string{"sip:", "sips:", "tel:", "urn:"}
	rtspSchemes = [...]string{"rtsp:", "rtsps:", "rtspu:", "*", "/"}
)

// isMethod reports whether a word may be a method: capitals and an underscore or hyphen.
func isMethod(verb []byte) bool {
	for _, c := range verb {
		if (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return len(verb) <= maxMethod
}

// status judges "SIP/2.0 200 OK" or "RTSP/1.0 200 OK".
func (p parser) status(line []byte) bool {
	version, rest, _ := bytes.Cut(line, []byte(" "))
	if !p.isVersion(version) || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
		return false
	}
	return rest[0] >= '1' && rest[0] <= '6' && rest[1] >= '0' && rest[1] <= '9' && rest[2] >= '0' && rest[2] <= '9'
}

// request judges "METHOD uri version".
func (p parser) request(line []byte) bool {
	verb, rest, found := bytes.Cut(line, []byte(" "))
	at := bytes.LastIndexByte(rest, ' ')
	return found && at > 0 && len(verb) > 0 && isMethod(verb) && p.isTarget(rest[:at], false) && p.isVersion(rest[at+1:])
}

func (p parser) isVersion(b []byte) bool {
	if p.id == app.SIP {
		return string(b) == p.version
	}
	return string(b) == "RTSP/1.0" || string(b) == "RTSP/2.0"
}
