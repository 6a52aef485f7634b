package dns

import "encoding/binary"

// fault is why a message is not what its header promises.
type fault uint8

const (
	ok       fault = iota
	short          // the message ends before its records do
	loop           // a compression pointer that does not go backwards, or over 63 jumps
	longName       // a name over 255 octets
	bad            // anything else that no resolver sends
)

// Bounds of RFC 1035 2.3.4 and of what a decoder follows.
const (
	headerLen = 12
	maxName   = 255
	maxJumps  = 63
)

// Record types that matter here.
const (
	typeA     = 1
	typeNS    = 2
	typeCNAME = 5
	typeSOA   = 6
	typeNULL  = 10
	typePTR   = 12
	typeMX    = 15
	typeAAAA  = 28
	typeSRV   = 33
	typeDNAME = 39
	typeOPT   = 41
	typeIXFR  = 251
	typeAXFR  = 252
)

// header is the fixed part of RFC 1035 4.1.1.
type header struct {
	id, flags      uint16
	qd, an, ns, ar uint16
}

func readHeader(m []byte) header {
	be := binary.BigEndian
	return header{be.Uint16(m), be.Uint16(m[2:]), be.Uint16(m[4:]), be.Uint16(m[6:]), be.Uint16(m[8:]), be.Uint16(m[10:])}
}

func (h header) response() bool { return h.flags&0x8000 != 0 }
func (h header) opcode() uint16 { return h.flags >> 11 & 15 }
func (h header) rcode() uint16  { return h.flags & 15 }

// section is the section of a message that contains a record.
type section uint8

const (
	inQuestion section = iota
	inAnswer
	inRest // authority and additional
	atEnd
)

// record is one question or resource record: where its name and data begin.
type record struct {
	name, data, size int
	typ, class       uint16
	part             section
}

// walker reads a message's records in order. Time is bounded by 63 jumps and 255
// octets a name, and by 11 octets a record at least.
type walker struct {
	msg  []byte
	h    header
	pos  int // where the next record begins
	done int // records read
}

func newWalker(msg []byte) walker { return walker{msg: msg, h: readHeader(msg), pos: headerLen} }

// next reads one record. After a fault the walk is over.
func (w *walker) next() (r record, f fault) {
	qd, an, rest := int(w.h.qd), int(w.h.an), int(w.h.ns)+int(w.h.ar)
	switch {
	case w.done < qd:
		r.part = inQuestion
	case w.done < qd+an:
		r.part = inAnswer
	case w.done < qd+an+rest:
		r.part = inRest
	default:
		r.part = atEnd
		return r, ok
	}
	r.name = w.pos
	p, f := skipName(w.msg, w.pos)
	if f != ok {
		return r, f
	}
	if p+4 > len(w.msg) {
		return r, short
	}
	r.typ, r.class = binary.BigEndian.Uint16(w.msg[p:]), binary.BigEndian.Uint16(w.msg[p+2:])
	w.done++
	if w.pos = p + 4; r.part == inQuestion {
		return r, ok
	}
	if p+10 > len(w.msg) {
		return r, short
	}
	r.size, r.data = int(binary.BigEndian.Uint16(w.msg[p+8:])), p+10
	if w.pos = r.data + r.size; w.pos > len(w.msg) {
		return r, short
	}
	return r, checkData(w.msg, r)
}

// checkData walks the names inside the data of the types of RFC 1035, 2782 and 6672,
// where a loop or an overlong name would hurt a resolver just as well.
func checkData(msg []byte, r record) fault {
	p, names, tail := r.data, 0, 0
	switch r.typ {
	case typeNS, typeCNAME, typePTR, typeDNAME:
		names = 1
	case typeMX:
		p, names = p+2, 1
	case typeSRV:
		p, names = p+6, 1
	case typeSOA:
		names, tail = 2, 20
	case typeA:
		return sizeIs(r.size, 4)
	case typeAAAA:
		return sizeIs(r.size, 16)
	}
	if names == 0 || r.size == 0 {
		return ok // RFC 2136 2.5.2: an update deletes with empty data
	}
	end := r.data + r.size
	if p >= end {
		return short
	}
	for range names {
		var f fault
		if p, f = skipName(msg[:end], p); f != ok {
			return f
		}
	}
	if p+tail != end {
		return bad
	}
	return ok
}

func sizeIs(got, want int) fault {
	if got != want && got != 0 {
		return bad
	}
	return ok
}

// skipName walks the name at p and returns where the next field begins. Pointers
// must go back before the run of labels that they end (RFC 1035 4.1.4: "a prior
// occurrence"), so that every walk ends.
func skipName(msg []byte, p int) (next int, f fault) {
	next, size, jumps, start := -1, 0, 0, p
	for {
		if p >= len(msg) {
			return p, short
		}
		c := int(msg[p])
		switch c & 0xc0 {
		case 0:
			if size += c + 1; size > maxName {
				return p, longName
			}
			if p += c + 1; c == 0 {
				if next < 0 {
					next = p
				}
				return next, ok
			}
		case 0xc0:
			if p+2 > len(msg) {
				return p, short
			}
			to := c&0x3f<<8 | int(msg[p+1])
			if next < 0 {
				next = p + 2
			}
			if jumps++; to >= start || jumps > maxJumps {
				return p, loop
			}
			if to < headerLen {
				return p, bad
			}
			p, start = to, to
		default:
			return p, bad // RFC 6891 5: extended labels are gone
		}
	}
}
