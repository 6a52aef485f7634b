package policy

import (
	"encoding/binary"
	"math/bits"

	"github.com/sluicenet/sluice/core/packet"
)

// hosts holds the prefixes of one address each (/32, /128), which are nearly all of a
// cluster's, in open-addressing maps in front of the prefix tree. At a million addresses they
// take a fifth of the tree's time (BenchmarkIdentity). IPv4 has its own map because eight
// bytes a slot instead of twenty halve the cache misses.
type hosts struct {
	v4 hostMap[uint32]
	v6 hostMap[packet.Addr]
}

// hostMap is at most half full.
type hostMap[K comparable] struct {
	slots []hostSlot[K]
	shift uint8
}

// hostSlot is one address. identity is one more than the identity, so that 0 is an empty slot.
type hostSlot[K comparable] struct {
	addr     K
	identity uint32
}

// newHosts collects the single addresses among a; a later one of the same address wins.
func newHosts(a []AddressSpec) hosts {
	var n4, n6 int
	for _, x := range a {
		switch {
		case !x.Prefix.IsSingleIP():
		case x.Prefix.Addr().Is4():
			n4++
		default:
			n6++
		}
	}
	h := hosts{v4: newHostMap[uint32](n4), v6: newHostMap[packet.Addr](n6)}
	for _, x := range a {
		addr := packet.AddrFrom(x.Prefix.Addr())
		switch {
		case !x.Prefix.IsSingleIP():
		case x.Prefix.Addr().Is4():
			k := binary.BigEndian.Uint32(addr[12:])
			*h.v4.slot(k, hash4(k)) = hostSlot[uint32]{k, x.Identity + 1}
		default:
			*h.v6.slot(addr, hash6(&addr)) = hostSlot[packet.Addr]{addr, x.Identity + 1}
		}
	}
	return h
}

func newHostMap[K comparable](n int) hostMap[K] {
	size := bits.Len(uint(2*n + 1))
	return hostMap[K]{slots: make([]hostSlot[K], 1<<size), shift: uint8(64 - size)}
}

// find returns one more than an address' identity, 0 if the address is absent.
func (h *hosts) find(a *packet.Addr, ipv6 bool) uint32 {
	if ipv6 {
		return h.v6.slot(*a, hash6(a)).identity
	}
	k := binary.BigEndian.Uint32(a[12:])
	return h.v4.slot(k, hash4(k)).identity
}

// slot returns the slot of an address, or the empty one for it.
func (m *hostMap[K]) slot(a K, hash uint64) *hostSlot[K] {
	mask := uint64(len(m.slots) - 1)
	for i := hash >> m.shift; ; i++ {
		s := &m.slots[i&mask]
		if s.identity == 0 || s.addr == a {
			return s
		}
	}
}

func hash4(a uint32) uint64 { return (uint64(a) + 1) * 0x9e3779b97f4a7c15 }

func hash6(a *packet.Addr) uint64 {
	hi, lo := binary.LittleEndian.Uint64(a[:8]), binary.LittleEndian.Uint64(a[8:])
	h, l := bits.Mul64(hi^0x9e3779b97f4a7c15, lo^0xe7037ed1a0b428db)
	return (h ^ l) * 0x9e3779b97f4a7c15
}
