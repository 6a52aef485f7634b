package packet_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

// randomTCP is a segment with every field drawn, and on a SYN some of the options.
func randomTCP(r *rand.Rand) *layers.TCP {
	s := &layers.TCP{
		SrcPort: layers.TCPPort(r.Uint32()), DstPort: layers.TCPPort(r.Uint32()), Seq: r.Uint32(), Ack: r.Uint32(), Window: uint16(r.Uint32()),
		FIN: r.IntN(2) == 0, SYN: r.IntN(2) == 0, RST: r.IntN(2) == 0, PSH: r.IntN(2) == 0,
		ACK: r.IntN(2) == 0, URG: r.IntN(2) == 0, ECE: r.IntN(2) == 0, CWR: r.IntN(2) == 0,
	}
	for range r.IntN(4) {
		s.Options = append(s.Options, []layers.TCPOption{
			{OptionType: 1},
			{OptionType: 2, OptionLength: 4, OptionData: []byte{byte(r.Uint32()), byte(r.Uint32())}},
			{OptionType: 3, OptionLength: 3, OptionData: []byte{byte(r.IntN(20))}},
			{OptionType: 4, OptionLength: 2},
			{OptionType: 8, OptionLength: 10, OptionData: make([]byte, 8)},
		}[r.IntN(5)])
	}
	return s
}

// flagsOf is the flag byte of a segment, by RFC 9293 3.1 and RFC 3168.
func flagsOf(s *layers.TCP) (f uint8) {
	for i, on := range []bool{s.FIN, s.SYN, s.RST, s.PSH, s.ACK, s.URG, s.ECE, s.CWR} {
		if on {
			f |= 1 << i
		}
	}
	return f
}

// optionsOf is MSS and window scale as a receiver takes them: of a SYN only, a shift above 14 as 14 (RFC 7323 2.3).
func optionsOf(s *layers.TCP) (mss uint16, scale uint8, scaled bool) {
	if !s.SYN {
		return 0, 0, false
	}
	for _, o := range s.Options {
		switch o.OptionType {
		case 2:
			mss = uint16(o.OptionData[0])<<8 | uint16(o.OptionData[1])
		case 3:
			scale, scaled = min(o.OptionData[0], 14), true
		}
	}
	return mss, scale, scaled
}

func TestRandomSegmentsAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 3000 {
		v6 := n%2 == 0
		ip, net, kind := network(v6, layers.IPProtocolTCP)
		s := randomTCP(r)
		_ = s.SetNetworkLayerForChecksum(net)
		data := make([]byte, r.IntN(60))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		p := decode(bytesOf(t, ether(kind), ip, s, gopacket.Payload(data)))
		got := fmt.Sprint(p.Status, p.IPv6, p.SrcPort, p.DstPort, p.Seq, p.Ack, p.Window, p.Flags, p.PayloadWire)
		want := fmt.Sprint(packet.OK, v6, uint16(s.SrcPort), uint16(s.DstPort), s.Seq, s.Ack, s.Window, flagsOf(s), len(data))
		if got != want || !bytes.Equal(p.Payload, data) {
			t.Fatalf("segment %d: got %s, want %s", n, got, want)
		}
		mss, scale, scaled := optionsOf(s)
		if p.MSS != mss || p.WScale != scale || p.HasWScale != scaled {
			t.Fatalf("options %v: got MSS %d, scale %d %v", s.Options, p.MSS, p.WScale, p.HasWScale)
		}
		if !packet.VerifyTransport(p) || !packet.VerifyIPv4(p) {
			t.Fatalf("segment %d: the oracle's checksum is refused", n)
		}
	}
}

func TestRandomDatagramsAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for n := range 2000 {
		v6 := n%2 == 0
		src, dst := uint16(r.Uint32()), uint16(r.Uint32())
		data := make([]byte, r.IntN(200))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		p := decode(udpFrame(t, v6, src, dst, data))
		if p.Status != packet.OK || p.SrcPort != src || p.DstPort != dst || !bytes.Equal(p.Payload, data) || p.Proto != packet.ProtoUDP {
			t.Fatalf("datagram %d: got %+v", n, p)
		}
		if !packet.VerifyTransport(p) {
			t.Fatalf("datagram %d: the oracle's checksum is refused", n)
		}
	}
}

