package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/sluicenet/sluice/core/packet"
)

// giant builds a frame of a VXLAN tunnel that is to be segmented, as the kernel hands it over:
// the inner checksum partial, the outer one not yet of use.
func giant(t testing.TB, outer6, inner6 bool, tags, payload, mss int) packet.Frame {
	t.Helper()
	ip := func(v6 bool, proto layers.IPProtocol, net4 byte) gopacket.SerializableLayer {
		if v6 {
			return &layers.IPv6{Version: 6, NextHeader: proto, HopLimit: 64, SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2")}
		}
		return &layers.IPv4{Version: 4, TTL: 64, Id: 0xfffe, Protocol: proto, SrcIP: net.IP{10, net4, 0, 1}, DstIP: net.IP{10, net4, 0, 2}}
	}
	kind := func(v6 bool) layers.EthernetType {
		if v6 {
			return layers.EthernetTypeIPv6
		}
		return layers.EthernetTypeIPv4
	}
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	o, i := ip(outer6, layers.IPProtocolUDP, 7), ip(inner6, layers.IPProtocolTCP, 8)
	udp := &layers.UDP{SrcPort: 50000, DstPort: 4789}
	tcp := &layers.TCP{SrcPort: 40000, DstPort: 5201, Seq: 0xfffffff0, ACK: true, PSH: true, FIN: true, CWR: true, Window: 500,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte("timestam")}}}
	_ = udp.SetNetworkLayerForChecksum(o.(gopacket.NetworkLayer))
	_ = tcp.SetNetworkLayerForChecksum(i.(gopacket.NetworkLayer))
	data := make([]byte, payload)
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range data {
		data[n] = byte(rng.Uint32())
	}
	list := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: kind(outer6)}, o, udp, &layers.VXLAN{ValidIDFlag: true, VNI: 5}}
	eth := &layers.Ethernet{SrcMAC: mac, DstMAC: mac, EthernetType: kind(inner6)}
	if tags > 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
	}
	list = append(list, eth)
	for n := range tags {
		next := layers.EthernetTypeDot1Q
		if n == tags-1 {
			next = kind(inner6)
		}
		list = append(list, &layers.Dot1Q{VLANIdentifier: 7, Type: next})
	}
	list = append(list, i, tcp, gopacket.Payload(data))
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	f := packet.Frame{Data: bytes.Clone(buf.Bytes()), Flags: packet.GSO | packet.PartialChecksum}
	f.Wire = uint32(len(f.Data))
	start := len(f.Data) - payload - 32
	f.VNet[0], f.VNet[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, unix.VIRTIO_NET_HDR_GSO_TCPV4
	if inner6 {
		f.VNet[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
	}
	binary.LittleEndian.PutUint16(f.VNet[4:], uint16(mss))
	binary.LittleEndian.PutUint16(f.VNet[6:], uint16(start))
	binary.LittleEndian.PutUint16(f.VNet[8:], 16)
	return f
}

// segments does what the kernel does with a frame that is to be segmented: it repeats the
// headers, numbers them, and completes the inner checksum; the outer one stays as it is.
func segments(b []byte, s *shape) (out [][]byte) {
	for n, at := 0, s.data; at < len(b); n, at = n+1, at+s.segment {
		end := min(at+s.segment, len(b))
		x := append(bytes.Clone(b[:s.data]), b[at:end]...)
		outer := binary.BigEndian.Uint16(x[s.udp+6:])
		if end < len(b) {
			x[s.tcp+13] &^= packet.FIN | packet.PSH
		}
		s.advance(x, n)
		s.lengths(x, end-at)
		binary.BigEndian.PutUint16(x[s.udp+6:], outer)
		out = append(out, x)
	}
	return out
}

// complete fills in the inner checksum.
func complete(b []byte, s *shape) {
	binary.BigEndian.PutUint16(b[s.tcp+16:], packet.Checksum(b[s.tcp:], 0))
}

// TestSplit compares the segments of a frame that was split with those of the frame as it was:
// the same bytes, in order, and every checksum right.
func TestSplit(t *testing.T) {
	for _, outer6 := range []bool{false, true} {
		for _, inner6 := range []bool{false, true} {
			for tags := range 3 {
				for _, n := range []int{900, 1000, 1001, 2000, 20001, 60000} {
					t.Run(fmt.Sprintf("outer6 %t, inner6 %t, %d tags, %d", outer6, inner6, tags, n), func(t *testing.T) {
						f := giant(t, outer6, inner6, tags, n, 1000)
						mark := wrapMark(&f)
						s, ok := shapeOf(f.Data, f.VNet, int(mark&wrapMaxNet))
						if !tunnelled(&f) || !ok || !s.summed(f.Data) || s.data != len(f.Data)-n || mark>>wrapL2At&wrapMaxL2 != uint32(etherLen+4*tags) {
							t.Fatalf("got %+v, %t, mark %x", s, ok, mark)
						}
						want := segments(f.Data, &s)
						b, room := bytes.Clone(f.Data), make([]byte, len(f.Data))
						end, tail := s.split(b, room)
						got := segments(b[:end], &s)
						if tail != nil {
							got = append(got, tail)
						}
						if len(got) != len(want) {
							t.Fatalf("got %d segments, want %d", len(got), len(want))
						}
						for i := range got {
							complete(got[i], &s)
							complete(want[i], &s)
							checkSegment(t, i, got[i], want[i], &s)
						}
					})
				}
			}
		}
	}
}

func checkSegment(t *testing.T, i int, got, want []byte, s *shape) {
	t.Helper()
	for _, at := range []int{etherLen, s.ip} {
		var p packet.Packet
		f := packet.Frame{Data: got[at:], Wire: uint32(len(got) - at), Link: packet.RawIP}
		if p.Decode(&f); p.Status != packet.OK || !packet.VerifyIPv4(&p) || !packet.VerifyTransport(&p) {
			t.Errorf("segment %d, header at %d: %v %v, checksums %t %t", i, at, p.Status, p.Reason, packet.VerifyIPv4(&p), packet.VerifyTransport(&p))
		}
	}
	copy(want[s.udp+6:s.udp+8], got[s.udp+6:s.udp+8]) // of which there is nothing to compare with
	if !bytes.Equal(got, want) {
		t.Errorf("segment %d: got\n%x\nwant\n%x", i, got[:s.data], want[:s.data])
	}
}

// FuzzTunnel gives frames whose headers a workload has chosen to what finds and splits them.
func FuzzTunnel(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		g := giant(f, v6, !v6, 1, 3000, 1000)
		f.Add(g.Data, g.VNet[:], true)
	}
	f.Fuzz(func(t *testing.T, data, vnet []byte, split bool) {
		g := packet.Frame{Data: bytes.Clone(data), Flags: packet.GSO, VNet: packet.VNet(append(vnet, make([]byte, vnetLen)...))}
		if len(data) > maxFrame || !tunnelled(&g) {
			return
		}
		mark := wrapMark(&g)
		if s, ok := shapeOf(g.Data, g.VNet, int(mark&wrapMaxNet)); mark != 0 && ok && split {
			if end, tail := s.split(g.Data, make([]byte, maxFrame)); end > len(data) || len(tail) > len(data) {
				t.Errorf("got %d and %d of %d bytes", end, len(tail), len(data))
			}
		}
	})
}
