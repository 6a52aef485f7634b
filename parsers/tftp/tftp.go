// Package tftp recognises TFTP requests (RFC 1350, 2347). It reports file and operation. The data
// continues from another port of the server, which only what saw the request can tie to it.
package tftp

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const port = 69

type parser struct{}

var _ parsers.Teller = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.TFTP.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() || len(b) < 4 || b[0] != 0 {
		return parsers.No
	}
	if dir == parsers.ToClient { // an answer from the same port: data, acknowledgement, error, options
		if m.ServerPort == port && b[1] >= 3 && b[1] <= 6 {
			return parsers.Likely
		}
		return parsers.No
	}
	if b[1] != 1 && b[1] != 2 || !requestFits(m, b[2:]) {
		return parsers.No
	}
	return parsers.Likely
}

// Tell reports the file and whether it is read or written.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	if dir == parsers.ToClient {
		return
	}
	file, _, _ := bytes.Cut(b[2:], []byte{0})
	sink.Attr(parsers.Path, file)
	if b[1] == 1 {
		sink.Attr(parsers.Command, []byte("read"))
	} else {
		sink.Attr(parsers.Command, []byte("write"))
	}
}

// requestFits wants a file, a mode, which away from the known port must be one that exists, and pairs of options to
// the end. Names and values are the users'.
func requestFits(m *parsers.Meta, b []byte) bool {
	if len(b) > 512 || len(b) == 0 || b[len(b)-1] != 0 {
		return false
	}
	file, rest, _ := bytes.Cut(b, []byte{0})
	mode, rest, found := bytes.Cut(rest, []byte{0})
	if len(file) == 0 || !found || len(mode) == 0 {
		return false
	}
	if m.ServerPort != port && !bytes.EqualFold(mode, []byte("octet")) && !bytes.EqualFold(mode, []byte("netascii")) && !bytes.EqualFold(mode, []byte("mail")) {
		return false
	}
	return bytes.Count(rest, []byte{0})%2 == 0
}
