package packet_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

// tail is what every frame of this file ends with.
const tail = "0123456789abcdefghijklmnopqrstuv"

// whole is one well-formed frame of the decoder's vocabulary.
type whole struct {
	name  string
	frame []byte
	link  packet.LinkType
}

// transports is one payload-carrying segment of every transport that the decoder reads.
func transports(t testing.TB, v6 bool) map[string][]gopacket.SerializableLayer {
	t.Helper()
	data := gopacket.Payload(tail) // long enough that Ethernet needs no padding
	build := func(proto layers.IPProtocol, upper gopacket.SerializableLayer) []gopacket.SerializableLayer {
		ip, net, kind := network(v6, proto)
		if c, ok := upper.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := c.SetNetworkLayerForChecksum(net); err != nil {
				t.Fatal(err)
			}
		}
		return []gopacket.SerializableLayer{ether(kind), ip, upper, data}
	}
	m := map[string][]gopacket.SerializableLayer{
		"syn":  build(layers.IPProtocolTCP, tcpSYN()),
		"tcp":  build(layers.IPProtocolTCP, &layers.TCP{SrcPort: 1, DstPort: 2, Seq: 3, Ack: 4, ACK: true, Window: 5}),
		"udp":  build(layers.IPProtocolUDP, &layers.UDP{SrcPort: 1, DstPort: 2}),
		"sctp": build(layers.IPProtocolSCTP, &layers.SCTP{SrcPort: 1, DstPort: 2}),
		"gre":  build(layers.IPProtocolGRE, &layers.GRE{Protocol: layers.EthernetTypeIPv4}),
	}
	if v6 {
		m["echo"] = build(layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(128, 0)})
		m["echo"][3] = gopacket.Payload("\x00\x09\x00\x01" + tail)
	} else {
		m["echo"] = build(layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 9})
	}
	return m
}

// wholes is every transport of both families behind every link header that is stepped over.
func wholes(t testing.TB) (out []whole) {
	t.Helper()
	for _, v6 := range []bool{false, true} {
		family, ppp, kind := "IPv4 ", byte(0x21), []byte{8, 0}
		if v6 {
			family, ppp, kind = "IPv6 ", 0x57, []byte{0x86, 0xdd}
		}
		for name, ls := range transports(t, v6) {
			f := bytesOf(t, ls...)
			ip := f[14:]
			behind := func(header ...byte) []byte { return append(append(bytes.Clone(f[:12]), header...), ip...) }
			n := len(ip)
			out = append(out,
				whole{family + name, f, packet.Ethernet},
				whole{family + name + " raw", bytes.Clone(ip), packet.RawIP},
				whole{family + name + " in a VLAN", behind(append([]byte{0x81, 0, 0x20, 5}, kind...)...), packet.Ethernet},
				whole{family + name + " in QinQ", behind(append([]byte{0x88, 0xa8, 0, 7, 0x81, 0, 0, 5}, kind...)...), packet.Ethernet},
				whole{family + name + " in MPLS", behind(0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64), packet.Ethernet},
				whole{family + name + " in PPPoE", behind(0x88, 0x64, 0x11, 0, 0, 1, byte((n+2)>>8), byte(n+2), 0, ppp), packet.Ethernet},
			)
		}
	}
	return out
}

// decodeAs decodes b as the beginning of a frame of wire bytes.
func decodeAs(b []byte, wire int, link packet.LinkType) *packet.Packet {
	p := new(packet.Packet)
	f := packet.Frame{Data: b, Wire: uint32(wire), Link: link}
	if wire > len(b) {
		f.Flags = packet.Truncated
	}
	p.Decode(&f)
	return p
}

func TestWholeFramesAreRead(t *testing.T) {
	for _, w := range wholes(t) {
		p := decodeAs(w.frame, len(w.frame), w.link)
		if p.Status != packet.OK || p.Reason != "" {
			t.Errorf("%s: got status %d reason %q", w.name, p.Status, p.Reason)
			continue
		}
		if !bytes.HasSuffix(p.Payload, []byte(tail)) || p.PayloadWire != len(p.Payload) {
			t.Errorf("%s: got payload %q of %d", w.name, p.Payload, p.PayloadWire)
		}
		if !packet.VerifyIPv4(p) || !packet.VerifyTransport(p) {
			t.Errorf("%s: checksums of another implementation are refused", w.name)
		}
	}
}

// TestSenderCutAtEveryByte: a frame that ends before its IP length is reached is the sender's fault, and never a good packet.
func TestSenderCutAtEveryByte(t *testing.T) {
	for _, w := range wholes(t) {
		for n := range w.frame {
			p := decodeAs(w.frame[:n:n], n, w.link)
			if p.Status == packet.OK || p.Status == packet.Fragment {
				t.Fatalf("%s cut at %d: got status %d", w.name, n, p.Status)
			}
			if p.Reason == packet.CutShort {
				t.Fatalf("%s cut at %d: the capture is blamed", w.name, n)
			}
			if p.Payload != nil {
				t.Fatalf("%s cut at %d: got payload %q", w.name, n, p.Payload)
			}
		}
	}
}

