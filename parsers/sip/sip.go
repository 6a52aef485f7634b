// Package sip recognises SIP (RFC 3261) over UDP and TCP and RTSP (RFC 2326, 7826) by their request
// and status lines. It reports method and status, and announces the media that both sides agree on.
package sip

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxLine bounds a first line.
const maxLine = 1024

type parser struct {
	id      app.ID
	version string
}

var (
	_ parsers.Teller   = parser{}
	_ parsers.Follower = parser{}
)

// New is the parser of SIP.
func New() parsers.Parser { return parser{app.SIP, "SIP/2.0"} }

// NewRTSP is the parser of RTSP over TCP.
func NewRTSP() parsers.Parser { return parser{app.RTSP, "RTSP/"} }

func (p parser) Name() string { return p.id.Name() }

func (p parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	b = b[:min(len(b), maxLine)]
	end := bytes.IndexByte(b, '\n')
	line := b
	if end >= 0 {
		line = b[:end]
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	for _, c := range line {
		if c < 0x20 || c == 0x7f {
			return parsers.No
		}
	}
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

// Tell reports method or status.
func (p parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	first, rest, _ := bytes.Cut(line, []byte(" "))
	if bytes.HasPrefix(line, []byte(p.version)) {
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
	verb, _, ended := bytes.Cut(line, []byte(" "))
	for _, m := range methods {
		if m.on&p.side() != 0 && (ended && string(verb) == m.name || !ended && len(verb) <= len(m.name) && string(verb) == m.name[:len(verb)]) {
			return true
		}
	}
	return false
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
	if !found || at < 1 || !p.isVersion(rest[at+1:]) {
		return false
	}
	for _, m := range methods {
		if m.on&p.side() != 0 && string(verb) == m.name {
			return true
		}
	}
	return false
}

func (p parser) isVersion(b []byte) bool {
	if p.id == app.SIP {
		return string(b) == p.version
	}
	return string(b) == "RTSP/1.0" || string(b) == "RTSP/2.0"
}

const (
	onSIP = 1 << iota
	onRTSP
)

func (p parser) side() uint8 {
	if p.id == app.SIP {
		return onSIP
	}
	return onRTSP
}

var methods = [...]struct {
	name string
	on   uint8
}{{"INVITE", onSIP}, {"ACK", onSIP}, {"BYE", onSIP}, {"CANCEL", onSIP}, {"REGISTER", onSIP}, {"OPTIONS", onSIP | onRTSP}, {"PRACK", onSIP},
	{"SUBSCRIBE", onSIP}, {"NOTIFY", onSIP}, {"PUBLISH", onSIP}, {"INFO", onSIP}, {"REFER", onSIP}, {"MESSAGE", onSIP}, {"UPDATE", onSIP},
	{"DESCRIBE", onRTSP}, {"ANNOUNCE", onRTSP}, {"SETUP", onRTSP}, {"PLAY", onRTSP}, {"PAUSE", onRTSP}, {"TEARDOWN", onRTSP},
	{"GET_PARAMETER", onRTSP}, {"SET_PARAMETER", onRTSP}, {"REDIRECT", onRTSP}, {"RECORD", onRTSP}, {"PLAY_NOTIFY", onRTSP}}
