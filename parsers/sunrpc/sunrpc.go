// Package sunrpc recognises ONC RPC (RFC 5531) over UDP and TCP by calls and replies. It reports the
// program, and announces the services that a port mapper (RFC 1833) locates for its clients. It does
// not read the services themselves.
package sunrpc

import (
	"encoding/binary"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

type parser struct{}

var (
	_ parsers.Follower   = parser{}
	_ parsers.Sided      = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.SunRPC.Name() }

// Follows implements parsers.Follower.
func (parser) Follows() {}

// Standalone implements parsers.Standalone: each datagram is a call or a reply.
func (parser) Standalone() {}

func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{meta: *m, sink: sink}
}

// Message types and limits.
const (
	call        = 0
	reply       = 1
	portMapper  = 100000
	maxOpaque   = 400     // bytes of a credential (RFC 5531 8.2)
	maxFragment = 4 << 20 // of a record over TCP
	lowestProg  = 100000  // 0x186a0: those below are not given to anyone
	highestProg = 0x5fffffff
	maxNumber   = 0xffff // of versions and procedures: they count from 0 or 1
)

// Probe wants the whole head of a call or a reply: both have zeros and small numbers in fixed places.
func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	whole := true
	if !m.Datagram() {
		if len(b) < 4 {
			return parsers.More
		}
		n := binary.BigEndian.Uint32(b) &^ lastFragment
		if n < 24 || n > maxFragment {
			return parsers.No
		}
		whole = len(b)-4 >= int(n)
		b = b[4:min(len(b), 4+int(n))]
	}
	switch judgeHead(b, dir == parsers.ToClient) {
	case right:
		return parsers.Likely
	case short:
		if !whole {
			return parsers.More
		}
	}
	return parsers.No
}

// Part implements parsers.Sided: calls are a client's, replies a server's.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// verdict of a head.
type verdict uint8

const (
	wrong verdict = iota
	short
	right
)

// judgeHead judges a message of one side; it never looks behind its first fields that are not there.
func judgeHead(b []byte, answer bool) verdict {
	want := [...]func(uint32) bool{
		func(uint32) bool { return true }, // xid
		func(n uint32) bool { return n == call },
		func(n uint32) bool { return n == 2 }, // version of RPC
		func(n uint32) bool { return n >= lowestProg && n <= highestProg },
		func(n uint32) bool { return n <= maxNumber }, // version of the program
		func(n uint32) bool { return n <= maxNumber }, // procedure
	}
	if answer {
		want = [...]func(uint32) bool{
			func(uint32) bool { return true },
			func(n uint32) bool { return n == reply },
			func(n uint32) bool { return n == 0 }, // accepted
			func(uint32) bool { return true },     // flavour
			func(n uint32) bool { return n <= maxOpaque },
			func(n uint32) bool { return true },
		}
	}
	for i, fits := range want {
		if len(b) < 4*i+4 {
			return short
		}
		if !fits(binary.BigEndian.Uint32(b[4*i:])) {
			return wrong
		}
	}
	if !answer {
		return right
	}
	// The status of an accepted call is behind the server's verifier.
	n := padded(binary.BigEndian.Uint32(b[16:]))
	if len(b) < 20+n+4 {
		return short
	}
	if binary.BigEndian.Uint32(b[20+n:]) > 5 {
		return wrong
	}
	return right
}

// padded is a length on the wire (RFC 4506 4.10).
func padded(n uint32) int { return int(n+3) &^ 3 }

// program is the attribute of a program and its version.
func program(prog, vers uint32) []byte {
	b := strconv.AppendUint(nil, uint64(prog), 10)
	return strconv.AppendUint(append(b, '/'), uint64(vers), 10)
}
