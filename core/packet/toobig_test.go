package packet_test

import (
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// TestBuildTooBig decodes the error that answers a packet: its addresses, type, MTU and
// checksums, and the quoted packet.
func TestBuildTooBig(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		in := packet.Frame{Data: tcpFrame(t, v6, "a payload")}
		in.Wire = uint32(len(in.Data))
		var p packet.Packet
		p.Decode(&in)
		link, ok := p.LinkHeader(&in)
		if p.Status != packet.OK || !ok {
			t.Fatalf("ipv6 %t: got %v", v6, p.Status)
		}
		u := packet.Unreachable{Link: link, Back: true, IPv6: v6, Src: p.Dst, Dst: p.Src, Quote: p.Network}
		out := packet.Frame{Data: packet.BuildTooBig(make([]byte, packet.AnswerMax), u, 1430)}
		out.Wire = uint32(len(out.Data))
		var q, quoted packet.Packet
		q.Decode(&out)
		if q.Status != packet.OK || !packet.VerifyIPv4(&q) || !packet.VerifyTransport(&q) || q.Src != p.Dst || q.Dst != p.Src || q.DstMAC != p.SrcMAC {
			t.Errorf("ipv6 %t: got %v %v, checksums %t %t", v6, q.Status, q.Reason, packet.VerifyIPv4(&q), packet.VerifyTransport(&q))
		}
		kind, mtu := [2]uint8{q.ICMPType, q.ICMPCode}, uint32(0)
		head := q.Network[q.IPHeader:]
		want := [2]uint8{3, 4}
		if mtu = uint32(binary.BigEndian.Uint16(head[6:])); v6 {
			want, mtu = [2]uint8{2, 0}, binary.BigEndian.Uint32(head[4:])
		}
		if kind != want || mtu != 1430 {
			t.Errorf("ipv6 %t: got type and code %v, mtu %d", v6, kind, mtu)
		}
		if !quoted.DecodeQuoted(q.Embedded) || quoted.SrcPort != p.SrcPort || quoted.Seq != p.Seq {
			t.Errorf("ipv6 %t: got quoted %+v", v6, quoted)
		}
		if b := packet.BuildTooBig(make([]byte, 40), u, 1430); b != nil {
			t.Errorf("ipv6 %t: got %d bytes in a short buffer", v6, len(b))
		}
	}
}

// TestLargest compares a frame with what it becomes on the wire.
func TestLargest(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		f := packet.Frame{Data: tcpFrame(t, v6, string(make([]byte, 3000)))}
		f.Wire = uint32(len(f.Data))
		var p packet.Packet
		p.Decode(&f)
		whole := len(f.Data) - 14
		if got := p.Largest(&f); got != whole {
			t.Errorf("ipv6 %t: got %d want %d", v6, got, whole)
		}
		f.Flags |= packet.GSO
		binary.LittleEndian.PutUint16(f.VNet[4:], 1000)
		if got := p.Largest(&f); got != whole-2000 {
			t.Errorf("ipv6 %t, to be segmented: got %d want %d", v6, got, whole-2000)
		}
		binary.LittleEndian.PutUint16(f.VNet[4:], 5000)
		if got := p.Largest(&f); got != whole {
			t.Errorf("ipv6 %t, in one segment: got %d want %d", v6, got, whole)
		}
	}
}
