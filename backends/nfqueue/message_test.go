package nfqueue

import (
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// attr is one netlink attribute, padded.
func attr(kind uint16, value []byte) []byte {
	b := make([]byte, 4, 4+len(value)+3)
	binary.NativeEndian.PutUint16(b, uint16(4+len(value)))
	binary.NativeEndian.PutUint16(b[2:], kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// kernel returns a message in the kernel's format.
func kernel(kind uint16, attrs ...[]byte) []byte {
	b := make([]byte, nlHeader+genHeader)
	for _, a := range attrs {
		b = append(b, a...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	return b
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

var header = attr(attrHeader, []byte{0, 0, 0, 9, 8, 0, 4})

var received = attr(attrHeader, []byte{0, 0, 0, 9, 8, 0, 1})

func TestParse(t *testing.T) {
	tests := []struct {
		name  string
		in    []byte
		ok    bool
		want  message
		bytes string
	}{
		{"empty", nil, false, message{}, ""},
		{"packet", kernel(typePacket, header, attr(attrPayload, []byte("abc"))), true, message{id: 9, hook: 4, wire: 3}, "abc"},
		{"mark and flags", kernel(typePacket, header, attr(attrMark, be32(7)), attr(attrSkbInfo, be32(3)), attr(attrPayload, []byte("ab"))), true,
			message{id: 9, hook: 4, mark: 7, wire: 2, flags: packet.PartialChecksum | packet.GSO}, "ab"},
		{"received, not verified", kernel(typePacket, received, attr(attrSkbInfo, be32(4)), attr(attrPayload, []byte("ab"))), true, message{id: 9, hook: 1, wire: 2}, "ab"},
		{"received, verified", kernel(typePacket, received, attr(attrPayload, []byte("ab"))), true, message{id: 9, hook: 1, wire: 2, flags: packet.ChecksumValid}, "ab"},
		{"received from a local sender", kernel(typePacket, received, attr(attrSkbInfo, be32(1)), attr(attrPayload, []byte("ab"))), true,
			message{id: 9, hook: 1, wire: 2, flags: packet.PartialChecksum}, "ab"},
		{"cut", kernel(typePacket, header, attr(attrCapLen, be32(70000)), attr(attrPayload, []byte("ab"))), true, message{id: 9, hook: 4, wire: 70000, flags: packet.Truncated}, "ab"},
		{"no header", kernel(typePacket, attr(attrPayload, []byte("ab"))), false, message{}, ""},
		{"attribute too long", kernel(typePacket, header, []byte{200, 0, 10, 0}), false, message{}, ""},
		{"attribute too short", kernel(typePacket, header, []byte{1, 0, 10, 0}), false, message{}, ""},
		{"refused verdict", kernel(typeError, []byte{}), false, message{}, ""},
		{"another type", kernel(9<<8, header), false, message{}, ""},
		{"longer than it is", append([]byte{255, 0, 0, 0}, kernel(typePacket, header)[4:]...), false, message{}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var m message
			ok := m.parse(tt.in)
			if ok != tt.ok {
				t.Fatalf("parse returned %v, want %v", ok, tt.ok)
			}
			if !ok {
				return
			}
			data := string(m.data)
			m.data = nil
			if m.id != tt.want.id || m.hook != tt.want.hook || m.mark != tt.want.mark || m.wire != tt.want.wire || m.flags != tt.want.flags || data != tt.bytes {
				t.Errorf("%+v with %q, want %+v with %q", m, data, tt.want, tt.bytes)
			}
		})
	}
}

func TestLoopbackDir(t *testing.T) {
	v4 := func(src, dst byte, sport, dport uint16) []byte {
		b := make([]byte, 24)
		b[0], b[12], b[16] = 0x45, src, dst
		binary.BigEndian.PutUint16(b[20:], sport)
		binary.BigEndian.PutUint16(b[22:], dport)
		return b
	}
	v6 := func(src, dst byte) []byte {
		b := make([]byte, 44)
		b[0], b[8], b[23], b[24], b[39] = 0x60, src, 1, dst, 1
		return b
	}
	tests := []struct {
		name string
		in   []byte
		want packet.Direction
	}{
		{"to the sidecar", v4(10, 127, 40000, 15001), packet.Egress},
		{"from the sidecar", v4(127, 10, 15001, 40000), packet.Ingress},
		{"to the sidecar, IPv6", v6(0xfd, 0), packet.Egress},
		{"from the sidecar, IPv6", v6(0, 0xfd), packet.Ingress},
		{"both loopback, there", v4(127, 127, 40000, 15001), packet.Egress},
		{"both loopback, back", v4(127, 127, 15001, 40000), packet.Ingress},
		{"too short", []byte{0x45}, packet.NoDirection},
		{"too short for IPv6", v6(0, 0)[:30], packet.NoDirection},
		{"no ports", v4(127, 127, 0, 0)[:20], packet.NoDirection},
	}
	for _, tt := range tests {
		if got := new(addresses).direction(tt.in); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestVerdictLayout(t *testing.T) {
	v := verdicts{buf: make([]byte, 0, 256), queue: 0x5102}
	v.add(typeVerdict, 7, verdictPass, 0x80000001)
	v.add(typeBatch, 8, verdictDrop, 0)
	want := kernel(typeVerdict, attr(attrVerdict, append(be32(1), be32(7)...)), attr(attrMark, be32(0x80000001)))
	want = append(want, kernel(typeBatch, attr(attrVerdict, append(be32(0), be32(8)...)))...)
	for _, at := range []int{0, verdictLen + markLen} {
		want[at+6] = nlRequest
		binary.BigEndian.PutUint16(want[at+18:], 0x5102)
	}
	if string(v.buf) != string(want) {
		t.Errorf("% x, want % x", v.buf, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(kernel(typePacket, header, attr(attrMark, be32(7)), attr(attrPayload, []byte("abc"))))
	f.Add(kernel(typeError, be32(2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m message
		if m.parse(b) && len(m.data) > len(b) {
			t.Error("data is longer than the message")
		}
		new(addresses).direction(b)
	})
}

func BenchmarkMessage(b *testing.B) {
	in := kernel(typePacket, header, attr(attrSkbInfo, be32(3)), attr(attrPayload, make([]byte, 1400)))
	v := verdicts{buf: make([]byte, 0, 4096)}
	var m message
	b.ReportAllocs()
	for range b.N {
		m.parse(in)
		v.reset()
		v.add(typeVerdict, m.id, verdictPass, 0)
	}
}
