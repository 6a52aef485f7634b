// Package ssh recognises SSH by its banners (RFC 4253 4.2), from either side, and
// mid-stream by a key exchange; it reports versions, software and the HASSH
// fingerprint, and reports protocol 1. What is encrypted stays so: users and
// failed logins are not seen.
package ssh

import (
	"bytes"
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Bounds. RFC 4253 4.2 allows 255 bytes a banner and sets none for the lines before it.
const (
	maxBanner   = 255
	maxVersion  = 6 // bytes of a version with its hyphen, as 1.99-
	maxPreamble = 2048
	maxPacket   = 35000 // RFC 4253 6.1
	msgKexInit  = 20
	kexLists    = 10
)

type parser struct{}

var _ parsers.Parser = parser{}

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.SSH.Name() }

func (parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, midstream: m.Midstream}
}

// Probe wants the banner first from the client; a server may send lines before it.
func (parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if m.Datagram() {
		return parsers.No
	}
	match := banner(head)
	switch {
	case match != parsers.No:
		return match
	case m.Midstream:
		return kexBegins(head)
	case dir == parsers.ToClient:
		return preamble(head)
	}
	return parsers.No
}

// banner judges a line that must begin with "SSH-", a version and a hyphen.
func banner(b []byte) parsers.Match {
	const magic = "SSH-"
	if n := min(len(b), len(magic)); string(b[:n]) != magic[:n] {
		return parsers.No
	} else if n < len(magic) {
		return parsers.More
	}
	b = b[len(magic):]
	for i, c := range b[:min(len(b), maxVersion)] {
		switch {
		case c == '-' && i > 2: // what follows is any text, or none
			return parsers.Likely
		case i == 0 && (c < '1' || c > '2'), i == 1 && c != '.', i > 1 && (c < '0' || c > '9'):
			return parsers.No
		}
	}
	return moreIf(len(b) < maxVersion)
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// preamble passes over the text lines that a server may send first. Lines in the form of
// other protocols' greetings are not waited behind.
func preamble(b []byte) parsers.Match {
	for at := 0; at < maxPreamble; {
		line := b[at:]
		if at > 0 {
			if match := banner(line); match != parsers.No {
				return match
			}
		}
		end := bytes.IndexByte(line, '\n')
		full := end >= 0
		if full {
			line = line[:end]
		}
		if len(line) > maxBanner || !text(line) || at == 0 && othersGreeting(line) || full && namesMail(line) {
			return parsers.No
		}
		if !full {
			return parsers.More
		}
		at += end + 1
	}
	return parsers.No
}

// text reports whether a line may be text in any coding, with what terminals make colours of.
func text(line []byte) bool {
	for _, c := range line {
		if c < '\a' || c > '\r' && c < 0x1b {
			return false
		}
	}
	return true
}

// namesMail reports whether a line is a numeric reply that names SMTP or FTP, which are not to wait.
func namesMail(line []byte) bool {
	if len(line) < 4 || line[0] < '0' || line[0] > '9' {
		return false
	}
	for i := range line {
		if rest := line[i:]; begins(rest, "SMTP") || begins(rest, "FTP") {
			return true
		}
	}
	return false
}

// begins compares in any case.
func begins(b []byte, word string) bool {
	return len(b) >= len(word) && bytes.EqualFold(b[:len(word)], []byte(word))
}

// othersGreeting knows POP3, IMAP, HTTP and such by their first octets.
func othersGreeting(line []byte) bool {
	if len(line) == 0 {
		return false
	}
	switch line[0] {
	case '+', '-', '*', '@', '<', '{', '[', '$', ':':
		return true
	}
	for _, p := range [...]string{"HTTP/", "RFB ", "RTSP/", "INFO ", "ERR", "SIP/", "VALUE ", "END", "STORED", "VERSION", "PING"} {
		// A line that is not that long yet may become another: a No must hold for whatever follows.
		if len(line) >= len(p) && string(line[:len(p)]) == p {
			return true
		}
	}
	return false
}

// kexBegins judges a key exchange packet without the banner before it (RFC 4253 6, 7.1).
func kexBegins(b []byte) parsers.Match {
	if len(b) < 4 {
		return parsers.More
	}
	size := int(binary.BigEndian.Uint32(b))
	if size < 60 || size > maxPacket {
		return parsers.No
	}
	if len(b) < 26 {
		return parsers.More
	}
	if pad := int(b[4]); pad < 4 || pad > size-60 || b[5] != msgKexInit {
		return parsers.No
	}
	n := int(binary.BigEndian.Uint32(b[22:]))
	if n < 8 || n > 4096 || n > size-18 {
		return parsers.No
	}
	list := b[26:]
	for i, c := range list[:min(n, len(list))] {
		if c <= 0x20 || c > 0x7e || i == 0 && c == ',' {
			return parsers.No
		}
	}
	if len(list) < n {
		return parsers.More
	}
	if !bytes.Contains(list[:n], []byte("diffie-hellman-")) && !bytes.Contains(list[:n], []byte("25519")) && !bytes.Contains(list[:n], []byte("ecdh-sha2-")) {
		return parsers.No
	}
	return parsers.Likely
}
