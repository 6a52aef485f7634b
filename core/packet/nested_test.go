package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

// carrier is one way to carry a packet in another: the outer frame around inner, and the kind of inner it takes.
type carrier struct {
	name  string
	proto layers.IPProtocol
	port  uint16 // UDP port where proto is UDP
	// header is what stands between the outer transport and the inner packet.
	header  func(inner []byte, v6 bool) []byte
	bridged bool // the inner packet begins with its Ethernet header
	only6   bool // carries IPv6 alone
}

func etherTypeOf(v6 bool) (a, b byte) {
	if v6 {
		return 0x86, 0xdd
	}
	return 8, 0
}

// plain is a header that does not depend on what it carries.
func plain(b ...byte) func([]byte, bool) []byte {
	return func([]byte, bool) []byte { return b }
}

// typed is a header with the EtherType of what it carries put in at offset at.
func typed(at int, b ...byte) func([]byte, bool) []byte {
	return func(_ []byte, v6 bool) []byte {
		h := bytes.Clone(b)
		h[at], h[at+1] = etherTypeOf(v6)
		return h
	}
}

func ppp(_ []byte, v6 bool) []byte {
	if v6 {
		return []byte{0x20, 1, 0x88, 0x0b, 0, 4, 0, 1, 0xff, 3, 0, 0x57}
	}
	return []byte{0x20, 1, 0x88, 0x0b, 0, 4, 0, 1, 0xff, 3, 0, 0x21}
}

var carriers = []carrier{
	{name: "GRE", proto: 47, header: typed(2, 0, 0, 0, 0)},
	{name: "GRE with checksum", proto: 47, header: typed(2, 0x80, 0, 0, 0, 1, 2, 0, 0)},
	{name: "GRE with key", proto: 47, header: typed(2, 0x20, 0, 0, 0, 1, 2, 3, 4)},
	{name: "GRE with key and sequence", proto: 47, header: typed(2, 0x30, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 9)},
	{name: "GRE with all", proto: 47, header: typed(2, 0xb0, 0, 0, 0, 1, 2, 0, 0, 1, 2, 3, 4, 0, 0, 0, 9)},
	{name: "GRE with Ethernet", proto: 47, header: plain(0, 0, 0x65, 0x58), bridged: true},
	{name: "GRE with MPLS", proto: 47, header: plain(0, 0, 0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64)},
	{name: "ERSPAN type I", proto: 47, header: plain(0, 0, 0x88, 0xbe), bridged: true},
	{name: "ERSPAN type II", proto: 47, header: plain(0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 1, 0, 0, 0, 0), bridged: true},
	{name: "ERSPAN type III", proto: 47, header: plain(0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0), bridged: true},
	{name: "ERSPAN type III with subheader", proto: 47,
		header: plain(0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0), bridged: true},
	{name: "PPTP", proto: 47, header: ppp},
	{name: "MPLS in IP", proto: 137, header: plain(0, 1, 1, 64)},
	{name: "EtherIP", proto: 97, header: plain(0x30, 0), bridged: true},
	{name: "VXLAN", proto: 17, port: 4789, header: plain(8, 0, 0, 0, 0, 0, 42, 0), bridged: true},
	{name: "Geneve with Ethernet", proto: 17, port: 6081, header: plain(0, 0, 0x65, 0x58, 0, 0, 42, 0), bridged: true},
	{name: "Geneve with IP and options", proto: 17, port: 6081, header: typed(2, 2, 0, 0, 0, 0, 0, 42, 0, 1, 2, 3, 1, 9, 9, 9, 9)},
	{name: "GTP-U", proto: 17, port: 2152, header: plain(0x30, 0xff, 0, 0, 0, 0, 0, 7)},
	{name: "GTP-U with sequence", proto: 17, port: 2152, header: plain(0x32, 0xff, 0, 0, 0, 0, 0, 7, 0, 1, 0, 0)},
	{name: "GTP-U with extension", proto: 17, port: 2152, header: plain(0x34, 0xff, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0x10, 9, 0)},
	{name: "GRE in UDP", proto: 17, port: 4754, header: typed(2, 0, 0, 0, 0)},
	{name: "Teredo", proto: 17, port: 3544, header: plain(), only6: true},
	{name: "Teredo with origin", proto: 17, port: 3544, header: plain(0, 0, 1, 2, 3, 4, 5, 6), only6: true},
	{name: "Teredo with authentication", proto: 17, port: 3544, header: plain(0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0), only6: true},
}

