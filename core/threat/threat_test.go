package threat_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/threat"
)

const (
	fin, syn, rst, psh, ack, urg, ece, cwr = packet.FIN, packet.SYN, packet.RST, packet.PSH, packet.ACK, packet.URG, packet.ECE, packet.CWR
)

// header is what a case says of a packet; addresses are IPv4 unless they are written as IPv6.
type header struct {
	src, dst         string
	srcPort, dstPort uint16
	proto, flags     uint8
	mss              uint16
	payload          int
	fastOpen         bool
	sourceRoute      bool
}

func (h header) packet() *packet.Packet {
	src, dst := netip.MustParseAddr(h.src), netip.MustParseAddr(h.dst)
	return &packet.Packet{IPv6: src.Is6(), Src: packet.AddrFrom(src), Dst: packet.AddrFrom(dst), SrcPort: h.srcPort, DstPort: h.dstPort,
		Proto: h.proto, Flags: h.flags, MSS: h.mss, PayloadWire: h.payload, FastOpen: h.fastOpen, SourceRoute: h.sourceRoute}
}

// both calls fn with every case's addresses in either family.
func both(fn func(a, b, lo string)) {
	fn("10.0.0.1", "10.0.0.2", "127.0.0.1")
	fn("2001:db8::1", "2001:db8::2", "::1")
}

// TestFlags: all 256 flag bytes. What is no threat is what RFC 9293 3.10.7 has stacks send: SYN, SYN+ACK, RST, RST+ACK and
// everything with ACK and neither SYN nor RST; PSH, URG, ECE and CWR change nothing of it.
func TestFlags(t *testing.T) {
	both(func(a, b, _ string) {
		for f := range 256 {
			f := uint8(f)
			id, text := threat.Header(header{src: a, dst: b, srcPort: 40000, dstPort: 80, proto: packet.ProtoTCP, flags: f}.packet())
			legal := false
			switch f & (fin | syn | rst | ack) {
			case syn, syn | ack, rst, rst | ack, ack, ack | fin, rst | fin, rst | ack | fin:
				legal = true
			case 0:
				legal = f&(psh|urg) != 0 // a segment without ACK, which the tracker drops; no scan is known by it
			}
			want := threat.BadPacket
			if legal {
				want = 0
			}
			if id != want || (text == "") != legal {
				t.Errorf("flags %08b: got %d %q, want %d", f, id, text, want)
			}
		}
	})
}

func TestHeaderThreats(t *testing.T) {
	both(func(a, b, lo string) {
		for _, c := range []struct {
			name string
			h    header
			want uint16
		}{
			{"ordinary SYN", header{flags: syn, mss: 1460}, 0},
			{"SYN of explicit congestion notification", header{flags: syn | ece | cwr, mss: 1460}, 0},
			{"SYN without MSS", header{flags: syn}, 0},
			{"MSS of 256", header{flags: syn, mss: 256}, 0},
			{"MSS of 255", header{flags: syn, mss: 255}, threat.SmallMSS},
			{"MSS of 1", header{flags: syn, mss: 1}, threat.SmallMSS},
			{"small MSS in the answer", header{flags: syn | ack, mss: 100}, threat.SmallMSS},
			{"MSS of a segment that is no SYN", header{flags: ack, mss: 100}, 0},
			{"SYN with data", header{flags: syn, mss: 1460, payload: 1}, threat.SYNData},
			{"SYN with data, fast open", header{flags: syn, mss: 1460, payload: 100, fastOpen: true}, 0},
			{"SYN+ACK with data", header{flags: syn | ack, mss: 1460, payload: 100}, 0},
			{"data", header{flags: ack | psh, payload: 100}, 0},
			{"null scan", header{flags: 0}, threat.BadPacket},
			{"null scan with data", header{flags: 0, payload: 5}, threat.BadPacket},
			{"null scan with congestion bits", header{flags: ece | cwr}, threat.BadPacket},
			{"Xmas scan", header{flags: fin | psh | urg}, threat.BadPacket},
			{"FIN scan", header{flags: fin}, threat.BadPacket},
			{"SYN with FIN", header{flags: syn | fin}, threat.BadPacket},
			{"SYN with FIN and ACK", header{flags: syn | fin | ack}, threat.BadPacket},
			{"SYN with RST", header{flags: syn | rst}, threat.BadPacket},
			{"everything", header{flags: fin | syn | rst | psh | ack | urg}, threat.BadPacket},
			{"source route", header{flags: ack, sourceRoute: true}, threat.BadPacket},
		} {
			h := c.h
			h.src, h.dst, h.srcPort, h.dstPort, h.proto = a, b, 40000, 80, packet.ProtoTCP
			if id, text := threat.Header(h.packet()); id != c.want {
				t.Errorf("%s from %s: got %d %q, want %d", c.name, a, id, text, c.want)
			}
			h.src, h.dst = lo, lo
			if id, text := threat.Header(h.packet()); id != c.want {
				t.Errorf("%s on loopback: got %d %q, want %d", c.name, id, text, c.want)
			}
		}
	})
}

