package packet_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

// slow implements RFC 1071 literally.
func slow(b []byte, sum uint32) uint16 {
	for i, v := range b {
		if i%2 == 0 {
			sum += uint32(v) << 8
		} else {
			sum += uint32(v)
		}
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum>>16 + sum&0xffff)
}

func TestChecksum(t *testing.T) {
	data := make([]byte, 200)
	for i := range data {
		data[i] = byte(i*131 + 255)
	}
	copy(data[50:], bytes.Repeat([]byte{0xff}, 70))
	for n := range data {
		for _, initial := range []uint32{0, 1, 0xffff, 0x12345678, 0xffffffff} {
			want := slow(data[:n], initial>>16+initial&0xffff)
			if got := packet.Checksum(data[:n], initial); got != want && got^want != 0xffff {
				t.Fatalf("%d bytes, initial %x: got %x, want %x", n, initial, got, want)
			}
		}
	}
}

func TestVerify(t *testing.T) {
	icmp := bytesOf(t, ether(0x0800), ipv4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7}, gopacket.Payload("ping"))
	h := ipv6(58)
	head6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)}
	_ = head6.SetNetworkLayerForChecksum(h)
	icmp6 := bytesOf(t, ether(0x86dd), h, head6, gopacket.Payload("\x00\x01\x00\x02ping"))
	for _, c := range []struct {
		name  string
		frame []byte
		field int
	}{
		{"tcp", tcpFrame(t, false, "odd"), 34 + 16},
		{"tcp v6", tcpFrame(t, true, "odd"), 54 + 16},
		{"udp", udpFrame(t, false, 1, 2, []byte("odd")), 34 + 6},
		{"udp v6", udpFrame(t, true, 1, 2, []byte("odd")), 54 + 6},
		{"icmp", icmp, 36},
		{"icmpv6", icmp6, 56},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := decode(c.frame)
			if !packet.VerifyTransport(p) || !packet.VerifyIPv4(p) {
				t.Errorf("a correct checksum was rejected")
			}
			if packet.LooksOffloaded(p) {
				t.Error("a correct checksum was taken for an offloaded one")
			}
			if packet.VerifyTransport(decode(edit(c.frame, c.field, int(c.frame[c.field])^0x10))) {
				t.Error("a wrong checksum was accepted")
			}
			if !p.IPv6 && packet.VerifyIPv4(decode(edit(c.frame, 24, 0))) {
				t.Error("a wrong IPv4 checksum was accepted")
			}
			if p.Proto == packet.ProtoICMP || p.Proto == packet.ProtoICMPv6 {
				return
			}
			part := ^packet.Checksum(nil, packet.PseudoSum(&p.Src, &p.Dst, p.Proto, len(p.Network)-p.IPHeader))
			b := edit(c.frame, c.field, int(part>>8), c.field+1, int(part&255))
			if p = decode(b); !packet.LooksOffloaded(p) || packet.VerifyTransport(p) {
				t.Error("a checksum left to the interface was not recognised")
			}
		})
	}
	if !packet.VerifyTransport(decode(edit(udpFrame(t, false, 1, 2, nil), 40, 0, 41, 0))) {
		t.Error("UDP without checksum over IPv4 was rejected")
	}
	if packet.VerifyTransport(decode(edit(udpFrame(t, true, 1, 2, nil), 60, 0, 61, 0))) {
		t.Error("UDP without checksum over IPv6 was accepted")
	}
}

// layersOf decodes an answer with an independent decoder, which must report no error.
func layersOf(t *testing.T, b []byte) gopacket.Packet {
	t.Helper()
	g := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if e := g.ErrorLayer(); e != nil {
		t.Fatal(e.Error())
	}
	if p := decode(b); p.Status != packet.OK || !packet.VerifyIPv4(p) || !packet.VerifyTransport(p) {
		t.Fatalf("got %+v, checksums %v %v", p, packet.VerifyIPv4(p), packet.VerifyTransport(p))
	}
	return g
}

