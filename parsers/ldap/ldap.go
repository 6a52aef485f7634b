// Package ldap recognises LDAP (RFC 4511) by the BER framing of its first messages, over TCP and
// connectionless over UDP. It reports the operation and the name that binds, never passwords.
package ldap

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// Tags of protocol operations (RFC 4511 4).
const (
	tagInteger  = 0x02
	tagOctets   = 0x04
	tagEnum     = 0x0a
	tagBool     = 0x01
	tagSequence = 0x30
	bindReq     = 0x60
	bindResp    = 0x61
	unbindReq   = 0x42
	searchReq   = 0x63
	searchEntry = 0x64
	searchDone  = 0x65
	modifyReq   = 0x66
	modifyResp  = 0x67
	addReq      = 0x68
	addResp     = 0x69
	deleteReq   = 0x4a
	deleteResp  = 0x6b
	extReq      = 0x77
	extResp     = 0x78
	abandonReq  = 0x50
	modDNReq    = 0x6c
	modDNResp   = 0x6d
	compareReq  = 0x6e
	compareResp = 0x6f
	searchRef   = 0x73
	interim     = 0x79
	maxMessage  = 8 << 10 // of a message that is waited for
)

type parser struct{}

var (
	_ parsers.Teller     = parser{}
	_ parsers.Sided      = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser.
func New() parsers.Parser { return parser{} }

func (parser) Name() string { return app.LDAP.Name() }

// Standalone implements parsers.Standalone: each datagram has whole messages (RFC 1798, CLDAP).
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	if m.Datagram() {
		return parsers.OpenHeads(p, m, sink)
	}
	return &stream{p: p, meta: *m, sink: sink}
}

func (parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	op, value, match := message(m, b)
	if match != parsers.Likely {
		return match
	}
	return likelyIf(dir == parsers.ToServer && request(op, value) || dir == parsers.ToClient && response(op, value))
}

// Part implements parsers.Sided by the operation.
func (parser) Part(m *parsers.Meta, b []byte) parsers.Part {
	op, value, match := message(m, b)
	switch {
	case match != parsers.Likely:
	case request(op, value):
		return parsers.ClientPart
	case response(op, value):
		return parsers.ServerPart
	}
	return parsers.EitherPart
}

// message judges a first message's framing: Likely with its operation. RFC 4511 5.1 lets a length have more
// octets than it needs, so what follows it is looked at only once it is known where that is.
func message(m *parsers.Meta, b []byte) (op byte, value []byte, match parsers.Match) {
	if len(b) > 0 && b[0] != tagSequence {
		return 0, nil, parsers.No
	}
	size, at := length(b[min(1, len(b)):])
	if at < 0 || at > 0 && (size < 5 || size > 1<<24) {
		return 0, nil, parsers.No
	}
	if at == 0 {
		return 0, nil, moreIf(!m.Datagram())
	}
	body := b[min(len(b), 1+at):]
	if len(body) < min(size, maxMessage) {
		return 0, nil, moreIf(!m.Datagram() && (len(body) < 1 || body[0] == tagInteger) && (len(body) < 2 || body[1] >= 1 && body[1] <= 4))
	}
	if m.Datagram() && len(body) > size && body[size] != tagSequence {
		return 0, nil, parsers.No // several messages may be in one datagram
	}
	op, value, ok := operation(body[:min(size, maxMessage)], size > maxMessage)
	return op, value, likelyIf(ok)
}

func likelyIf(ok bool) parsers.Match {
	if ok {
		return parsers.Likely
	}
	return parsers.No
}

func moreIf(ok bool) parsers.Match {
	if ok {
		return parsers.More
	}
	return parsers.No
}

