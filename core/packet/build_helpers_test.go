package packet_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/packet"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
	src4 = netip.MustParseAddr("10.1.2.3")
	dst4 = netip.MustParseAddr("10.9.8.7")
	src6 = netip.MustParseAddr("2001:db8::1")
	dst6 = netip.MustParseAddr("2001:db8:ffff::2")
)

// bytesOf serialises layers with lengths and checksums filled in.
func bytesOf(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func ether(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: kind}
}

func ipv4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 61, Protocol: proto, SrcIP: src4.AsSlice(), DstIP: dst4.AsSlice()}
}

func ipv6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 61, NextHeader: next, SrcIP: src6.AsSlice(), DstIP: dst6.AsSlice()}
}

// network returns an IP header of either family for proto, and its EtherType.
func network(v6 bool, proto layers.IPProtocol) (gopacket.SerializableLayer, gopacket.NetworkLayer, layers.EthernetType) {
	if v6 {
		h := ipv6(proto)
		return h, h, layers.EthernetTypeIPv6
	}
	h := ipv4(proto)
	return h, h, layers.EthernetTypeIPv4
}

func tcpSYN() *layers.TCP {
	return &layers.TCP{SrcPort: 40000, DstPort: 443, Seq: 7, Ack: 9, SYN: true, Window: 64240, Options: []layers.TCPOption{
		{OptionType: 2, OptionLength: 4, OptionData: []byte{5, 0xb4}},
		{OptionType: 1},
		{OptionType: 3, OptionLength: 3, OptionData: []byte{7}},
		{OptionType: 34, OptionLength: 2},
	}}
}

// tcpFrame returns an Ethernet frame with a TCP data segment of either family.
func tcpFrame(t testing.TB, v6 bool, payload string) []byte {
	ip, net, kind := network(v6, layers.IPProtocolTCP)
	seg := &layers.TCP{SrcPort: 40000, DstPort: 443, Seq: 100, Ack: 200, ACK: true, PSH: true, Window: 502}
	_ = seg.SetNetworkLayerForChecksum(net)
	return bytesOf(t, ether(kind), ip, seg, gopacket.Payload(payload))
}

// udpFrame returns an Ethernet frame with a UDP datagram of either family.
func udpFrame(t testing.TB, v6 bool, src, dst uint16, payload []byte) []byte {
	ip, net, kind := network(v6, layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: layers.UDPPort(src), DstPort: layers.UDPPort(dst)}
	_ = u.SetNetworkLayerForChecksum(net)
	return bytesOf(t, ether(kind), ip, u, gopacket.Payload(payload))
}

// decode decodes an Ethernet frame.
func decode(b []byte) *packet.Packet {
	p := new(packet.Packet)
	p.Decode(&packet.Frame{Data: b, Wire: uint32(len(b))})
	return p
}

// edit returns a copy of b with single bytes replaced: offset, value, offset, value ...
func edit(b []byte, pairs ...int) []byte {
	c := append([]byte(nil), b...)
	for i := 0; i < len(pairs); i += 2 {
		c[pairs[i]] = byte(pairs[i+1])
	}
	return c
}

// insert returns a copy of b with more inserted at offset at.
func insert(b []byte, at int, more ...byte) []byte {
	c := append([]byte(nil), b[:at]...)
	return append(append(c, more...), b[at:]...)
}

// withExtensions inserts IPv6 extension headers behind the fixed header of an Ethernet frame
// and corrects the payload length. first is the number of the first of them; the last must
// name the transport.
func withExtensions(b []byte, first byte, headers ...byte) []byte {
	c := insert(b, 54, headers...)
	n := len(c) - 54
	c[18], c[19], c[20] = byte(n>>8), byte(n), first
	return c
}
