package packet_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

// links are link headers that an answer can be put behind, for one EtherType.
func links(v6 bool) map[string][]byte {
	kind := []byte{8, 0}
	if v6 {
		kind = []byte{0x86, 0xdd}
	}
	with := func(tags ...byte) []byte {
		return append(append(append(bytes.Clone(macB), macA...), tags...), kind...)
	}
	return map[string][]byte{
		"raw":  nil,
		"flat": with(),
		"VLAN": with(0x81, 0, 0x60, 5),
		"QinQ": with(0x88, 0xa8, 0, 9, 0x81, 0, 0, 5),
	}
}

// oracleOf reads an answer with gopacket, whose every layer must decode.
func oracleOf(t *testing.T, b, link []byte, v6 bool) gopacket.Packet {
	t.Helper()
	first := gopacket.LayerType(layers.LayerTypeEthernet)
	if link == nil {
		if first = layers.LayerTypeIPv4; v6 {
			first = layers.LayerTypeIPv6
		}
	}
	g := gopacket.NewPacket(b, first, gopacket.DecodeOptions{Lazy: false})
	if e := g.ErrorLayer(); e != nil {
		t.Fatalf("the oracle refuses %x: %v", b, e.Error())
	}
	return g
}

// recomputed is the answer serialised again by gopacket from its own layers: right lengths and checksums change nothing.
func recomputed(t *testing.T, g gopacket.Packet) []byte {
	t.Helper()
	var ls []gopacket.SerializableLayer
	for _, l := range g.Layers() {
		switch l := l.(type) {
		case *layers.TCP:
			_ = l.SetNetworkLayerForChecksum(g.NetworkLayer())
		case *layers.ICMPv6:
			_ = l.SetNetworkLayerForChecksum(g.NetworkLayer())
		case *layers.Ethernet:
			continue // pads
		}
		s, ok := l.(gopacket.SerializableLayer)
		if !ok {
			t.Fatalf("layer %s cannot be serialised", l.LayerType())
		}
		ls = append(ls, s)
	}
	return bytesOf(t, ls...)
}

func TestRandomResetsAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var buf [packet.AnswerMax]byte
	for n := range 1500 {
		v6 := n%2 == 0
		for name, link := range links(v6) {
			q := packet.Reset{Link: link, Back: r.IntN(2) == 0, IPv6: v6, SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()),
				Seq: r.Uint32(), Ack: r.Uint32(), WithAck: r.IntN(2) == 0}
			q.Src, q.Dst = packet.AddrFrom(src4), packet.AddrFrom(dst4)
			if v6 {
				q.Src, q.Dst = packet.AddrFrom(src6), packet.AddrFrom(dst6)
			}
			b := packet.BuildRST(buf[:], q)
			g := oracleOf(t, b, link, v6)
			tcp := g.Layer(layers.LayerTypeTCP).(*layers.TCP)
			wantAck := q.Ack
			if !q.WithAck {
				wantAck = 0 // RFC 9293 3.1: without the bit the field means nothing, and carries nothing out
			}
			got := fmt.Sprint(tcp.SrcPort, tcp.DstPort, tcp.Seq, tcp.Ack, tcp.RST, tcp.ACK, tcp.SYN, tcp.FIN, tcp.Window, len(tcp.Payload))
			want := fmt.Sprint(layers.TCPPort(q.SrcPort), layers.TCPPort(q.DstPort), q.Seq, wantAck, true, q.WithAck, false, false, 0, 0)
			if got != want {
				t.Fatalf("%s: got %s, want %s", name, got, want)
			}
			if again := recomputed(t, g); !bytes.HasSuffix(b, again) {
				t.Fatalf("%s: got %x, the oracle makes %x", name, b, again)
			}
			if len(link) > 0 {
				to, from := link[:6], link[6:12]
				if q.Back {
					to, from = from, to
				}
				if !bytes.Equal(b[:6], to) || !bytes.Equal(b[6:12], from) || !bytes.Equal(b[12:len(link)], link[12:]) {
					t.Fatalf("%s back %v: got link header %x of %x", name, q.Back, b[:len(link)], link)
				}
			}
		}
	}
}

