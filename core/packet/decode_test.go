package packet_test

import (
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

func TestDecodeTransports(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		name, src, dst, head := "ipv4", src4, dst4, 20
		if v6 {
			name, src, dst, head = "ipv6", src6, dst6, 40
		}
		t.Run(name, func(t *testing.T) {
			p := decode(append(tcpFrame(t, v6, "hello"), 0, 0, 0)) // with padding
			if p.Status != packet.OK || p.IPv6 != v6 || p.Src.Netip() != src || p.Dst.Netip() != dst || p.TTL != 61 {
				t.Fatalf("got %+v", p)
			}
			if p.IPHeader != head || p.L3 != 14 || len(p.Network) != head+25 || p.Proto != packet.ProtoTCP {
				t.Errorf("got header %d at %d, network %d, proto %d", p.IPHeader, p.L3, len(p.Network), p.Proto)
			}
			if string(p.Payload) != "hello" || p.PayloadWire != 5 || p.SrcPort != 40000 || p.DstPort != 443 {
				t.Errorf("got payload %q of %d, ports %d %d", p.Payload, p.PayloadWire, p.SrcPort, p.DstPort)
			}
			if p.Seq != 100 || p.Ack != 200 || p.Flags != packet.ACK|packet.PSH || p.Window != 502 {
				t.Errorf("got seq %d ack %d flags %x window %d", p.Seq, p.Ack, p.Flags, p.Window)
			}
			if p.SrcMAC != [6]byte(macA) || p.DstMAC != [6]byte(macB) {
				t.Errorf("got MACs %x %x", p.SrcMAC, p.DstMAC)
			}
			if p = decode(udpFrame(t, v6, 53, 5353, []byte("abc"))); p.Status != packet.OK || string(p.Payload) != "abc" || p.SrcPort != 53 || p.DstPort != 5353 {
				t.Errorf("udp: got %+v", p)
			}
			ip, net, kind := network(v6, layers.IPProtocolTCP)
			syn := tcpSYN()
			_ = syn.SetNetworkLayerForChecksum(net)
			if p = decode(bytesOf(t, ether(kind), ip, syn)); p.MSS != 1460 || !p.HasWScale || p.WScale != 7 || !p.FastOpen || p.Flags != packet.SYN {
				t.Errorf("syn: got %+v", p)
			}
			ip, _, kind = network(v6, layers.IPProtocolSCTP)
			if p = decode(bytesOf(t, ether(kind), ip, &layers.SCTP{SrcPort: 9, DstPort: 36412}, gopacket.Payload("chunk"))); p.SrcPort != 9 || p.DstPort != 36412 || string(p.Payload[:5]) != "chunk" {
				t.Errorf("sctp: got %+v", p)
			}
			ip, _, kind = network(v6, 103)
			if p = decode(bytesOf(t, ether(kind), ip, gopacket.Payload("pim"))); p.Status != packet.OK || p.Proto != 103 || p.SrcPort != 0 || string(p.Payload) != "pim" {
				t.Errorf("pim: got %+v", p)
			}
		})
	}
}

