// Package syslog recognises syslog of RFC 3164 and RFC 5424, over UDP, and over TCP with counted
// octets or ended by lines (RFC 6587). It reports the format, no messages.
package syslog

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	port      = 514
	maxNumber = 191     // facility 23, severity 7
	maxLine   = 8 << 10 // of a message without a header
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.Syslog.Name() }

// Standalone implements parsers.Standalone: each datagram is a message with its priority.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		match, _ := message(b)
		if match == parsers.More || match == parsers.No && (!onPort(m) || !loose(b)) {
			return parsers.No
		}
		return parsers.Likely
	}
	if dir == parsers.ToClient {
		return parsers.No // servers send nothing
	}
	match, _ := message(frame(b))
	if match == parsers.No {
		return row(b)
	}
	return match
}

// onPort reports whether the server has syslog's port; in mid-stream either end may be the server.
func onPort(m *parsers.Meta) bool {
	return m.ServerPort == port || m.Midstream && m.ClientPort == port
}

// row judges messages whose header has another form, or none (RFC 3164 4.3.3): two must follow each other.
func row(b []byte) parsers.Match {
	rest, match := priority(frame(b))
	if match != parsers.Likely {
		return match
	}
	next := counted(b)
	if next == 0 {
		end := bytes.IndexByte(rest[:min(len(rest), maxLine)], '\n')
		if end < 0 {
			return moreIf(len(rest) < maxLine)
		}
		next = len(b) - len(rest) + end + 1
	}
	if next > maxLine {
		return parsers.No
	}
	if len(b) <= next {
		return parsers.More
	}
	_, match = priority(frame(b[next:]))
	return match
}

// counted returns where a message ends that has its count of octets in front; 0 if it has none.
func counted(b []byte) int {
	n := 0
	for i, c := range b[:min(len(b), 8)] {
		if c == ' ' && i > 0 {
			return n + i + 1
		}
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return 0
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// Tell reports which of the two formats it is.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if dir != parsers.ToServer {
		return
	}
	if match, version := message(frame(b)); match == parsers.Likely {
		sink.Attr(parsers.Version, []byte(version))
	}
}

// frame passes over a count of octets and a blank.
func frame(b []byte) []byte {
	for i, c := range b[:min(len(b), 8)] {
		switch {
		case c == ' ' && i > 0:
			return b[i+1:]
		case c < '0' || c > '9' || i == 0 && c == '0':
			return b
		case i == len(b)-1:
			return nil
		}
	}
	return b
}

// message judges "<number>" and the beginning of a header.
func message(b []byte) (parsers.Match, string) {
	rest, match := priority(b)
	if match != parsers.Likely {
		return match, ""
	}
	if len(rest) == 0 {
		return parsers.More, ""
	}
	// RFC 3164 4.1.2 "Mmm dd hh:mm:ss"; RFC 5424 6 "1 yyyy-mm-ddThh:mm:ss" or "1 - ".
	for _, f := range [...]struct{ shape, version string }{
		{"Aaa #0 00:00:00 ", "3164"}, {"1 0000-00-00T00:00:00", "5424"}, {"1 - ", "5424"},
		{"0000-00-00T00:00:00", "3164"}, {"Aaa #0 0000 00:00:00", "3164"}, {"Aaa #0 00:00:00:", "3164"}, {"Aaa #0 00:00:00.", "3164"},
	} {
		n := min(len(rest), len(f.shape))
		if !shaped(rest[:n], f.shape[:n]) {
			continue
		}
		if n < len(f.shape) {
			return parsers.More, ""
		}
		if f.version != "3164" || f.shape[0] == '0' || month(rest[:3]) {
			return parsers.Likely, f.version
		}
	}
	return parsers.No, ""
}

// priority reads the number in its brackets, without leading zeros.
func priority(b []byte) (rest []byte, match parsers.Match) {
	n := 0
	for i, c := range b[:min(len(b), 5)] {
		switch {
		case i == 0 && c == '<':
		case i > 0 && c >= '0' && c <= '9' && (i == 1 || n > 0):
			if n = n*10 + int(c-'0'); n > maxNumber {
				return nil, parsers.No
			}
		case i > 1 && c == '>':
			return b[i+1:], parsers.Likely
		default:
			return nil, parsers.No
		}
	}
	if len(b) >= 5 {
		return nil, parsers.No
	}
	return nil, parsers.More
}

// shaped compares text with a shape: A and a letters, 0 a digit, # a digit or a blank.
func shaped(b []byte, shape string) bool {
	for i, c := range b {
		fits := c == shape[i]
		switch shape[i] {
		case 'A':
			fits = c >= 'A' && c <= 'Z'
		case 'a':
			fits = c >= 'a' && c <= 'z'
		case '0':
			fits = c >= '0' && c <= '9'
		case '#':
			fits = c == ' ' || c >= '0' && c <= '9'
		}
		if !fits {
			return false
		}
	}
	return true
}

func month(b []byte) bool {
	at := bytes.Index([]byte("JanFebMarAprMayJunJulAugSepOctNovDec"), b)
	return at >= 0 && at%3 == 0
}

// loose accepts anything after a priority, at the port of syslog.
func loose(b []byte) bool {
	rest, match := priority(b)
	return match == parsers.Likely && len(rest) > 0
}
