package packet_test

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

func TestInner(t *testing.T) {
	eth, eth6 := tcpFrame(t, false, "inside"), tcpFrame(t, true, "inside")
	ip, ip6 := eth[14:], eth6[14:]
	over := func(proto layers.IPProtocol, head string, rest []byte) []byte {
		return bytesOf(t, ether(0x0800), ipv4(proto), gopacket.Payload(append([]byte(head), rest...)))
	}
	udp := func(port uint16, head string, rest []byte) []byte {
		return udpFrame(t, true, 5555, port, append([]byte(head), rest...))
	}
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool
	}{
		{"IP in IP", over(4, "", ip), true},
		{"6in4", over(41, "", ip6), true},
		{"4in6", bytesOf(t, ether(0x86dd), ipv6(4), gopacket.Payload(ip)), true},
		{"EtherIP", over(97, "\x30\x00", eth), true},
		{"MPLS in IP", over(137, "\x00\x01\x01\x40", ip), true},
		{"GRE", over(47, "\x00\x00\x08\x00", ip), true},
		{"GRE checksum, key, sequence", over(47, "\xb0\x00\x86\xdd____________", ip6), true},
		{"GRE bridging", over(47, "\x20\x00\x65\x58____", eth), true},
		{"GRE MPLS", over(47, "\x00\x00\x88\x47\x00\x01\x01\x40", ip6), true},
		{"GRE routing", over(47, "\x40\x00\x08\x00", ip), false},
		{"GRE cut", over(47, "\xb0\x00\x08\x00__", nil), false},
		{"PPTP", over(47, "\x30\x81\x88\x0b________1234\xff\x03\x00\x21", ip), true},
		{"PPTP compressed", over(47, "\x20\x01\x88\x0b____\x57", ip6), true},
		{"ERSPAN I", over(47, "\x00\x00\x88\xbe", eth), true},
		{"ERSPAN II", over(47, "\x10\x00\x88\xbe____12345678", eth6), true},
		{"ERSPAN III", over(47, "\x10\x00\x22\xeb____12345678901\x01abcdefgh", eth), true},
		{"VXLAN", udp(4789, "\x08\x00\x00\x00\x00\x00\x07\x00", eth), true},
		{"VXLAN without network", udp(4789, "\x00\x00\x00\x00\x00\x00\x07\x00", eth), false},
		{"Geneve with option", udp(6081, "\x01\x00\x65\x58\x00\x00\x07\x00\x00\x00\x00\x00", eth6), true},
		{"Geneve IP", udp(6081, "\x00\x00\x08\x00\x00\x00\x07\x00", ip), true},
		{"Geneve cut", udp(6081, "\x3f\x00\x08\x00\x00\x00\x07\x00", nil), false},
		{"GTP-U", udp(2152, "\x30\xff\x00\x00\x00\x00\x00\x01", ip), true},
		{"GTP-U with extension", udp(2152, "\x34\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x85\x01\x10\x09\x00", ip6), true},
		{"GTP-U extension of no length", udp(2152, "\x34\xff\x00\x00\x00\x00\x00\x01\x00\x00\x00\x85\x00\x10\x09\x00", ip6), false},
		{"GTP-U echo", udp(2152, "\x32\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00", nil), false},
		{"Teredo", udp(3544, "", ip6), true},
		{"Teredo, authentication and origin", udp(3544, "\x00\x01\x00\x00nonce678\x00\x00\x00port++", ip6), true},
		{"GRE in UDP", udp(4754, "\x00\x00\x08\x00", ip), true},
		{"plain UDP", udp(53, "", ip), false},
		{"plain TCP", eth, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			inner, link, ok := decode(c.frame).Inner()
			if ok != c.ok {
				t.Fatalf("got %v, want %v", ok, c.ok)
			}
			if !ok {
				return
			}
			var p packet.Packet
			p.Decode(&packet.Frame{Data: inner, Link: link})
			if p.Status != packet.OK || p.DstPort != 443 || string(p.Payload) != "inside" {
				t.Errorf("got %+v", p)
			}
		})
	}
}

// FuzzDecode checks that for any input the slices are within the frame, the lengths agree,
// and building answers and opening tunnels is safe.
func FuzzDecode(f *testing.F) {
	tcp, tcp6 := tcpFrame(f, false, "hello"), tcpFrame(f, true, "hello")
	for _, b := range [][]byte{
		tcp, tcp6, udpFrame(f, false, 1, 4789, tcp), udpFrame(f, true, 1, 6081, tcp6), udpFrame(f, false, 2152, 2, tcp),
		insert(tcp, 12, 0x81, 0, 0, 5), withExtensions(tcp6, 0, 6, 0, 5, 2, 0, 0, 0, 0), withExtensions(tcp6, 44, 6, 0, 0, 1, 1, 2, 3, 4),
		edit(tcp, 20, 0x20, 17, 28), insert(edit(tcp, 12, 0x88, 13, 0x47), 14, 0, 1, 1, 64), edit(tcp, 23, 47), edit(tcp, 23, 51), edit(tcp6, 20, 58),
	} {
		f.Add(b, uint32(0), uint8(0), false)
		f.Add(b[14:], uint32(9000), uint8(packet.Truncated), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, wire uint32, flags uint8, raw bool) {
		fr := &packet.Frame{Data: b[:len(b):len(b)], Wire: wire % (1 << 18), Flags: packet.Flags(flags)}
		if raw {
			fr.Link = packet.RawIP
		}
		p := new(packet.Packet)
		p.Decode(fr)
		if (p.Status == packet.Malformed) != (p.Reason != "") && p.Status != packet.Fragment {
			t.Fatalf("status %d with reason %q", p.Status, p.Reason)
		}
		if len(p.Payload) > p.PayloadWire || len(p.Network) > len(b) || p.Status == packet.OK && p.IPHeader > len(p.Network) {
			t.Fatalf("lengths: %+v", p)
		}
		packet.VerifyTransport(p)
		packet.VerifyIPv4(p)
		packet.LooksOffloaded(p)
		link, _ := p.LinkHeader(fr)
		var buf [packet.AnswerMax]byte
		if a := packet.BuildUnreachable(buf[:], packet.Unreachable{Link: link, Back: true, IPv6: p.IPv6, Src: p.Dst, Dst: p.Src, Quote: p.Network}); a == nil {
			t.Fatal("no answer in a buffer of AnswerMax")
		}
		new(packet.Packet).DecodeQuoted(p.Embedded)
		for range 8 {
			inner, link, ok := p.Inner()
			if !ok {
				break
			}
			p.Decode(&packet.Frame{Data: inner, Link: link})
		}
	})
}