func TestDecodeICMP(t *testing.T) {
	quoted4 := tcpFrame(t, false, "")[14:42]
	quoted6 := tcpFrame(t, true, "")[14:62]
	echo4 := bytesOf(t, ether(0x0800), ipv4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 77, Seq: 1}, gopacket.Payload("ping"))
	err4 := bytesOf(t, ether(0x0800), ipv4(1), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 1)}, gopacket.Payload(quoted4))
	echo6 := bytesOf(t, ether(0x86dd), ipv6(58), gopacket.Payload("\x81\x00\x00\x00\x00\x4d\x00\x01ping"))
	err6 := bytesOf(t, ether(0x86dd), ipv6(58), gopacket.Payload(append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, quoted6...)))
	wrong := bytesOf(t, ether(0x86dd), ipv6(1), gopacket.Payload("\x08\x00\x00\x00\x00\x4d\x00\x01ping"))
	for _, c := range []struct {
		name      string
		frame     []byte
		kind      uint8
		id        uint16
		embedded  int
		wantPorts bool
	}{
		{"echo", echo4, 8, 77, 0, false},
		{"echo v6", echo6, 129, 77, 0, false},
		{"unreachable", err4, 3, 0, len(quoted4), true},
		{"unreachable v6", err6, 1, 0, len(quoted6), true},
		{"icmp in the other family", wrong, 0, 0, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := decode(c.frame)
			if p.Status != packet.OK || p.ICMPType != c.kind || p.SrcPort != c.id || p.DstPort != 0 || len(p.Embedded) != c.embedded {
				t.Fatalf("got %+v", p)
			}
			if !c.wantPorts {
				return
			}
			var q packet.Packet
			if !q.DecodeQuoted(p.Embedded) || q.SrcPort != 40000 || q.DstPort != 443 || q.Seq != 100 || q.Src != packet.AddrFrom(p.Src.Netip()) {
				t.Errorf("quoted: got %+v", q)
			}
		})
	}
}

func TestDecodeLink(t *testing.T) {
	frame := tcpFrame(t, false, "x")
	frame6 := tcpFrame(t, true, "x")
	ip, ip6 := frame[14:], frame6[14:]
	macs := frame[:12:12]
	with := func(kind string, rest []byte) []byte { return append(append(macs, kind...), rest...) }
	for _, c := range []struct {
		name   string
		frame  []byte
		status packet.Status
		vlan   uint16
		l3     int
	}{
		{"untagged", frame, packet.OK, 0, 14},
		{"802.1Q", with("\x81\x00\x20\x05\x08\x00", ip), packet.OK, 5, 18},
		{"802.1ad", with("\x88\xa8\x00\x06\x81\x00\x00\x07\x86\xdd", ip6), packet.OK, 7, 22},
		{"four tags", with("\x91\x00\x00\x01\x92\x00\x00\x02\x88\xa8\x00\x03\x81\x00\x00\x04\x08\x00", ip), packet.OK, 4, 30},
		{"eight tags", with(strings.Repeat("\x81\x00\x00\x00", 8)+"\x08\x00", ip), packet.OK, 0, 46},
		{"nine tags", with(strings.Repeat("\x81\x00\x00\x01", 9)+"\x08\x00", ip), packet.Malformed, 1, 0},
		{"cut tag", with("\x81\x00\x20", nil), packet.Malformed, 0, 0},
		{"PPPoE session", with("\x88\x64\x11\x00\x00\x01\x00\x2b\x00\x21", ip), packet.OK, 0, 22},
		{"PPPoE v6, compressed", with("\x88\x64\x11\x00\x00\x01\x00\x2b\x57", ip6), packet.OK, 0, 21},
		{"PPPoE LCP", with("\x88\x64\x11\x00\x00\x01\x00\x04\xc0\x21", ip), packet.NotIP, 0, 0},
		{"PPPoE cut", with("\x88\x64\x11\x00\x00", nil), packet.Malformed, 0, 0},
		{"MPLS", with("\x88\x47\x00\x01\x01\x40", ip), packet.OK, 0, 18},
		{"MPLS two labels v6", with("\x88\x48\x00\x01\x00\x40\x00\x02\x01\x40", ip6), packet.OK, 0, 22},
		{"MPLS pseudo-wire", with("\x88\x47\x00\x01\x01\x40", []byte{0, 0, 0, 0}), packet.NotIP, 0, 0},
		{"MPLS without end", with("\x88\x47", make([]byte, 80)), packet.Malformed, 0, 0},
		{"SNAP", with("\x00\x31\xaa\xaa\x03\x00\x00\x00\x08\x00", ip), packet.OK, 0, 22},
		{"SNAP in VLAN", with("\x81\x00\x00\x09\x00\x31\xaa\xaa\x03\x00\x00\x00\x86\xdd", ip6), packet.OK, 9, 26},
		{"LLC, spanning tree", with("\x00\x26\x42\x42\x03", make([]byte, 40)), packet.NotIP, 0, 14},
		{"ARP", with("\x08\x06", make([]byte, 28)), packet.NotIP, 0, 14},
		{"cut Ethernet header", frame[:9], packet.Malformed, 0, 0},
		{"nothing", nil, packet.Malformed, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := decode(c.frame)
			if p.Status != c.status || p.VLAN != c.vlan || p.L3 != c.l3 {
				t.Errorf("got status %d (%s) vlan %d at %d, want %d %d at %d", p.Status, p.Reason, p.VLAN, p.L3, c.status, c.vlan, c.l3)
			}
			if (p.Reason != "") != (c.status == packet.Malformed) {
				t.Errorf("got reason %q", p.Reason)
			}
		})
	}
	p := new(packet.Packet)
	p.Decode(&packet.Frame{Data: frame, Flags: packet.VLANStripped, VLAN: 0x2005})
	if p.VLAN != 5 {
		t.Errorf("stripped tag: got VLAN %d, want 5", p.VLAN)
	}
	for _, b := range [][]byte{ip, ip6} {
		if p.Decode(&packet.Frame{Data: b, Link: packet.RawIP}); p.Status != packet.OK || p.L3 != 0 {
			t.Errorf("raw IP: got %+v", p)
		}
	}
}

