package nfqueue

import (
	"encoding/binary"

	"github.com/sluicenet/sluice/core/packet"
)

// A reset of a redirected connection is made with the addresses that it has on lo, and address
// translation finds its sockets. Where the application has used its port for another destination lately it would
// find those of that connection, so that it is sent once more with the addresses that the application knows.

// redirects remembers where connections on lo were bound for, for resets; the worker's own.
type redirects struct {
	to  map[tuple]destination
	buf [packet.AnswerMax]byte
}

type destination struct {
	addr packet.Addr
	port uint16
}

// maxRedirects bounds what is remembered; refusals come right after the look-up.
const maxRedirects = 4096

// note remembers a connection by its answers' tuple on lo.
func (r *redirects) note(back *tuple, addr packet.Addr, port uint16) {
	if r.to == nil || len(r.to) >= maxRedirects {
		r.to = make(map[tuple]destination, 64)
	}
	r.to[*back] = destination{addr, port}
}

// known makes a reset on lo one between the addresses that the application knows; nil where it is none of a
// redirected connection.
func (r *redirects) known(ip []byte) []byte {
	t, l4, ok := tupleOf(ip)
	if !ok || l4[13]&byte(packet.RST) == 0 {
		return nil
	}
	out := packet.Reset{IPv6: t.v6, Src: t.src, Dst: t.dst, SrcPort: t.sport, DstPort: t.dport,
		Seq: binary.BigEndian.Uint32(l4[4:]), Ack: binary.BigEndian.Uint32(l4[8:]), WithAck: l4[13]&byte(packet.ACK) != 0}
	if d, ok := r.to[t]; ok { // to the application
		out.Src, out.SrcPort = d.addr, d.port
	} else if d, ok := r.to[t.back()]; ok { // to the sidecar
		out.Dst, out.DstPort = d.addr, d.port
	} else {
		return nil
	}
	return packet.BuildRST(r.buf[:], out)
}

// tupleOf reads a whole TCP packet without options of IP.
func tupleOf(ip []byte) (t tuple, l4 []byte, ok bool) {
	switch {
	case len(ip) >= 40 && ip[0] == 0x45 && ip[9] == packet.ProtoTCP:
		t.src, t.dst = packet.Addr{10: 0xff, 11: 0xff}, packet.Addr{10: 0xff, 11: 0xff}
		copy(t.src[12:], ip[12:16])
		copy(t.dst[12:], ip[16:20])
		l4 = ip[20:]
	case len(ip) >= 60 && ip[0]>>4 == 6 && ip[6] == packet.ProtoTCP:
		t.src, t.dst, t.v6 = packet.Addr(ip[8:24]), packet.Addr(ip[24:40]), true
		l4 = ip[40:]
	default:
		return t, nil, false
	}
	t.proto = packet.ProtoTCP
	t.sport, t.dport = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	return t, l4, true
}