// TestICMPTypes: which messages have an identifier and which quote a packet, by RFC 792, 950, 1256, 4443 and 8335.
func TestICMPTypes(t *testing.T) {
	identifies := map[bool]map[uint8]bool{
		false: {0: true, 8: true, 13: true, 14: true, 15: true, 16: true, 17: true, 18: true, 42: true, 43: true},
		true:  {128: true, 129: true, 160: true, 161: true},
	}
	quotes := map[bool]map[uint8]bool{
		false: {3: true, 4: true, 5: true, 11: true, 12: true},
		true:  {1: true, 2: true, 3: true, 4: true},
	}
	for _, v6 := range []bool{false, true} {
		proto := layers.IPProtocolICMPv4
		if v6 {
			proto = layers.IPProtocolICMPv6
		}
		ip, _, kind := network(v6, proto)
		for kindOf := range 256 {
			body := []byte{byte(kindOf), 7, 0, 0, 0x12, 0x34, 0, 1, 'q', 'u', 'o', 't', 'e'}
			p := decode(bytesOf(t, ether(kind), ip, gopacket.Payload(body)))
			if p.Status != packet.OK || p.ICMPType != uint8(kindOf) || p.ICMPCode != 7 || string(p.Payload) != "quote" {
				t.Fatalf("IPv6 %v type %d: got %+v", v6, kindOf, p)
			}
			if got, want := p.SrcPort == 0x1234, identifies[v6][uint8(kindOf)]; got != want || p.DstPort != 0 {
				t.Errorf("IPv6 %v type %d: identifier found %v, want %v", v6, kindOf, got, want)
			}
			if got, want := p.Embedded != nil, quotes[v6][uint8(kindOf)]; got != want {
				t.Errorf("IPv6 %v type %d: quote found %v, want %v", v6, kindOf, got, want)
			}
		}
	}
}

// TestOtherFamilysICMP: ICMP over IPv6 and ICMPv6 over IPv4 are protocols like any other, without types and quotes.
func TestOtherFamilysICMP(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		proto := layers.IPProtocolICMPv6
		if v6 {
			proto = layers.IPProtocolICMPv4
		}
		ip, _, kind := network(v6, proto)
		p := decode(bytesOf(t, ether(kind), ip, gopacket.Payload("\x03\x00\x00\x00\x00\x00\x00\x00quote")))
		if p.Status != packet.OK || p.ICMPType != 0 || p.Embedded != nil || len(p.Payload) != 13 {
			t.Errorf("IPv6 %v: got %+v", v6, p)
		}
	}
}

// TestQuotedPackets: RFC 792 promises the header and eight bytes of a quoted packet; that is enough for its ports.
func TestQuotedPackets(t *testing.T) {
	for _, w := range wholes(t) {
		if w.link != packet.RawIP {
			continue
		}
		full := decodeAs(w.frame, len(w.frame), packet.RawIP)
		for n := range len(w.frame) + 1 {
			var p packet.Packet
			ok := p.DecodeQuoted(w.frame[:n])
			hasPorts := full.SrcPort != 0 || full.DstPort != 0
			switch enough := n >= full.IPHeader+8; {
			case enough && !ok:
				t.Fatalf("%s: %d bytes are not enough: %q", w.name, n, p.Reason)
			case ok && (p.Src != full.Src || p.Dst != full.Dst || p.Proto != full.Proto):
				t.Fatalf("%s: %d bytes: got %v > %v", w.name, n, p.Src.Netip(), p.Dst.Netip())
			case ok && hasPorts && (p.SrcPort != full.SrcPort || p.DstPort != full.DstPort):
				t.Fatalf("%s: %d bytes: got ports %d > %d", w.name, n, p.SrcPort, p.DstPort)
			case ok && n < full.IPHeader:
				t.Fatalf("%s: %d bytes are less than the IP header and were believed", w.name, n)
			}
		}
	}
}
