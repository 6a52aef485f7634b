// Package zookeeper recognises ZooKeeper's client protocol by connect requests and answers,
// by pings in midstream, and by the four-letter words. It reports the first of these words.
// Elections and the protocol between servers are not claimed.
package zookeeper

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

const (
	passwordLen = 16
	maxTimeout  = 24 * 3600 * 1000
	ping        = "\x00\x00\x00\x08\xff\xff\xff\xfe\x00\x00\x00\x0b" // xid -2, operation 11
	pong        = "\x00\x00\x00\x10\xff\xff\xff\xfe"
)

type parser struct{}

var (
	_ parsers.Teller = parser{}
	_ parsers.Sided  = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.ZooKeeper.Name() }

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return parsers.OpenHeads(p, m, sink)
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	switch {
	case m.Datagram():
		return parsers.No
	case len(b) > 0 && b[0] != 0:
		return word(dir, b)
	}
	match := parsers.No
	if m.Midstream {
		match = beat(dir, b)
	}
	if match == parsers.No {
		match = session(dir, b)
	}
	return match
}

// Part implements parsers.Sided.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	return parsers.PartByProbe(p, m, head)
}

// Tell reports a four-letter word, or that a session is opened.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	switch {
	case dir == parsers.ToClient:
	case b[0] != 0:
		sink.Attr(parsers.Command, b[:4])
	case b[4] == 0:
		sink.Attr(parsers.Command, []byte("connect"))
	}
}

// session judges ConnectRequest and ConnectResponse: protocol version 0, last transaction (of requests),
// timeout, session and a password of 16 octets; since 3.4 an octet for read-only.
func session(dir parsers.Dir, b []byte) parsers.Match {
	fixed := 4 + 8 + 4 + 8 + 4 + passwordLen
	if dir == parsers.ToClient {
		fixed -= 8
	}
	want := [...]byte{0, 0, 0}
	for i, c := range b[:min(len(b), 8)] {
		if i < 3 && c != want[i] || i == 3 && int(c) != fixed && int(c) != fixed+1 || i > 3 && c != 0 {
			return parsers.No
		}
	}
	if len(b) < 4+fixed {
		return parsers.More
	}
	rest := b[8:]
	if dir == parsers.ToServer {
		if rest[0] > 0x7f {
			return parsers.No
		}
		rest = rest[8:]
	}
	timeout := binary.BigEndian.Uint32(rest)
	if binary.BigEndian.Uint32(rest[12:]) != passwordLen || timeout > maxTimeout || dir == parsers.ToServer && timeout == 0 {
		return parsers.No
	}
	if int(b[3]) == fixed {
		return parsers.Likely
	}
	if len(b) < 4+fixed+1 {
		return parsers.More
	}
	if b[4+fixed] > 1 {
		return parsers.No
	}
	return parsers.Likely
}

// beat judges a ping, or the server's answer: a transaction number, and no error.
func beat(dir parsers.Dir, b []byte) parsers.Match {
	want, size := ping, len(ping)
	if dir == parsers.ToClient {
		want, size = pong, len(pong)+12
	}
	if n := min(len(b), len(want)); string(b[:n]) != want[:n] {
		return parsers.No
	}
	if len(b) < size {
		return parsers.More
	}
	if dir == parsers.ToClient && (b[8] != 0 || binary.BigEndian.Uint32(b[16:]) != 0) {
		return parsers.No
	}
	return parsers.Likely
}

// words are sent without an end of line.
var words = [...]string{"ruok", "mntr", "srvr", "wchs", "wchc", "wchp", "envi", "isro", "srst", "crst", "dirs", "gtmk", "stat", "conf", "cons", "dump"}

// shared is how many words at the end of the list begin other protocols' commands: an end of line must follow.
const shared = 4

func word(dir parsers.Dir, b []byte) parsers.Match {
	if dir == parsers.ToClient {
		for _, p := range answers {
			if n := min(len(b), len(p)); string(b[:n]) == p[:n] {
				if n < len(p) {
					return parsers.More
				}
				return parsers.Likely
			}
		}
		return denied(b)
	}
	for i, w := range words {
		n := min(len(b), len(w))
		if string(b[:n]) != w[:n] {
			continue
		}
		if n < len(w) {
			return parsers.More
		}
		switch {
		case i < len(words)-shared: // a server reads no further
		case len(b) == len(w):
			return parsers.More // memcached's stats, perhaps
		case b[4] != '\r' && b[4] != '\n':
			return parsers.No
		}
		return parsers.Likely
	}
	return moreIf(fourLetters(b))
}

// answers are what answers to the words begin with.
var answers = [...]string{"imok", "Zookeeper version: ", "ZooKeeper version: ", "zk_version\t", "Environment:\nzookeeper.version=",
	"This ZooKeeper instance is not currently serving requests", "clientPort=", "SessionTracker dump:", "Latency min/avg/max: ",
	"Connection stats reset", "Server stats reset"}

// denied judges the answer to a word that the server does not let clients send: it repeats the word.
func denied(b []byte) parsers.Match {
	const text = " is not executed because it is not in the whitelist."
	for i, c := range b[:min(len(b), wordLen+len(text))] {
		if i < wordLen && (c < 'a' || c > 'z') || i >= wordLen && c != text[i-wordLen] {
			return parsers.No
		}
	}
	if len(b) < wordLen+len(text) {
		return parsers.More
	}
	return parsers.Likely
}

const wordLen = 4

// fourLetters reports whether nothing but one word was sent, which may be another version's: the answer decides.
func fourLetters(b []byte) bool {
	for i, c := range b {
		if i < wordLen && (c < 'a' || c > 'z') || i >= wordLen && c != '\r' && c != '\n' {
			return false
		}
	}
	return len(b) <= wordLen+2
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}
