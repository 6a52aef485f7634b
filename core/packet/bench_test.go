package packet_test

import (
	"fmt"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

func TestDecodeAllocatesNothing(t *testing.T) {
	p := new(packet.Packet)
	tcp, tcp6 := tcpFrame(t, false, "hello"), tcpFrame(t, true, "hello")
	frames := [][]byte{tcp, tcp6, udpFrame(t, false, 1, 4789, make([]byte, 40)), edit(tcp, 14, 0x44), tcp[:20],
		withExtensions(tcp6, 44, 6, 0, 0, 1, 1, 2, 3, 4)}
	buf := make([]byte, packet.AnswerMax)
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range frames {
			p.Decode(&packet.Frame{Data: b, Wire: uint32(len(b))})
			packet.VerifyTransport(p)
			p.Inner()
			packet.BuildRST(buf, p.ResetBack())
			packet.BuildUnreachable(buf, packet.Unreachable{IPv6: p.IPv6, Src: p.Dst, Dst: p.Src, Quote: p.Network})
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	tcp, tcp6 := tcpFrame(b, false, "hello"), tcpFrame(b, true, "hello")
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"ipv4-tcp", tcp},
		{"ipv6-tcp", tcp6},
		{"ipv4-udp", udpFrame(b, false, 53, 5353, []byte("hello"))},
		{"vlan-ipv4-tcp", insert(tcp, 12, 0x81, 0, 0, 5)},
		{"ipv6-hopbyhop-tcp", withExtensions(tcp6, 0, 6, 0, 0, 0, 0, 0, 0, 0)},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := new(packet.Packet)
			f := &packet.Frame{Data: c.frame, Wire: uint32(len(c.frame))}
			b.ReportAllocs()
			for b.Loop() {
				p.Decode(f)
			}
			if p.Status != packet.OK {
				b.Fatal(p.Reason)
			}
		})
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 64, 1500, 65535} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				packet.Checksum(data, 1)
			}
		})
	}
}
