package frag_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
)

// TestOwner is found by a quote of any fragment, with or without data, in both families.
func TestOwner(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		r := frag.New(frag.Config{})
		first, last := build(v6, 7, part{0, make([]byte, 64), true}), build(v6, 7, part{64, make([]byte, 8), false})
		quote := func(b []byte) *packet.Packet {
			q := &packet.Packet{}
			if !q.DecodeQuoted(b[14:]) {
				t.Fatalf("IPv6 %v: the quote cannot be read: %v", v6, q.Reason)
			}
			return q
		}
		for _, b := range [][]byte{first, last} {
			if _, ok := r.Owner(quote(last), frag.At{Workload: 1}); ok {
				t.Errorf("IPv6 %v: an owner before the datagram is whole", v6)
			}
			f := packet.Frame{Data: b, Wire: uint32(len(b)), Endpoint: 1}
			p := &packet.Packet{}
			p.Decode(&f)
			r.Add(p, &f, 1, 1)
		}
		want := frag.Owner{Proto: packet.ProtoUDP, SrcPort: 1, DstPort: 2}
		r.SetOwner(want)
		for _, b := range [][]byte{first, last, last[:len(last)-8]} {
			if got, ok := r.Owner(quote(b), frag.At{Workload: 1}); !ok || got != want {
				t.Errorf("IPv6 %v: got %v, %v, want %v", v6, got, ok, want)
			}
		}
		if _, ok := r.Owner(quote(last), frag.At{Workload: 2}); ok {
			t.Errorf("IPv6 %v: the owner of another endpoint's datagram", v6)
		}
	}
}
