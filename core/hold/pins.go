package hold

import "bytes"

// Bounds of the pinned payload.
const (
	MaxPinned   = 32 << 20 // bytes of one Pins
	maxPiece    = 16 << 10 // of one packet: what lies behind is beyond what parsers read
	maxPinnedOf = 80 << 10 // bytes of one session: more than identification reads of both directions
	pinCost     = 64       // that each piece counts beside its bytes
)

// Pins remembers the payload that was delivered for policy to decide on, until its receiver has
// acknowledged it. Until then a sender can repeat it with other bytes, which the receiver would
// take if the first ones did not reach it (a small hop limit is enough) or were discarded there
// for a reason that is not known here.
//
// The zero value is empty. Sessions are identified by the numbers that Add returns; 0 is none.
// Where there is no more room, the session that began to be pinned first is sealed: only the
// place of its payload is remembered, and no repetition of it is accepted.
type Pins struct {
	all         []pinned
	free        []uint32
	first, last uint32 // by age, of those that are not sealed
	bytes       int
}

// pinned is the payload of one session.
type pinned struct {
	pieces     [2][]pinnedPiece
	bytes      int
	sealed     bool
	next, prev uint32
}

type pinnedPiece struct {
	seq, end uint32
	data     []byte // nil where sealed
}

// Bytes returns the number of pinned bytes, with those that pieces count beside their own.
func (p *Pins) Bytes() int { return p.bytes }

// Add pins a copy of payload, which begins at sequence number seq of direction dir, to those of
// session n, and returns the session's number, a new one if n is 0.
func (p *Pins) Add(n uint32, dir uint8, seq uint32, payload []byte) uint32 {
	if len(payload) == 0 {
		return n
	}
	if n == 0 {
		n = p.begin()
	}
	payload = payload[:min(len(payload), maxPiece)]
	x := &p.all[n]
	piece := pinnedPiece{seq: seq, end: seq + uint32(len(payload))}
	l := x.pieces[dir&1]
	for i := range l {
		if int32(piece.seq-l[i].seq) >= 0 && int32(piece.end-l[i].end) <= 0 {
			return n // a repetition
		}
	}
	cost, last := len(payload), len(l)-1
	follows := last >= 0 && l[last].end == seq
	if !follows {
		cost += pinCost
	}
	switch {
	case x.sealed || x.bytes+cost > maxPinnedOf:
		p.seal(n)
		x.join(dir, piece)
		return n
	case follows:
		l[last].data, l[last].end = append(l[last].data, payload...), piece.end
	default:
		piece.data = bytes.Clone(payload)
		x.pieces[dir&1] = append(l, piece)
	}
	x.bytes += cost
	p.bytes += cost
	for p.bytes > MaxPinned && p.first != 0 {
		p.seal(p.first)
	}
	return n
}

// begin returns the number of a new session.
func (p *Pins) begin() (n uint32) {
	if k := len(p.free); k > 0 {
		n = p.free[k-1]
		p.free = p.free[:k-1]
	} else {
		if len(p.all) == 0 {
			p.all = append(p.all, pinned{}) // number 0
		}
		n = uint32(len(p.all))
		p.all = append(p.all, pinned{})
	}
	x := &p.all[n]
	x.prev, x.next = p.last, 0
	if p.last != 0 {
		p.all[p.last].next = n
	} else {
		p.first = n
	}
	p.last = n
	return n
}

// seal drops the bytes of a session, and keeps their place.
func (p *Pins) seal(n uint32) {
	x := &p.all[n]
	if x.sealed {
		return
	}
	p.unlink(n)
	p.bytes -= x.bytes
	x.bytes, x.sealed = 0, true
	for d := range x.pieces {
		old := x.pieces[d]
		x.pieces[d] = nil
		for _, o := range old {
			x.join(uint8(d), pinnedPiece{seq: o.seq, end: o.end})
		}
	}
}

// join widens the one place of a sealed direction.
func (x *pinned) join(dir uint8, piece pinnedPiece) {
	l := x.pieces[dir&1]
	if len(l) == 0 {
		x.pieces[dir&1] = append(l, piece)
		return
	}
	if int32(piece.seq-l[0].seq) < 0 {
		l[0].seq = piece.seq
	}
	if int32(piece.end-l[0].end) > 0 {
		l[0].end = piece.end
	}
}

func (p *Pins) unlink(n uint32) {
	x := &p.all[n]
	if x.prev != 0 {
		p.all[x.prev].next = x.next
	} else {
		p.first = x.next
	}
	if x.next != 0 {
		p.all[x.next].prev = x.prev
	} else {
		p.last = x.prev
	}
	x.next, x.prev = 0, 0
}

// Differs reports whether payload repeats pinned bytes with other values, or sealed ones.
func (p *Pins) Differs(n uint32, dir uint8, seq uint32, payload []byte) bool {
	if n == 0 {
		return false
	}
	for i := range p.all[n].pieces[dir&1] {
		o := &p.all[n].pieces[dir&1][i]
		from, to := int(int32(o.seq-seq)), int(int32(o.end-seq))
		if from >= len(payload) || to <= 0 {
			continue
		}
		if o.data == nil {
			return true
		}
		end := min(to, len(payload))
		if from >= 0 && !bytes.Equal(payload[from:end], o.data[:end-from]) || from < 0 && !bytes.Equal(payload[:end], o.data[-from:end-from]) {
			return true
		}
	}
	return false
}

// Acked records that the receiver of direction dir has acknowledged everything below upTo. It
// reports whether nothing of the session is pinned any more.
func (p *Pins) Acked(n uint32, dir uint8, upTo uint32) (empty bool) {
	x := &p.all[n]
	l := x.pieces[dir&1]
	kept := 0
	for i := range l {
		if int32(l[i].end-upTo) > 0 {
			l[kept] = l[i]
			kept++
			continue
		}
		if l[i].data != nil {
			x.bytes -= len(l[i].data) + pinCost
			p.bytes -= len(l[i].data) + pinCost
		}
	}
	clear(l[kept:])
	x.pieces[dir&1] = l[:kept]
	return len(x.pieces[0])+len(x.pieces[1]) == 0
}

// Swap exchanges the directions of a session.
func (p *Pins) Swap(n uint32) {
	if n != 0 {
		x := &p.all[n]
		x.pieces[0], x.pieces[1] = x.pieces[1], x.pieces[0]
	}
}

// Release forgets a session. Its number is reused.
func (p *Pins) Release(n uint32) {
	if n == 0 {
		return
	}
	if !p.all[n].sealed {
		p.unlink(n)
		p.bytes -= p.all[n].bytes
	}
	p.all[n] = pinned{}
	p.free = append(p.free, n)
}