// TestCaptureCutAtEveryByte: what the capture left out is its own fault; what is there is read as in the whole frame.
func TestCaptureCutAtEveryByte(t *testing.T) {
	for _, w := range wholes(t) {
		full := decodeAs(w.frame, len(w.frame), w.link)
		for n := range w.frame {
			p := decodeAs(w.frame[:n:n], len(w.frame), w.link)
			switch p.Status {
			case packet.Malformed:
				if p.Reason != packet.CutShort {
					t.Fatalf("%s cut at %d: got reason %q", w.name, n, p.Reason)
				}
			case packet.OK:
				if p.PayloadWire != full.PayloadWire || !bytes.HasPrefix(full.Payload, p.Payload) {
					t.Fatalf("%s cut at %d: got payload %q of %d", w.name, n, p.Payload, p.PayloadWire)
				}
				if p.Src != full.Src || p.Dst != full.Dst || p.SrcPort != full.SrcPort || p.DstPort != full.DstPort || p.Seq != full.Seq {
					t.Fatalf("%s cut at %d: got %+v", w.name, n, p)
				}
				if len(p.Payload) < p.PayloadWire && !packet.VerifyTransport(p) {
					t.Fatalf("%s cut at %d: the checksum of bytes that are not there is judged", w.name, n)
				}
			case packet.NotIP:
				// Behind MPLS the first nibble alone shows what follows.
				if !strings.HasSuffix(w.name, "MPLS") || n != 22 {
					t.Fatalf("%s cut at %d: got not IP", w.name, n)
				}
			default:
				t.Fatalf("%s cut at %d: got status %d", w.name, n, p.Status)
			}
		}
	}
}

// TestPaddingIsNoPayload: Ethernet pads short frames to 60 bytes; what is behind the IP length is not the packet's.
func TestPaddingIsNoPayload(t *testing.T) {
	for _, w := range wholes(t) {
		full := decodeAs(w.frame, len(w.frame), w.link)
		for _, n := range []int{1, 7, 64} {
			padded := append(bytes.Clone(w.frame), bytes.Repeat([]byte{0xee}, n)...)
			p := decodeAs(padded, len(padded), w.link)
			if p.Status != packet.OK || !bytes.Equal(p.Payload, full.Payload) || !bytes.Equal(p.Network, full.Network) {
				t.Errorf("%s with %d bytes of padding: got payload %q", w.name, n, p.Payload)
			}
		}
	}
}

// TestDecodeForgets: what a packet held before does not shine through, whatever came before what.
func TestDecodeForgets(t *testing.T) {
	all := wholes(t)
	r := rand.New(rand.NewPCG(3, 4))
	used := new(packet.Packet)
	for range 4000 {
		w := all[r.IntN(len(all))]
		b := bytes.Clone(w.frame)
		if r.IntN(2) == 0 {
			b[r.IntN(len(b))] ^= byte(1 + r.IntN(255))
		}
		n := len(b) - r.IntN(2)*r.IntN(len(b))
		f := packet.Frame{Data: b[:n], Wire: uint32(len(b)), Link: w.link}
		used.Decode(&f)
		fresh := new(packet.Packet)
		fresh.Decode(&f)
		if !same(used, fresh) {
			t.Fatalf("%s: got %+v, want %+v", w.name, used, fresh)
		}
	}
}

// same compares what two packets say; slices by content.
func same(a, b *packet.Packet) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Src == b.Src && a.Dst == b.Dst && a.Proto == b.Proto && a.TTL == b.TTL &&
		a.IPv6 == b.IPv6 && a.SrcPort == b.SrcPort && a.DstPort == b.DstPort && a.Flags == b.Flags && a.Seq == b.Seq && a.Ack == b.Ack &&
		a.Window == b.Window && a.MSS == b.MSS && a.WScale == b.WScale && a.HasWScale == b.HasWScale && a.FastOpen == b.FastOpen &&
		a.ICMPType == b.ICMPType && a.ICMPCode == b.ICMPCode && a.FragID == b.FragID && a.FragOffset == b.FragOffset &&
		a.MoreFrags == b.MoreFrags && a.FragHeader == b.FragHeader && a.SourceRoute == b.SourceRoute && a.PayloadWire == b.PayloadWire &&
		a.VLAN == b.VLAN && a.L3 == b.L3 && a.SrcMAC == b.SrcMAC && a.DstMAC == b.DstMAC && a.IPHeader == b.IPHeader &&
		bytes.Equal(a.Payload, b.Payload) && bytes.Equal(a.Network, b.Network) && bytes.Equal(a.Embedded, b.Embedded)
}
