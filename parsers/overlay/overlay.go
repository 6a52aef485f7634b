// Package overlay recognises tunnels of virtual networks over UDP: VXLAN (RFC 7348, with the
// group policy extension of Linux) and Geneve (RFC 8926), by their header and the packet
// inside, on any port. It reports the number of the virtual network. It is not for the sessions
// inside of the tunnel.
package overlay

import (
	"encoding/binary"
	"strconv"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
)

// parser recognises one tunnel protocol. open returns the virtual network and the packet
// inside, with its EtherType.
type parser struct {
	id   app.ID
	open func(b []byte) (vni uint32, kind uint16, inner []byte, ok bool)
}

var (
	_ parsers.Sided      = parser{}
	_ parsers.Standalone = parser{}
)

// NewVXLAN returns the parser of VXLAN.
func NewVXLAN() parsers.Parser { return parser{app.VXLAN, vxlan} }

// NewGeneve returns the parser of Geneve.
func NewGeneve() parsers.Parser { return parser{app.Geneve, geneve} }

// Name implements parsers.Parser.
func (p parser) Name() string { return p.id.Name() }

// Probe implements parsers.Parser: the header, and a packet inside whose lengths agree with the
// datagram's. Only the client of a session sends such datagrams, since the other end's go to
// the same port from another source port.
func (p parser) Probe(m *parsers.Meta, dir parsers.Dir, b []byte) parsers.Match {
	if !m.Datagram() || dir != parsers.ToServer {
		return parsers.No
	}
	_, kind, inner, ok := p.open(b)
	if !ok || !consistent(kind, inner, len(b) >= snapped) {
		return parsers.No
	}
	return parsers.Certain
}

// Part implements parsers.Sided.
func (p parser) Part(*parsers.Meta, []byte) parsers.Part { return parsers.ClientPart }

// Standalone implements parsers.Standalone: each datagram has the tunnel's header.
func (parser) Standalone() {}

// Open implements parsers.Parser.
func (p parser) Open(_ *parsers.Meta, sink parsers.Sink) parsers.Stream { return &stream{p, sink} }

// stream reports the virtual network of the first datagram.
type stream struct {
	p    parser
	sink parsers.Sink
}

// Parse implements parsers.Stream.
func (s *stream) Parse(dir parsers.Dir, data []byte) parsers.Result {
	vni, _, _, ok := s.p.open(data)
	if !ok || dir != parsers.ToServer {
		return parsers.Result{State: parsers.Rejected}
	}
	var text [8]byte
	s.sink.Attr(parsers.VNI, strconv.AppendUint(text[:0], uint64(vni), 10))
	return parsers.Result{Used: len(data), State: parsers.Done}
}

// Gap implements parsers.Stream.
func (s *stream) Gap(parsers.Dir, int) bool { return true }

// Close implements parsers.Stream.
func (s *stream) Close() {}

// Header lengths, and bits of the VXLAN header.
const (
	headerLen = 8

	vxlanVNI    = 0x08 // the number of the network is present: always (RFC 7348 5)
	vxlanPolicy = 0x80 // group policy extension
	dontLearn   = 0x40 // its bits in the second octet
	applied     = 0x08
)

// vxlan opens a VXLAN header, whose reserved bits are zero.
func vxlan(b []byte) (vni uint32, kind uint16, inner []byte, ok bool) {
	if len(b) < headerLen || b[7] != 0 {
		return 0, 0, nil, false
	}
	switch {
	case b[0] == vxlanVNI && b[1] == 0 && b[2] == 0 && b[3] == 0:
	case b[0] == vxlanVNI|vxlanPolicy && b[1]&^(dontLearn|applied) == 0:
	default:
		return 0, 0, nil, false
	}
	return network(b), etherBridge, b[headerLen:], true
}

// network returns the 24-bit number that both headers have in the same place.
func network(b []byte) uint32 { return binary.BigEndian.Uint32(b[4:]) >> 8 }

// Bits of the Geneve header and of an option's type.
const (
	geneveVersion  = 0xc0
	geneveLength   = 0x3f
	geneveReserved = 0x3f // of the second octet, behind control and critical
	geneveCritical = 0x40
	optionLen      = 4
	optionCritical = 0x80
	optionReserved = 0xe0
)

// geneve opens a Geneve header, whose reserved bits are zero and whose options fill their
// length.
func geneve(b []byte) (vni uint32, kind uint16, inner []byte, ok bool) {
	if len(b) < headerLen || b[0]&geneveVersion != 0 || b[1]&geneveReserved != 0 || b[7] != 0 {
		return 0, 0, nil, false
	}
	end := headerLen + int(b[0]&geneveLength)*4
	if len(b) < end {
		return 0, 0, nil, false
	}
	critical := byte(0)
	for at := headerLen; at < end; {
		// Options are whole words, as their total is: a header that begins before end is inside.
		if b[at+3]&optionReserved != 0 {
			return 0, 0, nil, false
		}
		critical |= b[at+2] & optionCritical
		if at += optionLen + int(b[at+3])*4; at > end {
			return 0, 0, nil, false
		}
	}
	if (critical != 0) != (b[1]&geneveCritical != 0) { // RFC 8926 3.4
		return 0, 0, nil, false
	}
	return network(b), binary.BigEndian.Uint16(b[2:]), b[end:], true
}
