package nfqueue

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

func be64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func addr(s string) packet.Addr { return packet.AddrFrom(netip.MustParseAddr(s)) }

var (
	tuple4 = tuple{src: addr("10.0.0.1"), dst: addr("10.0.0.2"), sport: 40000, dport: 80, proto: 6}
	tuple6 = tuple{src: addr("fd00::1"), dst: addr("fd00::2"), sport: 40000, dport: 53, proto: 17, v6: true}
)

// tupleAttr is a tuple as linux/netfilter/nfnetlink_conntrack.h has it.
func tupleAttr(kind uint16, t tuple) []byte {
	var ip []byte
	if t.v6 {
		ip = append(attr(3, t.src[:]), attr(4, t.dst[:])...)
	} else {
		ip = append(attr(1, t.src[12:]), attr(2, t.dst[12:])...)
	}
	proto := bytes.Join([][]byte{attr(1, []byte{t.proto}), attr(2, binary.BigEndian.AppendUint16(nil, t.sport)), attr(3, binary.BigEndian.AppendUint16(nil, t.dport))}, nil)
	return attr(kind|nested, append(attr(1|nested, ip), attr(2|nested, proto)...))
}

// entryAttrs is an entry in the kernel's format.
func entryAttrs(t tuple, state byte) []byte {
	count := func(kind uint16, packets, bytes uint64) []byte {
		return attr(kind|nested, append(attr(1, be64(packets)), attr(2, be64(bytes))...))
	}
	return bytes.Join([][]byte{
		tupleAttr(1, t), tupleAttr(2, t.back()), attr(3, be32(0x18e)), attr(4|nested, attr(1|nested, attr(1, []byte{state}))),
		attr(8, be32(0x80000001)), count(9, 5, 500), count(10, 7, 1<<40),
	}, nil)
}

func TestEntry(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		ok   bool
		want entry
		over bool
	}{
		{"open", entryAttrs(tuple4, 3), true, entry{tuples: [2]tuple{tuple4, tuple4.back()}, packets: [2]uint64{5, 7}, bytes: [2]uint64{500, 1 << 40}, mark: 0x80000001, state: 3, counted: true}, false},
		{"over", entryAttrs(tuple4, 7), true, entry{tuples: [2]tuple{tuple4, tuple4.back()}, packets: [2]uint64{5, 7}, bytes: [2]uint64{500, 1 << 40}, mark: 0x80000001, state: 7, counted: true}, true},
		{"IPv6", entryAttrs(tuple6, 0), true, entry{tuples: [2]tuple{tuple6, tuple6.back()}, packets: [2]uint64{5, 7}, bytes: [2]uint64{500, 1 << 40}, mark: 0x80000001, counted: true}, false},
		{"not counted", append(tupleAttr(1, tuple4), tupleAttr(2, tuple4.back())...), true, entry{tuples: [2]tuple{tuple4, tuple4.back()}}, false},
		{"one tuple", tupleAttr(1, tuple4), false, entry{}, false},
		{"cut", entryAttrs(tuple4, 3)[:30], false, entry{}, false},
		{"empty", nil, false, entry{}, false},
	}
	for _, tt := range tests {
		var got entry
		if ok := got.parse(tt.in); ok != tt.ok || ok && (got != tt.want || got.over() != tt.over) {
			t.Errorf("%s: %v, %+v, want %v, %+v", tt.name, ok, got, tt.ok, tt.want)
		}
	}
}

// TestAsking decodes the requests, and compares them with the kernel's header.
func TestAsking(t *testing.T) {
	for _, tt := range []struct {
		of     tuple
		family byte
	}{{tuple4, 2}, {tuple6, 10}} {
		tr := tracker{fd: -1}
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
		var e entry
		e.parse(b)
	})
}