// link is how the inner packet begins.
func (c *carrier) link() packet.LinkType {
	if c.bridged {
		return packet.Ethernet
	}
	return packet.RawIP
}

// outer is the carrier's frame around inner, over either family.
func (c *carrier) outer(t testing.TB, over6 bool, inner []byte, v6 bool) []byte {
	t.Helper()
	load := append(c.header(inner, v6), inner...)
	if c.proto == layers.IPProtocolUDP {
		return udpFrame(t, over6, 50000, c.port, load)
	}
	ip, _, kind := network(over6, c.proto)
	return bytesOf(t, ether(kind), ip, gopacket.Payload(load))
}

// eachInner calls fn for every carrier, over both families, with both families inside.
func eachInner(t *testing.T, fn func(t *testing.T, c *carrier, frame, inner []byte)) {
	for i := range carriers {
		c := &carriers[i]
		for family := range 4 {
			over6, v6 := family&1 != 0, family&2 != 0
			if c.only6 && !v6 {
				continue
			}
			inner := tcpFrame(t, v6, "carried bytes")
			if !c.bridged {
				inner = inner[14:]
			}
			fn(t, c, c.outer(t, over6, inner, v6), inner)
		}
	}
}

// TestInnerIsExact: what comes out is what was put in, and decodes to the segment inside.
func TestInnerIsExact(t *testing.T) {
	eachInner(t, func(t *testing.T, c *carrier, frame, inner []byte) {
		p := decode(frame)
		got, link, ok := p.Inner()
		if !ok || link != c.link() || !bytes.Equal(got, inner) {
			t.Errorf("%s: got %x, link %d, %v; want %x", c.name, got, link, ok, inner)
			return
		}
		if q := decodeAs(got, len(got), link); q.Status != packet.OK || string(q.Payload) != "carried bytes" || q.DstPort != 443 {
			t.Errorf("%s: got inside %+v", c.name, q)
		}
	})
}

// TestInnerCutAtEveryByte: a tunnel that the capture cut gives what is there, or nothing; never more, never another packet.
func TestInnerCutAtEveryByte(t *testing.T) {
	eachInner(t, func(t *testing.T, c *carrier, frame, inner []byte) {
		for n := range frame {
			p := decodeAs(frame[:n:n], len(frame), packet.Ethernet)
			got, link, ok := p.Inner()
			if !ok {
				continue
			}
			if link == c.link() && !bytes.HasPrefix(inner, got) {
				t.Fatalf("%s cut at %d: got %x", c.name, n, got)
			}
			wire := len(got) + p.PayloadWire - len(p.Payload)
			if link == c.link() && wire != len(inner) {
				t.Fatalf("%s cut at %d: the wire length inside is %d, want %d", c.name, n, wire, len(inner))
			}
			if q := decodeAs(got, wire, link); q.Status == packet.Malformed && q.Reason != packet.CutShort {
				t.Fatalf("%s cut at %d: the sender inside is blamed: %s", c.name, n, q.Reason)
			}
		}
	})
}

