// Package dns recognises DNS over UDP and TCP (RFC 1035 and its followers), multicast DNS
// (RFC 6762) and LLMNR (RFC 4795), and reports questions, answers and response codes, and
// messages made to hurt a resolver. It resolves nothing, keeps no answers and judges
// no names: tunnels and domains are the business of others.
package dns

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// flavour is one of the three protocols that share the message format.
type flavour uint8

const (
	unicast flavour = iota
	multicast
	llmnr
)

// Ports at which the flavours are reported apart.
const (
	portDNS     = 53
	portNetBIOS = 137
	portMDNS    = 5353
	portLLMNR   = 5355
)

type parser struct {
	name string
	kind flavour
}

var (
	_ parsers.Sided      = parser{}
	_ parsers.Standalone = parser{}
)

// New is the parser of unicast DNS at any port.
func New() parsers.Parser { return parser{app.DNS.Name(), unicast} }

// NewMDNS is the parser of multicast DNS: UDP with port 5353 on a side.
func NewMDNS() parsers.Parser { return parser{app.MDNS.Name(), multicast} }

// NewLLMNR is the parser of link-local multicast name resolution: port 5355.
func NewLLMNR() parsers.Parser { return parser{app.LLMNR.Name(), llmnr} }

func (p parser) Name() string { return p.name }

// Standalone implements parsers.Standalone: each datagram is a message with its header.
func (parser) Standalone() {}

func (p parser) Open(m *parsers.Meta, sink parsers.Sink) parsers.Stream {
	return &stream{sink: sink, kind: p.kind, datagram: m.Datagram()}
}

// Probe asks for a whole well-formed message. At port 53 the header and a plausible
// beginning do, so that messages made to hurt resolvers still find their parser.
func (p parser) Probe(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if onPort(m, portNetBIOS) {
		return parsers.No
	}
	if m.Datagram() {
		return p.probeDatagram(m, head)
	}
	if p.kind == multicast || (p.kind == llmnr) != onPort(m, portLLMNR) {
		return parsers.No
	}
	return p.probeStream(m, dir, head)
}

// Part implements parsers.Sided by the bit QR. Multicast has no clients.
func (p parser) Part(m *parsers.Meta, head []byte) parsers.Part {
	if !m.Datagram() && len(head) > 2 {
		head = head[2:]
	}
	switch {
	case len(head) < headerLen || p.kind == multicast:
		return parsers.EitherPart
	case readHeader(head).response():
		return parsers.ServerPart
	}
	return parsers.ClientPart
}

func (p parser) probeDatagram(m *parsers.Meta, msg []byte) parsers.Match {
	if len(msg) < headerLen || flavourOf(m, readHeader(msg)) != p.kind || !p.headerFits(m, msg) {
		return parsers.No
	}
	return p.judge(m, msg)
}

// probeStream reads the first message alone. One that does not fit the head is
// judged by its question.
func (p parser) probeStream(m *parsers.Meta, dir parsers.Dir, head []byte) parsers.Match {
	if len(head) < 2 {
		return parsers.More
	}
	size := int(binary.BigEndian.Uint16(head))
	if size < headerLen+1 {
		return parsers.No
	}
	if len(head) < 2+headerLen {
		return parsers.More
	}
	msg := head[2:]
	h := readHeader(msg)
	if !p.headerFits(m, msg) || h.response() != (dir == parsers.ToClient) {
		return parsers.No
	}
	if len(msg) >= size {
		return p.judge(m, msg[:size])
	}
	if size+2 <= parsers.MaxHead {
		return parsers.More
	}
	return p.judgeQuestion(msg, size, len(head) >= parsers.MaxHead)
}

// judgeQuestion judges a message that no head can hold; last is true where the head is full.
func (p parser) judgeQuestion(msg []byte, size int, last bool) parsers.Match {
	w := newWalker(msg)
	c := checker{kind: p.kind}
	for range w.h.qd {
		r, f := w.next()
		if f == short && !last {
			return parsers.More
		}
		if f != ok || w.pos > size || c.judge(msg, r) != ok {
			return parsers.No
		}
	}
	if c.seen == 0 {
		return parsers.No
	}
	return parsers.Likely
}

// judge walks a whole message.
func (p parser) judge(m *parsers.Meta, msg []byte) parsers.Match {
	lenient := p.kind == unicast && onPort(m, portDNS)
	c := checker{kind: p.kind, lenient: lenient}
	w := newWalker(msg)
	r, f := w.next()
	for ; f == ok && r.part != atEnd; r, f = w.next() {
		if f = c.judge(msg, r); f != ok {
			break
		}
	}
	switch {
	case f == bad:
		return parsers.No
	case lenient:
	case f == ok && w.pos == len(msg) && c.seen > 0:
	case (f == loop || f == longName) && c.seen > 0: // a cut message may be anything, a loop after a good question may not
	default:
		return parsers.No
	}
	return parsers.Likely
}

