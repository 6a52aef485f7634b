package tls

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sluicenet/sluice/parsers"
)

// maxSuites bounds the cipher suites of a fingerprint; a hello with more has none.
const maxSuites = 512

// grease reports whether a value is one of RFC 8701, which fingerprints leave out.
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

// grease2 is grease for an ALPN protocol.
func grease2(p []byte) bool { return len(p) == 2 && grease(uint16(p[0])<<8|uint16(p[1])) }

// fingerprints reports JA3 and JA4.
func (s *stream) fingerprints(h *hello) {
	if len(h.suites) > 2*maxSuites || len(h.suites)%2 != 0 {
		return
	}
	var out [36]byte
	s.sink.Attr(parsers.JA3, h.ja3(out[:0]))
	s.sink.Attr(parsers.JA4, h.ja4(out[:0]))
}

// digest feeds a hash in small pieces, so that a fingerprint's text is never held whole.
type digest struct {
	hash  hash.Hash
	buf   [128]byte
	n     int
	first bool // the current list is empty
}

func (d *digest) flush() {
	d.hash.Write(d.buf[:d.n])
	d.n = 0
}

func (d *digest) char(c byte) {
	if d.n+8 > len(d.buf) {
		d.flush()
	}
	d.buf[d.n] = c
	d.n++
}

// field begins the next list.
func (d *digest) field(sep byte) {
	d.char(sep)
	d.first = true
}

// item puts a separator between values.
func (d *digest) item(sep byte) {
	if !d.first {
		d.char(sep)
	}
	d.first = false
}

func (d *digest) decimal(v uint16) {
	d.item('-')
	if d.n+8 > len(d.buf) {
		d.flush()
	}
	d.n = len(strconv.AppendUint(d.buf[:d.n], uint64(v), 10))
}

func (d *digest) hex(v uint16) {
	const digits = "0123456789abcdef"
	d.item(',')
	for shift := 12; shift >= 0; shift -= 4 {
		d.char(digits[v>>shift&15])
	}
}

// ja3 is the MD5 of version, suites, extensions, groups and point formats in decimal.
func (h *hello) ja3(out []byte) []byte {
	d := digest{hash: md5.New(), first: true}
	d.decimal(h.version)
	d.field(',')
	each(h.suites, d.decimal)
	d.field(',')
	for _, e := range h.extensions[:h.n] {
		if !grease(e) {
			d.decimal(e)
		}
	}
	d.field(',')
	each(h.groups, d.decimal)
	d.field(',')
	for _, f := range h.formats {
		d.decimal(uint16(f))
	}
	d.flush()
	var sum [md5.Size]byte
	return hex.AppendEncode(out, d.hash.Sum(sum[:0]))
}

// each calls fn with every 16-bit value but those of RFC 8701.
func each(list cryptobyte.String, fn func(uint16)) {
	var v uint16
	for list.ReadUint16(&v) {
		if !grease(v) {
			fn(v)
		}
	}
}

// ja4 is a_b_c: the cleartext part, the sorted suites, the sorted extensions with the signature
// algorithms in their order.
func (h *hello) ja4(out []byte) []byte {
	var list [maxSuites]uint16
	suites := list[:0]
	each(h.suites, func(v uint16) { suites = append(suites, v) })
	out = append(out, 't')
	out = append(out, h.highest()...)
	var extList [maxExtensions]uint16
	extensions, count, sni := extList[:0], 0, byte('i')
	for _, e := range h.extensions[:h.n] {
		if grease(e) {
			continue
		}
		count++
		switch e {
		case extServerName:
			sni = 'd'
		case extALPN:
		default:
			extensions = append(extensions, e)
		}
	}
	out = append(out, sni)
	out = twoDigits(twoDigits(out, len(suites)), count)
	out = append(h.ja4ALPN(out), '_')
	out = append(sortedHash(out, suites, nil), '_')
	return sortedHash(out, extensions, h.signatures)
}

func twoDigits(out []byte, n int) []byte {
	n = min(n, 99)
	return append(out, byte('0'+n/10), byte('0'+n%10))
}

// highest names the newest version that is offered.
func (h *hello) highest() string {
	v := uint16(0)
	each(h.versions, func(x uint16) { v = max(v, x) })
	if v == 0 {
		v = h.version
	}
	switch v {
	case 0x304:
		return "13"
	case 0x303:
		return "12"
	case 0x302:
		return "11"
	case 0x301:
		return "10"
	case 0x300:
		return "s3"
	case 2:
		return "s2"
	}
	return "00"
}

// ja4ALPN is the first and last character of the first protocol, or of its hex form.
func (h *hello) ja4ALPN(out []byte) []byte {
	const digits = "0123456789abcdef"
	if len(h.alpn) == 0 {
		return append(out, '0', '0')
	}
	first, last := h.alpn[0], h.alpn[len(h.alpn)-1]
	if alphanumeric(first) && alphanumeric(last) {
		return append(out, first, last)
	}
	return append(out, digits[first>>4], digits[last&15])
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// sortedHash appends the first 12 hex digits of the SHA-256 of a sorted list, with another one in its
// own order behind it.
func sortedHash(out []byte, list []uint16, tail cryptobyte.String) []byte {
	if len(list) == 0 {
		return append(out, "000000000000"...)
	}
	slices.Sort(list)
	d := digest{hash: sha256.New(), first: true}
	for _, v := range list {
		d.hex(v)
	}
	if len(tail) > 0 {
		d.field('_')
		each(tail, d.hex)
	}
	d.flush()
	var sum [sha256.Size]byte
	return hex.AppendEncode(out, d.hash.Sum(sum[:0])[:6])
}
