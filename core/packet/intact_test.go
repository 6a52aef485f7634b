package packet_test

import (
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// rawSegment is an IP packet with a transport header and payload, and a right checksum.
func rawSegment(v6 bool, proto uint8, port uint16, payload string) (b []byte, at, field int) {
	head, field := 20, 16
	if proto == packet.ProtoUDP {
		head, field = 8, 6
	}
	t := append(make([]byte, head), payload...)
	binary.BigEndian.PutUint16(t[0:], 40000)
	binary.BigEndian.PutUint16(t[2:], port)
	if proto == packet.ProtoUDP {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		t[12], t[13] = 5<<4, packet.ACK
	}
	if v6 {
		b = make([]byte, 40)
		b[0], b[6], b[7], b[23], b[39] = 0x60, proto, 64, 1, 2
		binary.BigEndian.PutUint16(b[4:], uint16(len(t)))
	} else {
		b = make([]byte, 20)
		b[0], b[8], b[9], b[12], b[15], b[16], b[19] = 0x45, 64, proto, 10, 1, 10, 2
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(t)))
		binary.BigEndian.PutUint16(b[10:], packet.Checksum(b, 0))
	}
	at = len(b)
	b = append(b, t...)
	var p packet.Packet
	p.Decode(&packet.Frame{Data: b, Wire: uint32(len(b)), Link: packet.RawIP})
	binary.BigEndian.PutUint16(b[at+field:], packet.Checksum(t, packet.PseudoSum(&p.Src, &p.Dst, proto, len(t))))
	return b, at, field
}

func intact(b []byte, flags packet.Flags, v packet.VNet) bool {
	f := packet.Frame{Data: b, Wire: uint32(len(b)), Link: packet.RawIP, Flags: flags, VNet: v}
	var p packet.Packet
	p.Decode(&f)
	return p.Intact(&f)
}

// vnet asks for a checksum from start on, at offset from there.
func vnet(start, offset int) (v packet.VNet) {
	v[0] = 1
	binary.LittleEndian.PutUint16(v[6:], uint16(start))
	binary.LittleEndian.PutUint16(v[8:], uint16(offset))
	return v
}

// complete does what an interface does that fills in checksums (include/linux/skbuff.h).
func complete(b []byte, start, offset int) []byte {
	b = append([]byte(nil), b...)
	binary.BigEndian.PutUint16(b[start+offset:], packet.Checksum(b[start:], 0))
	return b
}

func TestIntact(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
			for _, payload := range []string{"", "x", "some payload"} {
				b, at, field := rawSegment(v6, proto, 80, payload)
				seed := append([]byte(nil), b...)
				var p packet.Packet
				p.Decode(&packet.Frame{Data: b, Wire: uint32(len(b)), Link: packet.RawIP})
				sum := packet.PseudoSum(&p.Src, &p.Dst, proto, len(b)-at)
				binary.BigEndian.PutUint16(seed[at+field:], ^packet.Checksum(nil, sum))
				wrong := append([]byte(nil), b...)
				wrong[at+field] ^= 1
				const part, valid, gso = packet.PartialChecksum, packet.ChecksumValid, packet.GSO
				udp := proto == packet.ProtoUDP
				for _, c := range []struct {
					name  string
					b     []byte
					flags packet.Flags
					v     packet.VNet
					want  bool
				}{
					{"right", b, 0, packet.VNet{}, true},
					{"wrong", wrong, 0, packet.VNet{}, false},
					{"verified by the interface", wrong, valid, packet.VNet{}, true},
					{"partial", seed, part, vnet(at, field), true},
					{"partial without metadata", seed, part, packet.VNet{}, true},
					{"partial with a wrong seed", wrong, part, vnet(at, field), false},
					{"the same without metadata", wrong, part, packet.VNet{}, udp},
					{"the same, segmented", wrong, part | gso, vnet(at, field), true},
					{"partial at another place of the header", seed, part, vnet(at, field-2), false},
					{"partial from before the header", seed, part, vnet(at-2, field), false},
					{"the same, right already", b, part, vnet(at-2, field), true},
					{"partial from behind the packet", b, part, vnet(len(b)+4, 0), false},
				} {
					if got := intact(c.b, c.flags, c.v); got != c.want {
						t.Errorf("IPv6 %v, protocol %d, %q, %s: got %v, want %v", v6, proto, payload, c.name, got, c.want)
					}
				}
			}
		}
	}
}

