package conntrack

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// attr is one netlink attribute, padded.
func attr(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

// kernel returns a message in the kernel's format.
func kernel(kind uint16, attrs ...[]byte) []byte {
	b := append(make([]byte, nlHeader+genHeader), bytes.Join(attrs, nil)...)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	return b
}

func be32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

var (
	tuple4 = Tuple{Src: addr("10.0.0.1"), Dst: addr("10.0.0.2"), SrcPort: 40000, DstPort: 80, Proto: 6}
	tuple6 = Tuple{Src: addr("fd00::1"), Dst: addr("fd00::2"), SrcPort: 40000, DstPort: 53, Proto: 17, IPv6: true}
)

// tupleAttr is a tuple as linux/netfilter/nfnetlink_conntrack.h has it.
func tupleAttr(kind uint16, t Tuple) []byte {
	var ip []byte
	if t.IPv6 {
		ip = append(attr(3, t.Src[:]), attr(4, t.Dst[:])...)
	} else {
		ip = append(attr(1, t.Src[12:]), attr(2, t.Dst[12:])...)
	}
	proto := bytes.Join([][]byte{attr(1, []byte{t.Proto}), attr(2, binary.BigEndian.AppendUint16(nil, t.SrcPort)), attr(3, binary.BigEndian.AppendUint16(nil, t.DstPort))}, nil)
	return attr(kind|nested, append(attr(1|nested, ip), attr(2|nested, proto)...))
}

// entryAttrs is an entry in the kernel's format.
func entryAttrs(t Tuple, state byte) []byte {
	count := func(kind uint16, packets, bytes uint64) []byte {
		return attr(kind|nested, append(attr(1, be64(packets)), attr(2, be64(bytes))...))
	}
	return bytes.Join([][]byte{
		tupleAttr(1, t), tupleAttr(2, t.Back()), attr(3, be32(0x18e)), attr(4|nested, attr(1|nested, attr(1, []byte{state}))),
		attr(8, be32(0x80000001)), count(9, 5, 500), count(10, 7, 1<<40),
	}, nil)
}

func TestEntry(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		ok   bool
		want Entry
		over bool
	}{
		{"open", entryAttrs(tuple4, 3), true, Entry{Tuples: [2]Tuple{tuple4, tuple4.Back()}, Packets: [2]uint64{5, 7}, Bytes: [2]uint64{500, 1 << 40}, Mark: 0x80000001, State: 3, Counted: true}, false},
		{"over", entryAttrs(tuple4, 7), true, Entry{Tuples: [2]Tuple{tuple4, tuple4.Back()}, Packets: [2]uint64{5, 7}, Bytes: [2]uint64{500, 1 << 40}, Mark: 0x80000001, State: 7, Counted: true}, true},
		{"IPv6", entryAttrs(tuple6, 0), true, Entry{Tuples: [2]Tuple{tuple6, tuple6.Back()}, Packets: [2]uint64{5, 7}, Bytes: [2]uint64{500, 1 << 40}, Mark: 0x80000001, Counted: true}, false},
		{"not counted", append(tupleAttr(1, tuple4), tupleAttr(2, tuple4.Back())...), true, Entry{Tuples: [2]Tuple{tuple4, tuple4.Back()}}, false},
		{"one tuple", tupleAttr(1, tuple4), false, Entry{}, false},
		{"cut", entryAttrs(tuple4, 3)[:30], false, Entry{}, false},
		{"empty", nil, false, Entry{}, false},
	}
	for _, tt := range tests {
		var got Entry
		if ok := got.parse(tt.in); ok != tt.ok || ok && (got != tt.want || got.Over() != tt.over) {
			t.Errorf("%s: %v, %+v, want %v, %+v", tt.name, ok, got, tt.ok, tt.want)
		}
	}
}

// TestAsking decodes the requests, and compares them with the kernel's header.
func TestAsking(t *testing.T) {
	for _, tt := range []struct {
		of     Tuple
		family byte
	}{{tuple4, 2}, {tuple6, 10}} {
		tr := Tracker{fd: -1}
		tr.begin(typeEntry, nlAck, &tt.of)
		tr.ask.put32(ctMark, 0x80000001)
		got := tr.ask.finish()
		want := kernel(typeEntry, tupleAttr(1, tt.of), attr(8, be32(0x80000001)))
		want[6], want[8], want[nlHeader] = nlRequest|nlAck, 1, tt.family
		if !bytes.Equal(got, want) {
			t.Errorf("% x, want % x", got, want)
		}
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(entryAttrs(tuple4, 3))
	f.Add(entryAttrs(tuple6, 0))
	f.Fuzz(func(_ *testing.T, b []byte) {
		var e Entry
		e.parse(b)
	})
}
