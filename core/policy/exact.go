package policy

import "math/bits"

// exactMap is the exact part of every port table in one open-addressing map, linear probing,
// at most half full. It is built once and only read afterwards. It is more than twice as fast
// as a Go map of the same keys at 100,000 rules (BenchmarkExact).
type exactMap struct {
	slots []exactSlot
	shift uint8
}

// exactSlot is one entry. The key is never 0, because tables count from 1.
type exactSlot struct {
	key  uint64
	list uint32
}

// exactKey packs a table's number and a point of the port space.
func exactKey(table uint32, x uint32) uint64 { return uint64(table+1)<<24 | uint64(x) }

// newExactMap builds a map of the entries; later ones of the same key win.
func newExactMap(entries []exactSlot) exactMap {
	n := bits.Len(uint(2*len(entries) + 1)) // a power of two above twice the entries
	m := exactMap{slots: make([]exactSlot, 1<<n), shift: uint8(64 - n)}
	mask := uint64(len(m.slots) - 1)
	for _, e := range entries {
		i := m.hash(e.key)
		for m.slots[i].key != 0 && m.slots[i].key != e.key {
			i = (i + 1) & mask
		}
		m.slots[i] = e
	}
	return m
}

// hash is Fibonacci hashing: the high bits of the product depend on every bit of the key.
func (m *exactMap) hash(key uint64) uint64 { return (key * 0x9e3779b97f4a7c15) >> m.shift }

// find returns the list of a key, and whether there is one.
func (m *exactMap) find(key uint64) (uint32, bool) {
	mask := uint64(len(m.slots) - 1)
	for i := m.hash(key); ; i = (i + 1) & mask {
		s := &m.slots[i&mask]
		if s.key == key {
			return s.list, true
		}
		if s.key == 0 {
			return 0, false
		}
	}
}