// TestIntactIPHeader: the checksum of the IPv4 header covers that header alone.
func TestIntactIPHeader(t *testing.T) {
	b, _, _ := rawSegment(false, packet.ProtoTCP, 80, "x")
	b[10] ^= 1
	for _, flags := range []packet.Flags{0, packet.ChecksumValid, packet.PartialChecksum | packet.GSO} {
		if intact(b, flags, packet.VNet{}) {
			t.Errorf("flags %#x: intact with a wrong header checksum", flags)
		}
	}
}

// TestIntactTunnel: the outer checksum of a tunnel is right before the inner one is filled in, and
// what an offload completes is judged by what it becomes, wherever it begins.
func TestIntactTunnel(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		inner, iat, ifield := rawSegment(v6, packet.ProtoTCP, 80, "inner payload")
		outer, at, field := rawSegment(v6, packet.ProtoUDP, 4789, "12345678"+string(inner))
		start := at + 8 + 8 + iat
		for k := range 64 { // any initial value of the inner field, any byte of the header
			b := append([]byte(nil), outer...)
			binary.BigEndian.PutUint16(b[start+ifield:], uint16(k*1031))
			for _, spoil := range []byte{0, byte(k)} {
				b[at+field] ^= spoil
				want := intact(complete(b, start, ifield), 0, packet.VNet{})
				if got := intact(b, packet.PartialChecksum, vnet(start, ifield)); got != want {
					t.Fatalf("IPv6 %v, %d, %d: %v, but it becomes %v", v6, k, spoil, got, want)
				}
			}
		}
	}
}

// TestOptionsOfSegments: options that matter beyond the SYN are read from every segment.
func TestOptionsOfSegments(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		want    packet.Packet
	}{
		{"timestamps", []byte{1, 1, 8, 10, 0, 0, 1, 2, 0, 0, 0, 9}, packet.Packet{HasTime: true, TimeValue: 0x102}},
		{"timestamps behind others", []byte{1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0, 8, 10, 0, 0, 1, 3, 0, 0, 0, 9, 0, 0, 0}, packet.Packet{HasTime: true, TimeValue: 0x103}},
		{"timestamps of a wrong length", []byte{1, 1, 8, 9, 0, 0, 1, 2, 0, 0, 0, 9}, packet.Packet{}},
		{"MD5", append([]byte{1, 1, 19, 18}, make([]byte, 16)...), packet.Packet{Signed: true}},
		{"AO", append([]byte{29, 12}, make([]byte, 10)...), packet.Packet{Signed: true}},
		{"behind the end of the list", append([]byte{0, 0, 19, 18}, make([]byte, 16)...), packet.Packet{}},
		{"behind a bad length", append([]byte{5, 1, 19, 18}, make([]byte, 16)...), packet.Packet{}},
		{"MSS, scale, cookie: in a SYN only", []byte{2, 4, 5, 180, 3, 3, 7, 1, 34, 4, 1, 2}, packet.Packet{}},
	} {
		b, at, _ := rawSegment(true, packet.ProtoTCP, 80, string(c.options))
		b[at+12] = uint8(5+len(c.options)/4) << 4
		var p packet.Packet
		p.Decode(&packet.Frame{Data: b, Wire: uint32(len(b)), Link: packet.RawIP})
		if p.Status != packet.OK || p.HasTime != c.want.HasTime || p.TimeValue != c.want.TimeValue || p.Signed != c.want.Signed || p.MSS != 0 || p.HasWScale || p.FastOpen {
			t.Errorf("%s: %v time %v %#x signed %v", c.name, p.Status, p.HasTime, p.TimeValue, p.Signed)
		}
	}
}
