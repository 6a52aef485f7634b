package policy

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gaissmai/bart"

	"github.com/sluicenet/sluice/core/packet"
)

// BenchmarkExact compares the exact map with a Go map of the same keys; each look-up depends on
// the one before, as those of a decision do.
func BenchmarkExact(b *testing.B) {
	const n = 1 << 18
	r := rand.New(rand.NewPCG(1, 1))
	entries := make([]exactSlot, n)
	goMap := make(map[uint64]uint32, n)
	for i := range entries {
		entries[i] = exactSlot{exactKey(uint32(i/8), 6<<16|uint32(r.IntN(10000))), uint32(r.IntN(n))}
		goMap[entries[i].key] = entries[i].list
	}
	m := newExactMap(entries)
	b.Run("own", func(b *testing.B) {
		at := uint32(0)
		for b.Loop() {
			at, _ = m.find(entries[at].key)
		}
	})
	b.Run("go", func(b *testing.B) {
		at := uint32(0)
		for b.Loop() {
			at = goMap[entries[at].key]
		}
	})
}

// BenchmarkIdentity compares the map of single addresses with the prefix tree at a million addresses.
func BenchmarkIdentity(b *testing.B) {
	const n = 1 << 20
	r := rand.New(rand.NewPCG(1, 1))
	specs := make([]AddressSpec, n)
	addrs := make([]packet.Addr, n)
	var tree bart.Table[uint32]
	for i := range specs {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		specs[i] = AddressSpec{netip.PrefixFrom(a, 32), uint32(r.IntN(n))}
		addrs[i] = packet.AddrFrom(a)
		tree.Insert(specs[i].Prefix, specs[i].Identity)
	}
	h := newHosts(specs)
	b.Run("hosts", func(b *testing.B) {
		at := uint32(0)
		for b.Loop() {
			at = h.find(&addrs[at], false) - 1
		}
	})
	b.Run("tree", func(b *testing.B) {
		at := uint32(0)
		for b.Loop() {
			at, _ = tree.Lookup(toNetip(addrs[at], false))
		}
	})
}
