package session

import "hash/maphash"

// The index is an extendible hash of slots: a slot is a 32-bit tag (the hash) above a 32-bit
// ref. The tag's upper bits choose a segment in the directory, its lower bits the place in
// the segment. A full segment doubles up to segmentMax slots and is then split in two, so
// that growth never moves more than one segment at a time and never reads keys again. The
// hash is seeded per table, so that an attacker cannot aim at a segment.
const (
	segmentMin = 64
	segmentMax = 1024
	// depthMax bounds the directory; beyond it the tag has too few bits.
	depthMax = 20
)

type segment struct {
	slots []uint64
	n     int
	depth uint8 // number of upper tag bits that all its slots share
}

type index struct {
	seed    maphash.Seed
	dir     []*segment
	depth   uint8 // len(dir) == 1<<depth
	segs    int
	scratch []uint64
}

func (x *index) init() {
	x.seed = maphash.MakeSeed()
	x.reset()
}

// reset empties the index.
func (x *index) reset() {
	if x.segs == 1 {
		clear(x.dir[0].slots)
		x.dir[0].n = 0
		return
	}
	x.dir = []*segment{{slots: make([]uint64, segmentMin)}}
	x.depth, x.segs, x.scratch = 0, 1, nil
}

func (x *index) hash(k *Key) uint32 {
	return uint32(maphash.Bytes(x.seed, k.raw()) >> 32)
}

func (x *index) segment(tag uint32) *segment {
	return x.dir[tag>>((32-x.depth)&63)]
}

// insert adds a slot. It returns false if the segment is full and cannot be split again.
func (x *index) insert(tag, ref uint32) bool {
	g := x.segment(tag)
	for (g.n+1)*4 > len(g.slots)*3 {
		switch {
		case len(g.slots) < segmentMax:
			old := g.slots
			g.slots, g.n = make([]uint64, 2*len(old)), 0
			for _, v := range old {
				if v != 0 {
					g.putSlot(v)
				}
			}
		case g.depth < depthMax:
			x.split(g, tag)
			g = x.segment(tag)
		default:
			return false
		}
	}
	g.putSlot(uint64(tag)<<32 | uint64(ref))
	return true
}

// split distributes the slots of g between g and a new segment, by the next bit of the tag.
func (x *index) split(g *segment, tag uint32) {
	if g.depth == x.depth {
		dir := make([]*segment, 2*len(x.dir))
		for i, s := range x.dir {
			dir[2*i], dir[2*i+1] = s, s
		}
		x.dir = dir
		x.depth++
	}
	if x.scratch == nil {
		x.scratch = make([]uint64, segmentMax)
	}
	copy(x.scratch, g.slots)
	clear(g.slots)
	g.n = 0
	g.depth++
	h := &segment{slots: make([]uint64, segmentMax), depth: g.depth}
	x.segs++
	bit := uint32(1) << (32 - g.depth)
	for _, v := range x.scratch {
		switch {
		case v == 0:
		case uint32(v>>32)&bit == 0:
			g.putSlot(v)
		default:
			h.putSlot(v)
		}
	}
	// The directory's entries for h: the upper half of those that g had.
	first := int((tag&^(bit-1) | bit) >> (32 - x.depth))
	for i := range 1 << (x.depth - g.depth) {
		x.dir[first+i] = h
	}
}

func (g *segment) putSlot(v uint64) {
	mask := len(g.slots) - 1
	i := int(v>>32) & mask
	for g.slots[i] != 0 {
		i = (i + 1) & mask
	}
	g.slots[i] = v
	g.n++
}

// remove deletes the slot and moves later ones up, so that there are no tombstones.
func (x *index) remove(tag, ref uint32) {
	g := x.segment(tag)
	mask := len(g.slots) - 1
	v := uint64(tag)<<32 | uint64(ref)
	i := int(tag) & mask
	for g.slots[i] != v {
		if g.slots[i] == 0 {
			return
		}
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		w := g.slots[j]
		if w == 0 {
			break
		}
		// w may move to i if its own place is not between i (excluded) and j.
		if (j-int(w>>32))&mask >= (j-i)&mask {
			g.slots[i] = w
			i = j
		}
	}
	g.slots[i] = 0
	g.n--
}