// Tell reports the operation and the name of a bind.
func (parser) Tell(_ *parsers.Meta, dir parsers.Dir, b []byte, sink parsers.Sink) {
	size, at := length(b[1:])
	op, value, ok := operation(b[1+at:][:min(size, maxMessage)], size > maxMessage)
	if dir == parsers.ToClient || !ok {
		return
	}
	switch op {
	case bindReq:
		sink.Attr(parsers.Command, []byte("bind"))
		_, _, rest, _ := element(value)
		if _, name, _, found := element(rest); found {
			sink.Attr(parsers.User, name)
		}
	case searchReq:
		sink.Attr(parsers.Command, []byte("search"))
	case extReq:
		sink.Attr(parsers.Command, []byte("extended"))
	case unbindReq:
		sink.Attr(parsers.Command, []byte("unbind"))
	case modifyReq:
		sink.Attr(parsers.Command, []byte("modify"))
	case addReq:
		sink.Attr(parsers.Command, []byte("add"))
	case deleteReq:
		sink.Attr(parsers.Command, []byte("delete"))
	case modDNReq:
		sink.Attr(parsers.Command, []byte("rename"))
	case compareReq:
		sink.Attr(parsers.Command, []byte("compare"))
	case abandonReq:
		sink.Attr(parsers.Command, []byte("abandon"))
	}
}

// length reads a BER length: at is how many octets it takes, 0 for more, -1 for none.
func length(b []byte) (n, at int) {
	switch {
	case len(b) == 0:
		return 0, 0
	case b[0] < 0x80:
		return int(b[0]), 1
	case b[0] == 0x80 || b[0] > 0x84:
		return 0, -1
	}
	count := int(b[0] & 0x7f)
	if len(b) < 1+count {
		return 0, 0
	}
	for _, c := range b[1 : 1+count] {
		n = n<<8 | int(c)
	}
	return n, 1 + count
}

// element reads one BER element that is there whole.
func element(b []byte) (tag byte, value, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	n, at := length(b[1:])
	if at <= 0 || n > len(b)-1-at {
		return 0, nil, nil, false
	}
	return b[0], b[1+at : 1+at+n], b[1+at+n:], true
}

// operation reads the message's number and its operation; of one that was cut the value's beginning.
func operation(b []byte, cut bool) (op byte, value []byte, ok bool) {
	tag, id, rest, ok := element(b)
	if !ok || tag != tagInteger || len(id) < 1 || len(id) > 4 || id[0] > 0x7f || len(rest) < 2 {
		return 0, nil, false
	}
	if cut {
		n, at := length(rest[1:])
		if at <= 0 || n < maxMessage/2 {
			return 0, nil, false
		}
		return rest[0], rest[1+at:], true
	}
	op, value, rest, ok = element(rest)
	if !ok || len(rest) > 0 && rest[0] != 0xa0 { // controls
		return 0, nil, false
	}
	return op, value, true
}

// fields reports whether elements begin with these tags.
func fields(b []byte, tags ...byte) bool {
	for _, want := range tags {
		tag, _, rest, ok := element(b)
		if !ok || tag != want {
			return false
		}
		b = rest
	}
	return true
}

func request(op byte, value []byte) bool {
	switch op {
	case bindReq: // version, name, and a choice of methods: simple, SASL, Active Directory's own
		if !fields(value, tagInteger, tagOctets) {
			return false
		}
		_, version, rest, _ := element(value)
		_, _, rest, _ = element(rest)
		return len(version) == 1 && version[0] >= 1 && version[0] <= 3 && len(rest) > 1 && rest[0]&0xc0 == 0x80
	case searchReq:
		return fields(value, tagOctets, tagEnum, tagEnum, tagInteger, tagInteger, tagBool)
	case unbindReq:
		return len(value) == 0
	case modifyReq, addReq, compareReq:
		return fields(value, tagOctets, tagSequence) || len(value) >= maxMessage/2 && value[0] == tagOctets
	case modDNReq:
		return fields(value, tagOctets, tagOctets, tagBool)
	case deleteReq:
		return len(value) > 0 // a name in any form
	case abandonReq:
		return len(value) > 0 && len(value) <= 4
	case extReq:
		tag, oid, _, ok := element(value)
		return ok && tag == 0x80 && len(oid) > 2 && oid[0] >= '0' && oid[0] <= '2' && oid[1] == '.'
	}
	return false
}

func response(op byte, value []byte) bool {
	switch op {
	case bindResp, searchDone, extResp, modifyResp, addResp, deleteResp, modDNResp, compareResp:
		return fields(value, tagEnum, tagOctets, tagOctets)
	case searchEntry:
		return fields(value, tagOctets, tagSequence) || len(value) >= maxMessage/2 && value[0] == tagOctets
	case searchRef:
		return fields(value, tagOctets)
	case interim:
		return len(value) > 2 && (value[0] == 0x80 || value[0] == 0x81)
	}
	return false
}
