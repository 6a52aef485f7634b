package nfqueue

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/backends/conntrack"
	"github.com/sluicenet/sluice/core/packet"
)

// A reset of a redirected connection is built with its addresses on lo, and address
// translation finds its sockets. Where the application has recently used its port for another
// destination, translation would find those of that connection, so the reset is sent once
// more with the addresses that the application knows.

// redirects stores the original destinations of connections on lo, for resets; used by the
// worker only.
type redirects struct {
	to  map[conntrack.Tuple]destination
	buf [packet.AnswerMax]byte
}

type destination struct {
	addr packet.Addr
	port uint16
}

// maxRedirects bounds the entries; refusals follow the look-up immediately.
const maxRedirects = 4096

// add stores a connection by its replies' tuple on lo.
func (r *redirects) add(back *conntrack.Tuple, addr packet.Addr, port uint16) {
	if r.to == nil || len(r.to) >= maxRedirects {
		r.to = make(map[conntrack.Tuple]destination, 64)
	}
	r.to[*back] = destination{addr, port}
}

// known returns a reset on lo rewritten to the addresses that the application knows; nil
// where its connection is not redirected.
func (r *redirects) known(ip []byte) []byte {
	t, l4, ok := tupleOf(ip)
	if !ok || l4[13]&byte(packet.RST) == 0 {
		return nil
	}
	out := packet.Reset{IPv6: t.IPv6, Src: t.Src, Dst: t.Dst, SrcPort: t.SrcPort, DstPort: t.DstPort,
		Seq: binary.BigEndian.Uint32(l4[4:]), Ack: binary.BigEndian.Uint32(l4[8:]), WithAck: l4[13]&byte(packet.ACK) != 0}
	if d, ok := r.to[t]; ok { // to the application
		out.Src, out.SrcPort = d.addr, d.port
	} else if d, ok := r.to[t.Back()]; ok { // to the sidecar
		out.Dst, out.DstPort = d.addr, d.port
	} else {
		return nil
	}
	return packet.BuildRST(r.buf[:], out)
}

// tupleOf reads a complete TCP packet without IP options.
func tupleOf(ip []byte) (t conntrack.Tuple, l4 []byte, ok bool) {
	switch {
	case len(ip) >= 40 && ip[0] == 0x45 && ip[9] == packet.ProtoTCP:
		t.Src, t.Dst = packet.Addr{10: 0xff, 11: 0xff}, packet.Addr{10: 0xff, 11: 0xff}
		copy(t.Src[12:], ip[12:16])
		copy(t.Dst[12:], ip[16:20])
		l4 = ip[20:]
	case len(ip) >= 60 && ip[0]>>4 == 6 && ip[6] == packet.ProtoTCP:
		t.Src, t.Dst, t.IPv6 = packet.Addr(ip[8:24]), packet.Addr(ip[24:40]), true
		l4 = ip[40:]
	default:
		return t, nil, false
	}
	t.Proto = packet.ProtoTCP
	t.SrcPort, t.DstPort = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	return t, l4, true
}
