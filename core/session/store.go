package session

import "math/bits"

// The store allocates sessions from chunks that never move. It uses the lowest chunk with
// room, so that the upper ones empty and are freed.
const (
	chunkBits = 8
	chunkSize = 1 << chunkBits
)

type chunk [chunkSize]Session

type chunkInfo struct {
	free  uint32 // first of the free list, a ref
	used  uint16
	fresh uint16 // sessions from here on were never used
}

type store struct {
	chunks []*chunk
	info   []chunkInfo
	room   []uint64 // a bit for each chunk that exists and has room
	some   []uint64 // a bit for each word of room that is not 0
	idle   int      // chunks that exist and hold nothing
	live   int      // chunks that exist
}

func (st *store) at(ref uint32) *Session {
	ref--
	return &st.chunks[ref>>chunkBits][ref&(chunkSize-1)]
}

func (st *store) mark(c int, room bool) {
	w := c >> 6
	if room {
		st.room[w] |= 1 << (c & 63)
		st.some[w>>6] |= 1 << (w & 63)
		return
	}
	if st.room[w] &^= 1 << (c & 63); st.room[w] == 0 {
		st.some[w>>6] &^= 1 << (w & 63)
	}
}

// lowest returns the lowest chunk with room; -1 if there is none.
func (st *store) lowest() int {
	for i, v := range st.some {
		if v != 0 {
			w := i<<6 + bits.TrailingZeros64(v)
			return w<<6 + bits.TrailingZeros64(st.room[w])
		}
	}
	return -1
}

// grow adds a chunk, at the lowest unused number.
func (st *store) grow() int {
	c := len(st.chunks)
	if st.live < len(st.chunks) {
		for c = 0; st.chunks[c] != nil; c++ {
		}
		st.chunks[c] = new(chunk)
	} else {
		st.chunks = append(st.chunks, new(chunk))
		st.info = append(st.info, chunkInfo{})
		if c>>6 == len(st.room) {
			st.room = append(st.room, 0)
		}
		if c>>12 == len(st.some) {
			st.some = append(st.some, 0)
		}
	}
	st.live++
	st.idle++
	st.info[c] = chunkInfo{}
	st.mark(c, true)
	return c
}

// alloc returns a session's memory, with ref set and everything else undefined.
func (st *store) alloc() *Session {
	c := st.lowest()
	if c < 0 {
		c = st.grow()
	}
	in := &st.info[c]
	var s *Session
	if in.free != 0 {
		ref := in.free
		s = st.at(ref)
		in.free = s.next
		s.ref = ref
	} else {
		s = &st.chunks[c][in.fresh]
		s.ref = uint32(c<<chunkBits) + uint32(in.fresh) + 1
		in.fresh++
	}
	if in.used == 0 {
		st.idle--
	}
	if in.used++; in.used == chunkSize {
		st.mark(c, false)
	}
	return s
}

// free returns a session's memory. One idle chunk is kept.
func (st *store) free(s *Session) {
	c := int(s.ref-1) >> chunkBits
	in := &st.info[c]
	if in.used == chunkSize {
		st.mark(c, true)
	}
	s.next, in.free, s.ref = in.free, s.ref, 0
	in.used--
	if in.used > 0 {
		return
	}
	if st.idle > 0 {
		st.chunks[c] = nil
		st.live--
		st.mark(c, false)
		return
	}
	st.idle++
}