// flavourOf returns the flavour of a datagram by its ports. Resolvers in containers listen at
// 5353 too: RFC 6762 18.6 forbids multicast DNS the bits RD and RA, which they set.
func flavourOf(m *parsers.Meta, h header) flavour {
	switch {
	case onPort(m, portLLMNR):
		return llmnr
	case !onPort(m, portMDNS):
		return unicast
	case m.Server.IsMulticast() || m.Client.IsMulticast() || m.ServerPort == m.ClientPort:
		return multicast
	case h.flags&0x0180 != 0:
		return unicast
	}
	return multicast
}

func onPort(m *parsers.Meta, port uint16) bool { return m.ServerPort == port || m.ClientPort == port }

// headerFits judges the first twelve octets, which are there.
func (p parser) headerFits(m *parsers.Meta, msg []byte) bool {
	h := readHeader(msg)
	switch p.kind {
	case multicast:
		// RFC 6762 18: opcode, rcode and RA are zero; known answers may come without questions.
		return h.flags&0x780f == 0 && h.flags&0x0040 == 0 && h.qd+h.an+h.ns+h.ar > 0 && h.qd < 512 && h.an < 512 && h.ns < 512 && h.ar < 512
	case llmnr:
		// RFC 4795 2.1.1: one question, no answers and neither C nor TC in a query.
		return h.flags&0x78f0 == 0 && h.qd == 1 && h.ar < 16 && h.ns < 16 && h.an < 256 && (h.response() || h.flags&0x0600 == 0 && h.an+h.ns == 0 && h.rcode() == 0)
	}
	port53 := onPort(m, portDNS)
	if h.flags&0x0040 != 0 && !port53 || h.qd > 1 && !port53 || h.qd > 16 {
		return false
	}
	if !h.response() && (h.rcode() != 0 || h.flags&0x0080 != 0 && !port53) {
		return false // RA is set in responses only
	}
	switch h.opcode() {
	case 0, 2, 4: // query, status, notify
		if !h.response() {
			return h.qd >= 1 && h.an <= 1 && h.ns <= 2 && h.ar <= 4
		}
		return h.qd == 1 || h.qd > 1 && port53 || h.qd == 0 && port53
	case 1: // inverse query: the answer asks
		return h.qd <= 1 && h.an >= 1 && port53
	case 5: // update: zone, prerequisites, updates
		return h.qd == 1
	case 6: // stateful operations (RFC 8490 5.4) have no records
		return port53 && h.qd|h.an|h.ns|h.ar == 0
	}
	return false
}

// checker judges records one by one.
type checker struct {
	kind    flavour
	lenient bool
	seen    int // good questions and records
}

func (c *checker) judge(msg []byte, r record) fault {
	class := r.class
	var f fault
	if c.kind == multicast {
		class &= 0x7fff // RFC 6762 5.4, 10.2: the top bit asks for a unicast answer, or flushes the cache
	}
	if r.part == inQuestion {
		f = c.question(msg, r, class)
	} else {
		f = c.record(msg, r, class)
	}
	if f == ok {
		c.seen++
	}
	return f
}

func (c *checker) question(msg []byte, r record, class uint16) fault {
	if class != 1 && class != 255 && (class != 3 && class != 4 && class != 254 || c.kind != unicast) {
		return bad
	}
	if r.typ == 0 || !c.lenient && isNetBIOS(msg, r) {
		return bad
	}
	if !c.lenient && typeNames[r.typ] == "" && !plainName(msg, r.name) {
		return bad // either may be new or odd, both are some other protocol's
	}
	return ok
}

func (c *checker) record(msg []byte, r record, class uint16) fault {
	if r.typ == typeOPT {
		if msg[r.name] != 0 {
			return bad
		}
		return ok // RFC 6891 6.1.2: the class is a buffer size
	}
	if class != 1 && class != 3 && class != 4 && class != 254 && class != 255 {
		return bad
	}
	return ok
}

// isNetBIOS reports whether a name has the form of RFC 1001 14.1: 32 letters A to P that encode half octets.
func isNetBIOS(msg []byte, r record) bool {
	if r.typ != 32 && r.typ != 33 || msg[r.name] != 32 || r.name+33 > len(msg) {
		return false
	}
	for _, b := range msg[r.name+1 : r.name+33] {
		if b < 'A' || b > 'P' {
			return false
		}
	}
	return true
}

// plainName reports whether the first label run has no control characters.
func plainName(msg []byte, p int) bool {
	for p < len(msg) && msg[p] != 0 && msg[p] < 64 {
		n := int(msg[p])
		if p+1+n > len(msg) {
			return false
		}
		for _, b := range msg[p+1 : p+1+n] {
			if b < 0x20 || b == 0x7f {
				return false
			}
		}
		p += 1 + n
	}
	return true
}