func TestDecodeLengths(t *testing.T) {
	tcp, udp := tcpFrame(t, false, "hello"), udpFrame(t, false, 1, 2, []byte("hello"))
	tcp6, udp6 := tcpFrame(t, true, "hello"), udpFrame(t, true, 1, 2, []byte("hello"))
	big := append(append([]byte(nil), tcp...), make([]byte, 70000)...)
	for _, c := range []struct {
		name    string
		frame   []byte
		wire    int // beyond the frame
		flags   packet.Flags
		reason  packet.Reason
		payload int
		onWire  int
	}{
		{"version 5", edit(tcp, 14, 0x55), 0, 0, packet.BadIPVersion, 0, 0},
		{"version 4 as v6", edit(tcp6, 14, 0x40), 0, 0, packet.BadIPVersion, 0, 0},
		{"IHL 4", edit(tcp, 14, 0x44), 0, 0, packet.BadIHL, 0, 0},
		{"IHL over the end", edit(tcp, 14, 0x4f), 0, 0, packet.BadIHL, 0, 0},
		{"total length too long", edit(tcp, 16, 9), 0, 0, packet.BadTotalLength, 0, 0},
		{"total length 10", edit(tcp, 16, 0, 17, 10), 0, 0, packet.BadTotalLength, 0, 0},
		{"total length 0", edit(tcp, 16, 0, 17, 0), 0, 0, packet.BadTotalLength, 0, 0},
		{"total length 0, offload", edit(tcp, 16, 0, 17, 0), 0, packet.GSO, "", 6, 6},
		{"total length 0, 70 KB", edit(big, 16, 0, 17, 0), 0, 0, "", 70006, 70006},
		{"cut capture", tcp[:56], 3, packet.Truncated, "", 2, 5},
		{"cut inside TCP", tcp[:46], 13, packet.Truncated, packet.CutShort, 0, 0},
		{"cut inside IP", tcp[:30], 29, packet.Truncated, packet.CutShort, 0, 0},
		{"frame without its IP", tcp[:30], 0, 0, packet.ShortIP, 0, 0},
		{"v6 payload length too long", edit(tcp6, 18, 9), 0, 0, packet.BadPayloadLength, 0, 0},
		{"v6 payload length 0", edit(tcp6, 18, 0, 19, 0), 0, 0, packet.ShortTCP, 0, 0},
		{"v6 payload length 0, offload", edit(tcp6, 18, 0, 19, 0), 0, packet.GSO, "", 5, 5},
		{"v6 no next header", edit(tcp6, 20, 59), 0, 0, "", 25, 25},
		{"TCP offset 4", edit(tcp, 46, 0x40), 0, 0, packet.BadTCPOffset, 0, 0},
		{"TCP offset over the end", edit(tcp, 46, 0xf0), 0, 0, packet.BadTCPOffset, 0, 0},
		{"TCP in 19 bytes", edit(tcp, 17, 39), 0, 0, packet.ShortTCP, 0, 0},
		{"UDP length 7", edit(udp, 39, 7), 0, 0, packet.BadUDPLength, 0, 0},
		{"UDP length too long", edit(udp, 38, 1), 0, 0, packet.BadUDPLength, 0, 0},
		{"UDP length shorter than IP's", edit(udp, 39, 10), 0, 0, "", 2, 2},
		{"UDP length 0", edit(udp, 39, 0), 0, 0, packet.BadUDPLength, 0, 0},
		{"UDP length 0, offload", edit(udp6, 59, 0), 0, packet.GSO, "", 5, 5},
		{"UDP in 7 bytes", edit(udp, 17, 27), 0, 0, packet.ShortUDP, 0, 0},
		{"ICMP in 7 bytes", edit(udp, 17, 27, 23, 1), 0, 0, packet.ShortICMP, 0, 0},
		{"SCTP in 11 bytes", edit(udp, 17, 31, 23, 132), 0, 0, packet.ShortSCTP, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p packet.Packet
			p.Decode(&packet.Frame{Data: c.frame, Wire: uint32(len(c.frame) + c.wire), Flags: c.flags})
			if p.Reason != c.reason || (p.Status == packet.OK) != (c.reason == "") {
				t.Fatalf("got status %d reason %q, want %q", p.Status, p.Reason, c.reason)
			}
			if len(p.Payload) != c.payload || p.PayloadWire != c.onWire {
				t.Errorf("got payload %d of %d, want %d of %d", len(p.Payload), p.PayloadWire, c.payload, c.onWire)
			}
		})
	}
}

