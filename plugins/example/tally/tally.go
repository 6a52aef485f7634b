// Package tally recognises tally, a small line protocol of counters over TCP. It is an example of a
// third-party parser.
//
//	client: TALLY 1
//	server: OK tally/1.2
//	client: ADD apples 3
//	server: VALUE 3
package tally

import (
	"bytes"

	"github.com/sluicenet/sluice/parsers"
)

// The first bytes of each side.
var hello = [2]string{parsers.ToServer: "TALLY ", parsers.ToClient: "OK tally/"}

// maxLine is the maximum length of the first line.
const maxLine = 64

type parser struct{}

var _ parsers.Teller = parser{}

// New returns the parser.
func New() parsers.Teller { return parser{} }

// Name implements parsers.Parser.
func (parser) Name() string { return "tally" }

// Probe implements parsers.Parser: the whole first line of a side.
func (parser) Probe(_ *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	want := hello[dir]
	n := min(len(head), len(want))
	if string(head[:n]) != want[:n] {
		return parsers.No
	}
	switch end := bytes.IndexByte(head[:min(len(head), maxLine)], '\n'); {
	case end >= 0:
		return parsers.Likely
	case len(head) < maxLine:
		return parsers.More
	}
	return parsers.No
}

// Open implements parsers.Parser.
func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

// Tell implements parsers.Teller.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, head []byte, sink parsers.Sink) {
	line, _, _ := bytes.Cut(head, []byte("\n"))
	if dir == parsers.ToServer {
		sink.Attr(parsers.Version, bytes.TrimSpace(line[len(hello[dir]):]))
		return
	}
	sink.Attr(parsers.Software, bytes.TrimSpace(line[len("OK "):]))
}