// TestResetAnswersAsRFC9293: 3.10.7.1: with ACK: <SEQ=SEG.ACK><CTL=RST>; else <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>.
func TestResetAnswersAsRFC9293(t *testing.T) {
	for _, c := range []struct {
		name     string
		flags    uint8
		n        int
		seq, ack uint32
		wantSeq  uint32
		wantAck  uint32
		withAck  bool
	}{
		{"SYN", packet.SYN, 0, 100, 0, 0, 101, true},
		{"SYN with data", packet.SYN, 10, 100, 0, 0, 111, true},
		{"SYN at the wrap", packet.SYN, 0, 1<<32 - 1, 0, 0, 0, true},
		{"FIN alone", packet.FIN, 0, 100, 0, 0, 101, true},
		{"data without ACK", packet.PSH, 7, 100, 0, 0, 107, true},
		{"data without ACK over the wrap", 0, 7, 1<<32 - 3, 0, 0, 4, true},
		{"SYN+ACK", packet.SYN | packet.ACK, 0, 100, 555, 555, 0, false},
		{"ACK", packet.ACK, 0, 100, 555, 555, 0, false},
		{"data", packet.ACK | packet.PSH, 99, 100, 1<<32 - 1, 1<<32 - 1, 0, false},
		{"FIN", packet.ACK | packet.FIN, 3, 100, 555, 555, 0, false},
	} {
		for _, v6 := range []bool{false, true} {
			p := packet.Packet{IPv6: v6, Src: packet.AddrFrom(src6), Dst: packet.AddrFrom(dst6), SrcPort: 1, DstPort: 2,
				Flags: c.flags, Seq: c.seq, Ack: c.ack, PayloadWire: c.n}
			got := p.ResetBack()
			if got.Seq != c.wantSeq || got.WithAck != c.withAck || c.withAck && got.Ack != c.wantAck {
				t.Errorf("%s: got seq %d ack %d %v", c.name, got.Seq, got.Ack, got.WithAck)
			}
			if !got.Back || got.IPv6 != v6 || got.Src != p.Dst || got.Dst != p.Src || got.SrcPort != 2 || got.DstPort != 1 {
				t.Errorf("%s: the answer does not go back: %+v", c.name, got)
			}
			on := p.ResetOnward()
			if on.Back || on.Src != p.Src || on.SrcPort != 1 || on.Seq != c.seq || on.WithAck != (c.flags&packet.ACK != 0) {
				t.Errorf("%s: the answer does not go onward: %+v", c.name, on)
			}
		}
	}
}

// TestUnreachableAgainstOracle: every length of quote, both families, every link: an error of at most 576 or 1,280 bytes whose
// checksums another implementation computes alike.
func TestUnreachableAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	quote := make([]byte, 2000)
	for i := range quote {
		quote[i] = byte(r.Uint32())
	}
	var buf [packet.AnswerMax]byte
	for _, v6 := range []bool{false, true} {
		most, head := 576, 28
		u := packet.Unreachable{IPv6: v6, Back: true, Src: packet.AddrFrom(src4), Dst: packet.AddrFrom(dst4)}
		if v6 {
			most, head, u.Src, u.Dst = 1280, 48, packet.AddrFrom(src6), packet.AddrFrom(dst6)
		}
		for name, link := range links(v6) {
			for _, n := range []int{0, 1, 8, 28, 29, most - head - 1, most - head, most - head + 1, 1500, 2000} {
				u.Link, u.Quote = link, quote[:n]
				b := packet.BuildUnreachable(buf[:], u)
				if got, want := len(b)-len(link), min(head+n, most); got != want {
					t.Errorf("%s, %d bytes quoted: got %d bytes, want %d", name, n, got, want)
				}
				p := decodeAs(b[len(link):], len(b)-len(link), packet.RawIP)
				if p.Status != packet.OK || !packet.VerifyIPv4(p) || !packet.VerifyTransport(p) || !bytes.Equal(p.Embedded, quote[:min(n, most-head)]) {
					t.Errorf("%s, %d bytes quoted: got %+v", name, n, p)
				}
				if sum := slow(b[len(b)-len(p.Embedded)-8:], packet.PseudoSum(&p.Src, &p.Dst, p.Proto, len(p.Embedded)+8)); v6 && sum != 0 {
					t.Errorf("%s, %d bytes quoted: the plain sum is %#x", name, n, sum)
				}
				if p.MayAnswer() {
					t.Errorf("%s: an ICMP error may be answered with another", name)
				}
				if g := oracleOf(t, b, link, v6); g.Layer(layers.LayerTypeICMPv4) == nil && g.Layer(layers.LayerTypeICMPv6) == nil {
					t.Errorf("%s: the oracle sees no ICMP", name)
				}
			}
		}
	}
}