func TestBuildRST(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		frame := insert(tcpFrame(t, v6, "hello"), 12, 0x81, 0, 0x60, 5)
		f := &packet.Frame{Data: frame}
		p := new(packet.Packet)
		p.Decode(f)
		link, ok := p.LinkHeader(f)
		if !ok || len(link) != 18 {
			t.Fatalf("got link header %x, %v", link, ok)
		}
		back, onward := p.ResetBack(), p.ResetOnward()
		back.Link, onward.Link = link, link
		var buf [packet.AnswerMax]byte
		g := layersOf(t, packet.BuildRST(buf[:], back))
		eth, tcp := g.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), g.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !bytes.Equal(eth.SrcMAC, macB) || !bytes.Equal(eth.DstMAC, macA) {
			t.Errorf("back: got %s > %s", eth.SrcMAC, eth.DstMAC)
		}
		if tag := g.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); tag.VLANIdentifier != 5 || tag.Priority != 3 {
			t.Errorf("got tag %+v", tag)
		}
		if !tcp.RST || tcp.ACK || tcp.Seq != 200 || tcp.SrcPort != 443 || tcp.DstPort != 40000 {
			t.Errorf("back: got %+v", tcp)
		}
		if q := decode(packet.BuildRST(buf[:], back)); q.Src != p.Dst || q.Dst != p.Src || q.TTL != 64 {
			t.Errorf("back: got %v > %v ttl %d", q.Src.Netip(), q.Dst.Netip(), q.TTL)
		}
		g = layersOf(t, packet.BuildRST(buf[:], onward))
		eth, tcp = g.Layer(layers.LayerTypeEthernet).(*layers.Ethernet), g.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !bytes.Equal(eth.SrcMAC, macA) || !tcp.ACK || tcp.Seq != 100 || tcp.Ack != 200 || tcp.SrcPort != 40000 {
			t.Errorf("onward: got %s %+v", eth.SrcMAC, tcp)
		}
		if packet.BuildRST(buf[:len(link)+39], back) != nil && packet.BuildRST(make([]byte, 20), back) != nil {
			t.Error("a buffer that is too small was written to")
		}
	}
}

func TestResetBackToSYN(t *testing.T) {
	ip := ipv4(6)
	syn := tcpSYN()
	_ = syn.SetNetworkLayerForChecksum(ip)
	p := decode(bytesOf(t, ether(0x0800), ip, syn, gopacket.Payload("fast")))
	want := packet.Reset{Back: true, Src: p.Dst, Dst: p.Src, SrcPort: 443, DstPort: 40000, Ack: 7 + 4 + 1, WithAck: true}
	if diff := cmp.Diff(p.ResetBack(), want); diff != "" {
		t.Error(diff)
	}
}

func TestBuildUnreachable(t *testing.T) {
	for _, c := range []struct {
		name string
		v6   bool
		n    int
		want int
	}{
		{"v4 small", false, 10, 28 + 38},
		{"v4 large", false, 1400, 576},
		{"v6 small", true, 10, 48 + 58},
		{"v6 large", true, 1400, 1280},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &packet.Frame{Data: udpFrame(t, c.v6, 5000, 6000, make([]byte, c.n))}
			p := new(packet.Packet)
			p.Decode(f)
			link, _ := p.LinkHeader(f)
			var buf [packet.AnswerMax]byte
			b := packet.BuildUnreachable(buf[:], packet.Unreachable{Link: link, Back: true, IPv6: c.v6, Src: p.Dst, Dst: p.Src, Quote: p.Network})
			layersOf(t, b)
			q := decode(b)
			if len(q.Network) != c.want || !bytes.HasPrefix(p.Network, q.Embedded) {
				t.Errorf("got %d bytes, want %d", len(q.Network), c.want)
			}
			kind := uint16(3)<<8 | 13
			if c.v6 {
				kind = 1<<8 | 1
			}
			if got := binary.BigEndian.Uint16([]byte{q.ICMPType, q.ICMPCode}); got != kind {
				t.Errorf("got type and code %x, want %x", got, kind)
			}
			if !p.MayAnswer() || q.MayAnswer() {
				t.Errorf("may answer: got %v and, for the error, %v", p.MayAnswer(), q.MayAnswer())
			}
			if packet.BuildUnreachable(make([]byte, 40), packet.Unreachable{Quote: p.Network}) != nil {
				t.Error("a buffer that is too small was written to")
			}
		})
	}
}

func TestLinkHeaderAndMayAnswer(t *testing.T) {
	frame := tcpFrame(t, false, "x")
	mpls := insert(edit(frame, 12, 0x88, 13, 0x47), 14, 0, 1, 1, 64)
	arp := edit(frame, 13, 6)
	for name, b := range map[string][]byte{"mpls": mpls, "arp": arp} {
		if h, ok := decode(b).LinkHeader(&packet.Frame{Data: b}); ok {
			t.Errorf("%s: got %x, want none", name, h)
		}
	}
	raw := &packet.Frame{Data: frame[14:], Link: packet.RawIP}
	p := new(packet.Packet)
	p.Decode(raw)
	if h, ok := p.LinkHeader(raw); !ok || h != nil {
		t.Errorf("raw IP: got %x, %v", h, ok)
	}
	for name, b := range map[string][]byte{
		"group":                 edit(frame, 30, 224),
		"everyone":              edit(frame, 30, 255, 31, 255, 32, 255, 33, 255),
		"from nobody":           edit(frame, 26, 0, 27, 0, 28, 0, 29, 0),
		"Ethernet group":        edit(frame, 0, 1),
		"later fragment":        edit(frame, 21, 3),
		"v6 multicast":          edit(tcpFrame(t, true, "x"), 38, 0xff),
		"v6 unspecified source": edit(tcpFrame(t, true, "x"), 22, 0, 23, 0, 24, 0, 25, 0, 37, 0),
	} {
		if decode(b).MayAnswer() {
			t.Errorf("%s: an answer is allowed", name)
		}
	}
}
