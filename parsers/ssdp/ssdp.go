// Package ssdp recognises SSDP of UPnP (UDA 2.0, 1.2): HTTP's form in datagrams. It reports the
// method and the server's software.
package ssdp

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.SSDP.Name() }

// Standalone implements parsers.Standalone: each datagram has the first line of a message.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

// answers are what a response begins with, before its phrase.
var answers = [...]string{"HTTP/1.1 200 ", "HTTP/1.0 200 "}

// Probe wants a request line of SSDP, or an answer with its fields.
func (parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() {
		return parsers.No
	}
	for _, p := range [...]string{"M-SEARCH * HTTP/1.", "NOTIFY * HTTP/1."} {
		if len(b) > len(p) && string(b[:len(p)]) == p {
			return parsers.Likely
		}
	}
	for _, p := range answers {
		if bytes.HasPrefix(b, []byte(p)) && len(field(b, "ST:")) > 0 && len(field(b, "USN:")) > 0 {
			return parsers.Likely
		}
	}
	return parsers.No
}

// Tell reports method or software.
func (parser) Tell(_ *parsers.Meta, _ parsers.Dir, b []byte, sink parsers.Sink) {
	if method, _, found := bytes.Cut(b, []byte(" ")); found && b[0] != 'H' {
		sink.Attr(parsers.Method, method)
	}
	if v := field(b, "SERVER:"); len(v) > 0 {
		sink.Attr(parsers.Software, v)
	}
}

// field finds a header field by its name with the colon, in any case.
func field(b []byte, name string) []byte {
	for len(b) > 0 {
		line, rest, _ := bytes.Cut(b, []byte("\n"))
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			return bytes.TrimSpace(line[len(name):])
		}
		b = rest
	}
	return nil
}
