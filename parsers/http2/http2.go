// Package http2 recognises HTTP/2 in clear with prior knowledge, and gRPC on it, by
// content; it reports the first request (service and method, path, host, user agent) and how it was
// answered. It decodes headers with real HPACK, keeps no bodies, and follows the first
// request only. It is not for HTTP/2 inside TLS nor for what an HTTP/1 upgrade leads to.
package http2

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// preface is what a client begins with (RFC 9113 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// New is the parser of HTTP/2.
func New() parsers.Parser { return parser{} }

type parser struct{}

var (
	_ parsers.Parser  = parser{}
	_ parsers.Layered = parser{}
	_ parsers.Sided   = parser{}
)

// Name implements parsers.Parser.
func (parser) Name() string { return app.HTTP2.Name() }

// Layered implements parsers.Layered.
func (parser) Layered() {}

// Open implements parsers.Parser.
func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, midstream: m.Midstream}
}

// Probe implements parsers.Parser.
func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	switch {
	case m.Datagram():
		return parsers.No
	case m.Midstream: // the sides may be swapped
		return max(probePreface(head), probeSettings(head), probeChain(head))
	case dir == parsers.ToServer:
		return probePreface(head)
	}
	return probeSettings(head)
}

// Part implements parsers.Sided: the preface is a client's, and so is a header block that begins with a method or a path, where a
// response has its status (RFC 9113 8.3, RFC 7541 appendix A).
func (parser) Part(_ *parsers.Meta, b []byte) parsers.Part {
	if probePreface(b) == parsers.Likely {
		return parsers.ClientPart
	}
	if probeSettings(b) != parsers.No {
		return parsers.EitherPart // Probe waits for nothing behind them
	}
	for range 2 { // those that Probe wants whole
		if len(b) < frameHeader {
			break
		}
		f := header(b)
		at := frameHeader + f.prefix()
		if f.kind == frameHeaders && len(b) > at && f.prefix() < f.length {
			switch c := b[at]; {
			case c >= 0x82 && c <= 0x87:
				return parsers.ClientPart
			case c >= 0x88 && c <= 0x8e:
				return parsers.ServerPart
			}
			return parsers.EitherPart
		}
		if f.length > len(b)-frameHeader {
			break
		}
		b = b[frameHeader+f.length:]
	}
	return parsers.EitherPart
}

func probePreface(b []byte) parsers.Match {
	n := min(len(b), len(preface))
	switch {
	case string(b[:n]) != preface[:n]:
		return parsers.No
	case n < len(preface):
		return parsers.More
	}
	return parsers.Likely
}

// maxSettings bounds the length of a SETTINGS frame that is believed and read.
const maxSettings = 64 * settingSize

// probeSettings searches for the SETTINGS frame that a server begins with. An empty one is nine bytes of
// nearly nothing, so another sound frame must follow it.
func probeSettings(b []byte) parsers.Match {
	want := [frameHeader]byte{3: frameSettings}
	for i := range min(len(b), frameHeader) {
		if i != 1 && i != 2 && b[i] != want[i] {
			return parsers.No
		}
	}
	if len(b) < frameHeader {
		return parsers.More
	}
	f := header(b)
	if f.length%settingSize != 0 || f.length > maxSettings {
		return parsers.No
	}
	if f.length == 0 {
		b = b[frameHeader:]
		if len(b) < frameHeader {
			return parsers.More
		}
		if next := header(b); !next.sound() || next == f { // twice the same nothing is some other protocol's
			return parsers.No
		}
		return parsers.Likely
	}
	if len(b) < frameHeader+settingSize {
		return parsers.More
	}
	return probeIDs(b[frameHeader:], f.length)
}

// probeIDs judges the settings of a frame: a receiver ignores those it does not know (RFC 9113 6.5.2), so that one known
// one is enough, and without one the next frame decides.
func probeIDs(b []byte, size int) parsers.Match {
	for at := 0; at < size; at += settingSize {
		if len(b) < at+settingSize {
			return parsers.More
		}
		switch id := binary.BigEndian.Uint16(b[at:]); {
		case id == 0:
			return parsers.No
		case id <= lastSetting, id&0x0f0f == 0x0a0a: // RFC 8701 style values are sent on purpose
			return parsers.Likely
		}
	}
	if b = b[size:]; len(b) < frameHeader {
		return parsers.More
	}
	if !header(b).sound() {
		return parsers.No
	}
	return parsers.Likely
}

// probeChain searches for two whole frames and the header of a third in midstream, not all
// of them data.
func probeChain(b []byte) parsers.Match {
	others := 0
	for n := range 3 {
		if len(b) < frameHeader {
			return parsers.More
		}
		f := header(b)
		if !f.sound() || f.kind > frameContinuation {
			return parsers.No
		}
		if f.kind != frameData {
			others++
		}
		if n == 2 {
			break
		}
		if len(b) < frameHeader+f.length {
			return parsers.More
		}
		if !f.plausible(b[frameHeader : frameHeader+f.length]) {
			return parsers.No
		}
		b = b[frameHeader+f.length:]
	}
	if others == 0 {
		return parsers.No
	}
	return parsers.Likely
}