// TestAnswersNeedRoom: a buffer of every size: nil, or an answer within it.
func TestAnswersNeedRoom(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		need := 40
		if v6 {
			need = 60
		}
		for name, link := range links(v6) {
			for n := range 120 {
				b := packet.BuildRST(make([]byte, n), packet.Reset{Link: link, IPv6: v6})
				if (b != nil) != (n >= len(link)+need) || len(b) > n {
					t.Fatalf("%s IPv6 %v: a reset in %d bytes: got %d", name, v6, n, len(b))
				}
				u := packet.BuildUnreachable(make([]byte, n), packet.Unreachable{Link: link, IPv6: v6, Quote: make([]byte, 28)})
				if (u != nil) != (n >= len(link)+need-20+8+28) || len(u) > n {
					t.Fatalf("%s IPv6 %v: an error in %d bytes: got %d", name, v6, n, len(u))
				}
			}
		}
	}
}

// TestMayAnswer: RFC 1122 3.2.2, RFC 1812 4.3.2.7 and RFC 4443 2.4(e): to what an ICMP error is never sent.
func TestMayAnswer(t *testing.T) {
	for _, c := range []struct {
		name     string
		src, dst string
		mac      byte
		offset   uint16
		quotes   bool
		icmp     uint8
		want     bool
	}{
		{name: "IPv4", src: "10.0.0.1", dst: "10.0.0.2", want: true},
		{name: "IPv6", src: "2001:db8::1", dst: "2001:db8::2", want: true},
		{name: "first fragment", src: "10.0.0.1", dst: "10.0.0.2", offset: 0, want: true},
		{name: "later fragment", src: "10.0.0.1", dst: "10.0.0.2", offset: 8},
		{name: "ICMP error", src: "10.0.0.1", dst: "10.0.0.2", quotes: true},
		{name: "ICMPv6 error", src: "2001:db8::1", dst: "2001:db8::2", quotes: true},
		{name: "redirect", src: "fe80::1", dst: "2001:db8::2", icmp: 137},
		{name: "echo", src: "2001:db8::1", dst: "2001:db8::2", icmp: 128, want: true},
		{name: "multicast", src: "10.0.0.1", dst: "224.0.0.1"},
		{name: "IPv6 multicast", src: "2001:db8::1", dst: "ff02::1"},
		{name: "broadcast", src: "10.0.0.1", dst: "255.255.255.255"},
		{name: "from multicast", src: "239.1.1.1", dst: "10.0.0.2"},
		{name: "from broadcast", src: "255.255.255.255", dst: "10.0.0.2"},
		{name: "from the unspecified address", src: "0.0.0.0", dst: "10.0.0.2"},
		{name: "from the unspecified address, IPv6", src: "::", dst: "2001:db8::2"},
		{name: "from IPv6 multicast", src: "ff02::1", dst: "2001:db8::2"},
		{name: "link-layer broadcast", src: "10.0.0.1", dst: "10.0.0.2", mac: 0xff},
		{name: "link-layer multicast", src: "10.0.0.1", dst: "10.0.0.2", mac: 1},
	} {
		src, dst := netip.MustParseAddr(c.src), netip.MustParseAddr(c.dst)
		p := packet.Packet{Network: make([]byte, 40), IPv6: src.Is6(), Src: packet.AddrFrom(src), Dst: packet.AddrFrom(dst), FragOffset: c.offset}
		p.DstMAC[0] = c.mac
		if c.quotes {
			p.Embedded = []byte{}
		}
		if p.ICMPType = c.icmp; c.icmp != 0 {
			p.Proto = packet.ProtoICMPv6
		}
		if got := p.MayAnswer(); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if (&packet.Packet{Src: packet.AddrFrom(src4), Dst: packet.AddrFrom(dst4)}).MayAnswer() {
		t.Error("what has no IP header may be answered")
	}
}