// TestLand: a packet from the very socket it goes to is one, but on loopback, where a program may talk to itself, and of protocols
// without ports.
func TestLand(t *testing.T) {
	both(func(a, b, lo string) {
		for _, c := range []struct {
			name     string
			src, dst string
			from, to uint16
			proto    uint8
			flags    uint8
			want     uint16
		}{
			{"TCP", a, a, 80, 80, packet.ProtoTCP, syn, threat.BadPacket},
			{"TCP answer", a, a, 80, 80, packet.ProtoTCP, syn | ack, threat.BadPacket},
			{"TCP in a connection", a, a, 80, 80, packet.ProtoTCP, ack, 0},
			{"TCP, other ports", a, a, 40000, 80, packet.ProtoTCP, syn, 0},
			{"TCP, other addresses", a, b, 80, 80, packet.ProtoTCP, syn, 0},
			{"TCP on loopback", lo, lo, 80, 80, packet.ProtoTCP, syn, 0},
			{"UDP", a, a, 53, 53, packet.ProtoUDP, 0, threat.BadPacket},
			{"UDP, other ports", a, a, 53, 54, packet.ProtoUDP, 0, 0},
			{"UDP, other addresses", a, b, 53, 53, packet.ProtoUDP, 0, 0},
			{"UDP on loopback", lo, lo, 53, 53, packet.ProtoUDP, 0, 0},
			{"ICMP", a, a, 0, 0, packet.ProtoICMP, 0, 0},
			{"SCTP", a, a, 9, 9, packet.ProtoSCTP, 0, 0},
		} {
			h := header{src: c.src, dst: c.dst, srcPort: c.from, dstPort: c.to, proto: c.proto, flags: c.flags}
			if id, text := threat.Header(h.packet()); id != c.want || id != 0 && text != "land" {
				t.Errorf("%s %s: got %d %q, want %d", c.name, c.src, id, text, c.want)
			}
		}
	})
}

// TestLoopbackNets: the whole of 127.0.0.0/8 is loopback, of IPv6 ::1 alone (RFC 4291 2.5.3).
func TestLoopbackNets(t *testing.T) {
	for address, land := range map[string]bool{
		"127.0.0.1": false, "127.255.255.254": false, "126.255.255.255": true, "128.0.0.1": true,
		"::1": false, "::2": true, "::1:1": true, "1::1": true, "fe80::1": true,
	} {
		h := header{src: address, dst: address, srcPort: 7, dstPort: 7, proto: packet.ProtoUDP}
		if id, _ := threat.Header(h.packet()); (id != 0) != land {
			t.Errorf("%s: got %d, land %v", address, id, land)
		}
	}
}

// TestSourceRouteOnTheWire: from bytes: IPv4's LSRR and SSRR, IPv6's routing header of type 0 (RFC 5095), and what only looks like them.
func TestSourceRouteOnTheWire(t *testing.T) {
	v4 := func(options ...byte) []byte {
		b := make([]byte, 20+len(options)+8)
		b[0], b[8], b[9] = byte(0x40|(20+len(options))/4), 64, packet.ProtoUDP
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		copy(b[12:], "\x0a\x00\x00\x01\x0a\x00\x00\x02")
		copy(b[20:], options)
		u := b[20+len(options):]
		u[1], u[3], u[5] = 7, 8, 8
		return b
	}
	v6 := func(first byte, headers ...byte) []byte {
		b := make([]byte, 40+len(headers)+8)
		b[0], b[6], b[7] = 0x60, first, 64
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		b[8], b[23], b[24], b[39] = 0x20, 1, 0x20, 2
		copy(b[40:], headers)
		u := b[40+len(headers):]
		u[1], u[3], u[5] = 7, 8, 8
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want bool
	}{
		{"no options", v4(), false},
		{"loose", v4(131, 7, 4, 10, 0, 0, 9, 0), true},
		{"strict", v4(137, 7, 4, 10, 0, 0, 9, 0), true},
		{"behind padding", v4(1, 131, 7, 4, 10, 0, 0, 9), true},
		{"behind a timestamp", v4(68, 4, 5, 0, 131, 7, 4, 10, 0, 0, 9, 0), true},
		{"record route", v4(7, 7, 4, 0, 0, 0, 0, 0), false},
		{"behind the end of options", v4(0, 131, 7, 4, 10, 0, 0, 9), false},
		{"as another option's data", v4(148, 4, 131, 7), false},
		{"IPv6, no headers", v6(packet.ProtoUDP), false},
		{"IPv6, type 0", v6(43, packet.ProtoUDP, 2, 0, 1, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9), true},
		{"IPv6, type 2", v6(43, packet.ProtoUDP, 2, 2, 1, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9), false},
		{"IPv6, segment routing", v6(43, packet.ProtoUDP, 2, 4, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9), false},
		{"IPv6, options only", v6(60, packet.ProtoUDP, 0, 1, 4, 0, 0, 0, 0), false},
	} {
		var p packet.Packet
		p.Decode(&packet.Frame{Data: c.b, Wire: uint32(len(c.b)), Link: packet.RawIP})
		if p.Status != packet.OK || p.DstPort != 8 {
			t.Fatalf("%s: the case is not read: %d %s", c.name, p.Status, p.Reason)
		}
		if id, text := threat.Header(&p); (id == threat.BadPacket && text == "source route") != c.want || !c.want && id != 0 {
			t.Errorf("%s: got %d %q, want %v", c.name, id, text, c.want)
		}
	}
}

// TestHeaderAllocatesNothing: it is called for every packet.
func TestHeaderAllocatesNothing(t *testing.T) {
	p := header{src: "10.0.0.1", dst: "10.0.0.1", srcPort: 7, dstPort: 7, proto: packet.ProtoTCP, flags: syn}.packet()
	if n := testing.AllocsPerRun(100, func() { threat.Header(p) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}
