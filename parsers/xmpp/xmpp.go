// Package xmpp recognises XMPP (RFC 6120), between clients and servers, between servers, and of components, by the header
// that begins each side's stream. It reports the server's name and follows STARTTLS, and reads no stanzas. It is not
// for XMPP over WebSocket or HTTP.
package xmpp

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// maxHead bounds an XML declaration and a stream's header.
const maxHead = 2048

type parser struct{}

var _ parsers.Parser = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

// Name implements parsers.Parser.
func (parser) Name() string { return app.XMPP.Name() }

// Open implements parsers.Parser.
func (parser) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream { return &stream{sink: sink} }

// Probe wants the header of a stream, behind an XML declaration or not.
func (parser) Probe(m *parsers.Meta, _ parsers.Dir, b []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	_, match := header(b)
	return match
}

const (
	declaration = "<?xml "
	begin       = "<stream:stream"
)

// namespaces are those of which a header has at least one (RFC 6120 4.8, XEP-0114).
var namespaces = [...]string{"etherx.jabber.org/streams", "jabber:client", "jabber:server", "jabber:component:"}

// header finds the header of a stream and returns what is behind it.
func header(b []byte) (rest []byte, match parsers.Match) {
	limit := len(b) < maxHead
	b = space(b[:min(len(b), maxHead)])
	if starts(b, declaration) {
		end := bytes.Index(b, []byte("?>"))
		if end < 0 {
			return nil, moreIf(limit)
		}
		b = space(b[end+2:])
	}
	if !starts(b, begin) {
		return nil, parsers.No
	}
	end := tagEnd(b)
	if end < 0 || len(b) < len(begin) {
		return nil, moreIf(limit)
	}
	for _, n := range namespaces {
		if bytes.Contains(b[:end], []byte(n)) {
			return b[end:], parsers.Likely
		}
	}
	return nil, parsers.No
}

// space passes over white space.
func space(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }

// starts reports whether b begins with want, or is a part of it.
func starts(b []byte, want string) bool {
	n := min(len(b), len(want))
	return string(b[:n]) == want[:n]
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// tagEnd returns where a tag ends, behind its '>', which may also be in a quoted value; -1 for more.
func tagEnd(b []byte) int {
	quote := byte(0)
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 1
		}
	}
	return -1
}

// value returns an attribute of a tag.
func value(tag []byte, name string) []byte {
	at := bytes.Index(tag, []byte(" "+name+"="))
	if at < 0 {
		return nil
	}
	v := tag[at+len(name)+2:]
	if len(v) == 0 {
		return nil
	}
	end := bytes.IndexByte(v[1:], v[0])
	if end < 0 {
		return nil
	}
	return v[1 : 1+end]
}