func TestDecodeIPv6Extensions(t *testing.T) {
	tcp := tcpFrame(t, true, "hello")
	eight := func(next byte, rest ...byte) []byte {
		return append([]byte{next, 0}, append(rest, 0, 0, 0, 0, 0, 0)[:6]...)
	}
	cat := func(bs ...[]byte) (out []byte) {
		for _, b := range bs {
			out = append(out, b...)
		}
		return out
	}
	many := make([]byte, 0, 13*8)
	for range 12 {
		many = append(many, eight(60)...)
	}
	jumbo := append(withExtensions(tcp, 0, 6, 0, 0xc2, 4, 0, 1, 0, 0), make([]byte, 0x10000-33)...)
	jumbo[18], jumbo[19] = 0, 0
	for _, c := range []struct {
		name    string
		frame   []byte
		status  packet.Status
		reason  packet.Reason
		header  int
		payload int
	}{
		{"hop by hop", withExtensions(tcp, 0, eight(6)...), packet.OK, "", 48, 5},
		{"all of them", withExtensions(tcp, 0, cat(eight(60), eight(43), eight(135), eight(139), eight(140), eight(51),
			[]byte{6, 1}, make([]byte, 10))...), packet.OK, "", 100, 5},
		{"AH", withExtensions(tcp, 51, cat([]byte{6, 4}, make([]byte, 22))...), packet.OK, "", 64, 5},
		{"atomic fragment", withExtensions(tcp, 44, 6, 0, 0, 0, 1, 2, 3, 4), packet.OK, "", 48, 5},
		{"first fragment", withExtensions(tcp, 44, 6, 0, 0, 1, 1, 2, 3, 4), packet.Fragment, "", 48, 5},
		{"first fragment, then options", withExtensions(tcp, 44, cat([]byte{60, 0, 0, 1, 1, 2, 3, 4}, eight(6))...), packet.Fragment, "", 56, 5},
		{"later fragment", withExtensions(tcp, 44, 6, 0, 5, 0xa8, 1, 2, 3, 4), packet.Fragment, "", 48, 25},
		{"two fragment headers", withExtensions(tcp, 44, 44, 0, 0, 0, 1, 2, 3, 4, 6, 0, 0, 0, 1, 2, 3, 4), packet.Malformed, packet.BadExtension, 48, 0},
		{"length over the end", withExtensions(tcp, 60, 6, 255, 0, 0, 0, 0, 0, 0), packet.Malformed, packet.BadExtension, 40, 0},
		{"too many", withExtensions(tcp, 60, append(many, eight(6)...)...), packet.Malformed, packet.TooManyExtensions, 136, 0},
		{"jumbo payload", jumbo, packet.OK, "", 48, 0x10000 - 8 - 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := decode(c.frame)
			if p.Status != c.status || p.Reason != c.reason || p.IPHeader != c.header || len(p.Payload) != c.payload {
				t.Errorf("got status %d reason %q header %d payload %d, want %d %q %d %d",
					p.Status, p.Reason, p.IPHeader, len(p.Payload), c.status, c.reason, c.header, c.payload)
			}
			if p.Status == packet.Fragment && (p.FragID != 0x01020304 || p.FragHeader != 40) {
				t.Errorf("got fragment id %x header %d", p.FragID, p.FragHeader)
			}
		})
	}
	if p := decode(withExtensions(tcp, 43, 6, 0, 0, 1, 0, 0, 0, 0)); !p.SourceRoute {
		t.Error("routing header type 0 was not reported")
	}
}

