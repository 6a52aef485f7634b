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

// The tag that replaces a workload's own address on the service port: three bytes of prefix,
// locally administered, and the endpoint's number.
const tag0, tag1, tag2 = 0x02, 0x53, 0x4c

func isTag(mac []byte) bool {
	_ = mac[5]
	return mac[0] == tag0 && mac[1] == tag1 && mac[2] == tag2
}

func tagID(mac []byte) uint32 {
	_ = mac[5]
	return uint32(mac[3])<<16 | uint32(mac[4])<<8 | uint32(mac[5])
}

func putTag(mac []byte, id uint32) {
	_ = mac[5]
	mac[0], mac[1], mac[2] = tag0, tag1, tag2
	mac[3], mac[4], mac[5] = byte(id>>16), byte(id>>8), byte(id)
}
