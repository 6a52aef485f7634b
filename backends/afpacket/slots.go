package afpacket

// Slots of the service port's rings: small ones for most frames, and large ones for up to the
// largest frame, 64 KiB and its headers. They are an odd number of cache lines apart, so that
// the slots' headers do not all map to one set of the cache.
const (
	slotBlock = 1 << 20
	smallSlot = 64 * 33
	largeSlot = 64 * 1091
	vnetLen   = 10
	maxFrame  = largeSlot - 32 - vnetLen
	// smallFrame is the longest frame that is received in a small slot, behind a header
	// of less than 100 bytes.
	smallFrame = 1900
)

// slots is the geometry of a ring whose frames do not cross blocks.
type slots struct{ base, n, size, perBlock int }

// slotsFor returns room for at least n slots of a size, from base on.
func slotsFor(base, n, size int) slots {
	per := slotBlock / size
	blocks := max(1, (n+per-1)/per)
	return slots{base: base, n: blocks * per, size: size, perBlock: per}
}

func (s slots) blocks() int { return s.n / s.perBlock }
func (s slots) bytes() int  { return s.blocks() * slotBlock }

// at returns the offset of slot i.
func (s slots) at(i int) int {
	return s.base + i/s.perBlock*slotBlock + i%s.perBlock*s.size
}
