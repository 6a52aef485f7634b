// Package tftp recognises TFTP requests (RFC 1350, 2347). It reports file and operation, and announces
// the transfer, which the server begins from another port (RFC 1350 4). It does not read transfers.
package tftp

import (
	"bytes"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const port = 69

type parser struct{}

var (
	_ parsers.Follower   = parser{}
	_ parsers.Continuing = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.TFTP.Name() }

// Follows implements parsers.Follower: clients use one socket for several requests.
func (parser) Follows() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{p: p, meta: *m, sink: sink}
}

// stream is the requests from one port of a client.
type stream struct {
	p     parser
	meta  parsers.Meta
	sink  parsers.Sink
	right bool  // there was a request
	odd   uint8 // datagrams that were not the protocol's
}

// maxOdd is how many datagrams of a session may be something else after a request.
const maxOdd = 3

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	if s.p.Probe(&s.meta, dir, data) == parsers.No {
		if s.odd++; !s.right || s.odd > maxOdd {
			return parsers.Result{State: parsers.Rejected}
		}
		return parsers.Result{Used: len(data), State: parsers.Named}
	}
	s.right = true
	if dir == parsers.ToServer {
		s.p.report(data, s.sink)
		if s.meta.ServerPort == port {
			s.sink.Expect(parsers.Expectation{At: parsers.ToClient, Proto: 17, Port: s.meta.ClientPort, App: app.TFTP})
		}
	}
	return parsers.Result{Used: len(data), State: parsers.Named}
}

// Gap implements parsers.Stream.
func (*stream) Gap(parsers.Dir, int) bool { return true }

// Close implements parsers.Stream.
func (*stream) Close() {}

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

// Continues implements parsers.Continuing: a request, whoever is taken for the client, and the data, acknowledgements,
// errors and options that follow it.
func (parser) Continues(_ *parsers.Meta, b []byte) bool {
	return len(b) >= 4 && b[0] == 0 && b[1] >= 1 && b[1] <= 6
}

// report reports the file and whether it is read or written.
func (parser) report(b []byte, sink parsers.Sink) {
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