func TestDecodeIPv4Details(t *testing.T) {
	tcp := tcpFrame(t, false, "hello world")
	withOptions := func(o ...byte) []byte {
		b := insert(tcp, 34, o...)
		b[14] = byte(0x45 + len(o)/4)
		b[17] += byte(len(o))
		return b
	}
	if p := decode(withOptions(1, 131, 3, 4)); p.Status != packet.OK || !p.SourceRoute || string(p.Payload) != "hello world" {
		t.Errorf("loose source route: got %+v", p)
	}
	if p := decode(withOptions(7, 0, 0, 0)); p.Status != packet.OK || p.SourceRoute {
		t.Errorf("option of length 0: got %+v", p)
	}
	ah := insert(tcp, 34, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	ah[17] += 12
	ah[23] = 51
	if p := decode(ah); p.Status != packet.OK || p.Proto != 6 || p.DstPort != 443 || p.IPHeader != 32 {
		t.Errorf("authentication header: got %+v", p)
	}
	if p := decode(edit(tcp, 18, 1, 19, 2, 20, 0x20)); p.Status != packet.Fragment || p.Reason != "" || !p.MoreFrags || p.FragID != 0x102 || p.DstPort != 443 || len(p.Payload) != 11 {
		t.Errorf("first fragment: got %+v", p)
	}
	if p := decode(edit(tcp, 20, 0x00, 21, 2)); p.Status != packet.Fragment || p.FragOffset != 16 || p.MoreFrags || len(p.Payload) != 31 || p.PayloadWire != 31 {
		t.Errorf("later fragment: got %+v", p)
	}
	if p := decode(edit(tcp, 20, 0x20, 17, 28)); p.Status != packet.Fragment || p.Reason != packet.TinyFragment || len(p.Payload) != 8 {
		t.Errorf("tiny first fragment: got %+v", p)
	}
	ip := ipv4(6)
	seg := &layers.TCP{SYN: true, Options: []layers.TCPOption{
		{OptionType: 2, OptionLength: 4, OptionData: []byte{1, 2}}, {OptionType: 3, OptionLength: 3, OptionData: []byte{99}}}}
	_ = seg.SetNetworkLayerForChecksum(ip)
	syn := bytesOf(t, ether(0x0800), ip, seg)
	if p := decode(edit(syn, 55, 0)); p.Status != packet.OK || p.MSS != 0 {
		t.Errorf("option of length 0: got %+v", p)
	}
	if p := decode(syn); p.WScale != 14 {
		t.Errorf("got window scale %d, want 14", p.WScale)
	}
}
