package tls

import (
	"bytes"
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Extensions.
const (
	extServerName        = 0
	extGroups            = 10
	extPointFormats      = 11
	extSignatures        = 13
	extALPN              = 16
	extSupportedVersions = 43
)

// maxExtensions bounds how many extensions of a hello are looked at.
const maxExtensions = 128

// hello is a parsed ClientHello; its strings point into the message.
type hello struct {
	version    uint16
	suites     cryptobyte.String
	extensions [maxExtensions]uint16
	n          int
	groups     cryptobyte.String
	formats    cryptobyte.String
	signatures cryptobyte.String
	versions   cryptobyte.String
	name       []byte
	alpn       []byte // the first protocol offered
	alpns      int
}

// client reads a ClientHello. One that cannot be parsed is still TLS, with fewer attributes.
func (s *stream) client(msg []byte) {
	if s.named && s.clientSeen {
		return // a second one, after a HelloRetryRequest
	}
	s.clientSeen = true
	var h hello
	whole := h.parse(msg)
	s.sink.Attr(parsers.Host, h.name)
	switch {
	case h.alpns == 1:
		s.sink.Attr(parsers.ALPN, h.alpn) // whatever is negotiated, it is this
	case h.alpns > 1:
		s.alpn = bytes.Clone(h.alpn)
		if s.serverSeen {
			s.offered()
		}
	}
	if string(h.alpn) == "dot" && !s.named { // RFC 7858 3.1
		s.sink.App(app.DoT)
	}
	if whole {
		s.fingerprints(&h)
	}
	s.named = true
}

// offered reports the protocol offered first where none is known to be negotiated.
func (s *stream) offered() {
	if s.alpn != nil {
		s.sink.Attr(parsers.ALPN, s.alpn)
		s.alpn = nil
	}
}

// parse reads the message behind its header; false if it is not whole and sound.
func (h *hello) parse(msg []byte) bool {
	b := cryptobyte.String(msg)
	var session, compression, extensions cryptobyte.String
	if !b.ReadUint16(&h.version) || !b.Skip(32) || !b.ReadUint8LengthPrefixed(&session) ||
		!b.ReadUint16LengthPrefixed(&h.suites) || !b.ReadUint8LengthPrefixed(&compression) {
		return false
	}
	if b.Empty() {
		return true // SSL 3 and early TLS 1.0 clients
	}
	if !b.ReadUint16LengthPrefixed(&extensions) {
		return false
	}
	for !extensions.Empty() {
		var kind uint16
		var body cryptobyte.String
		if h.n == maxExtensions || !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&body) {
			return false
		}
		h.extensions[h.n] = kind
		h.n++
		h.extension(kind, body)
	}
	return true
}

func (h *hello) extension(kind uint16, body cryptobyte.String) {
	var list cryptobyte.String
	switch kind {
	case extServerName:
		var what uint8
		var name cryptobyte.String
		if body.ReadUint16LengthPrefixed(&list) && list.ReadUint8(&what) && what == 0 && list.ReadUint16LengthPrefixed(&name) {
			h.name = name
		}
	case extGroups:
		body.ReadUint16LengthPrefixed(&h.groups)
	case extPointFormats:
		body.ReadUint8LengthPrefixed(&h.formats)
	case extSignatures:
		body.ReadUint16LengthPrefixed(&h.signatures)
	case extSupportedVersions:
		body.ReadUint8LengthPrefixed(&h.versions)
	case extALPN:
		if !body.ReadUint16LengthPrefixed(&list) {
			return
		}
		for !list.Empty() {
			var p cryptobyte.String
			if !list.ReadUint8LengthPrefixed(&p) {
				return
			}
			if !grease2(p) {
				if h.alpns == 0 {
					h.alpn = p
				}
				h.alpns++
			}
		}
	}
}

// server reads a ServerHello (a HelloRetryRequest has its form and names the same version).
func (s *stream) server(h *half, msg []byte) {
	h.server = true
	if s.serverSeen {
		return
	}
	s.serverSeen, s.named = true, true
	b := cryptobyte.String(msg)
	var version, kind uint16
	var session, extensions, body cryptobyte.String
	if !b.ReadUint16(&version) {
		return
	}
	if b.Skip(32) && b.ReadUint8LengthPrefixed(&session) && b.Skip(3) && b.ReadUint16LengthPrefixed(&extensions) {
		for extensions.ReadUint16(&kind) && extensions.ReadUint16LengthPrefixed(&body) {
			switch kind {
			case extSupportedVersions:
				body.ReadUint16(&version)
			case extALPN:
				var list, p cryptobyte.String
				if body.ReadUint16LengthPrefixed(&list) && list.ReadUint8LengthPrefixed(&p) {
					s.sink.Attr(parsers.ALPN, p)
				}
			}
		}
	}
	s.offered() // TLS 1.3 negotiates it under protection
	s.negotiated(version)
	if version > 0x303 {
		h.over = true
		s.done = s.clientSeen
	}
}

// certificate reports the names in the server's own certificate, the first of the list.
func (s *stream) certificate(msg []byte) {
	b := cryptobyte.String(msg)
	var leaf cryptobyte.String
	if !b.Skip(3) || !b.ReadUint24LengthPrefixed(&leaf) {
		return
	}
	c, err := x509.ParseCertificate(leaf)
	if err != nil {
		return
	}
	s.sink.Attr(parsers.Subject, []byte(c.Subject.String()))
	s.sink.Attr(parsers.Issuer, []byte(c.Issuer.String()))
}