// TestInnerRefuses: headers that are no tunnel's, or of an unknown version.
func TestInnerRefuses(t *testing.T) {
	ip := tcpFrame(t, false, "carried bytes")[14:]
	for _, c := range []struct {
		name   string
		proto  layers.IPProtocol
		port   uint16
		header []byte
	}{
		{"GRE with routing", 47, 0, []byte{0x40, 0, 8, 0}},
		{"GRE version 2", 47, 0, []byte{0, 2, 8, 0}},
		{"GRE of another protocol", 47, 0, []byte{0, 0, 0x88, 0xcc}},
		{"PPTP of another protocol", 47, 0, []byte{0x20, 1, 8, 0, 0, 4, 0, 1}},
		{"PPTP with LCP", 47, 0, []byte{0x20, 1, 0x88, 0x0b, 0, 4, 0, 1, 0xff, 3, 0xc0, 0x21}},
		{"EtherIP version 4", 97, 0, []byte{0x40, 0}},
		{"VXLAN without identifier", 17, 4789, []byte{0, 0, 0, 0, 0, 0, 42, 0}},
		{"Geneve version 1", 17, 6081, []byte{0x40, 0, 8, 0, 0, 0, 42, 0}},
		{"GTP-U version 2", 17, 2152, []byte{0x50, 0xff, 0, 0, 0, 0, 0, 7}},
		{"GTP prime", 17, 2152, []byte{0x20, 0xff, 0, 0, 0, 0, 0, 7}},
		{"GTP-U echo", 17, 2152, []byte{0x30, 1, 0, 0, 0, 0, 0, 7}},
		{"GTP-U extension of no length", 17, 2152, []byte{0x34, 0xff, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0x85, 0, 0, 0, 0}},
		{"Teredo with IPv4", 17, 3544, nil},
		{"UDP of another port", 17, 4790, []byte{8, 0, 0, 0, 0, 0, 42, 0}},
		{"a protocol that carries nothing", 132, 0, make([]byte, 12)},
	} {
		k := carrier{proto: c.proto, port: c.port, header: plain(c.header...)}
		if inner, _, ok := decode(k.outer(t, false, ip, false)).Inner(); ok {
			t.Errorf("%s: got %x", c.name, inner)
		}
	}
	frag := edit(udpFrame(t, false, 1, 4789, append([]byte{8, 0, 0, 0, 0, 0, 42, 0}, tcpFrame(t, false, "x")...)), 20, 0x20)
	if p := decode(frag); p.Status != packet.Fragment {
		t.Fatalf("got status %d", p.Status)
	} else if _, _, ok := p.Inner(); ok {
		t.Error("a fragment's tunnel was opened")
	}
}

// FuzzInner: whatever is inside, unpacking ends: each step is shorter than the one before.
func FuzzInner(f *testing.F) {
	for i := range carriers {
		f.Add(carriers[i].outer(f, i%2 == 0, tcpFrame(f, true, "carried bytes")[14:], true))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		link := packet.Ethernet
		for {
			inner, kind, ok := decodeAs(b, len(b), link).Inner()
			if !ok {
				return
			}
			if len(inner) >= len(b) {
				t.Fatalf("%d bytes inside %d", len(inner), len(b))
			}
			b, link = inner, kind
		}
	})
}

// FuzzAnswers: every packet that may be answered can be, with answers that decode and whose checksums are right.
func FuzzAnswers(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		f.Add(tcpFrame(f, v6, "hello"))
		f.Add(udpFrame(f, v6, 1, 2, []byte("hello")))
		f.Add(insert(tcpFrame(f, v6, "hello"), 12, 0x81, 0, 0, 5))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame := packet.Frame{Data: b, Wire: uint32(len(b))}
		var p packet.Packet
		p.Decode(&frame)
		link, ok := p.LinkHeader(&frame)
		if !ok {
			return
		}
		var buf [packet.AnswerMax]byte
		check := func(a []byte, proto uint8) {
			q := decode(a)
			if q.Status != packet.OK || q.Proto != proto || q.Src != p.Dst || q.Dst != p.Src || !packet.VerifyIPv4(q) || !packet.VerifyTransport(q) {
				t.Fatalf("to %x: got %x", b, a)
			}
		}
		if p.Status == packet.OK && p.Proto == packet.ProtoTCP {
			r := p.ResetBack()
			r.Link = link
			check(packet.BuildRST(buf[:], r), packet.ProtoTCP)
		}
		if p.MayAnswer() {
			u := packet.Unreachable{Link: link, Back: true, IPv6: p.IPv6, Src: p.Dst, Dst: p.Src, Quote: p.Network}
			a, proto := packet.BuildUnreachable(buf[:], u), uint8(packet.ProtoICMP)
			if p.IPv6 {
				proto = packet.ProtoICMPv6
			}
			check(a, proto)
			if binary.BigEndian.Uint16(a[12:]) != binary.BigEndian.Uint16(b[12:]) {
				t.Fatalf("the answer is of another type: %x", a[:14])
			}
		}
	})
}
