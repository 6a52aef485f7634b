package frag

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/sluicenet/sluice/core/packet"
)

// datagram is an incomplete datagram, or the record of a decided one, whose pieces have no
// data.
type datagram struct {
	key   key
	since int64 // of its first fragment, or of its decision
	links [orders]link
	cost  int

	pieces []piece // by offset, never overlapping
	have   int     // bytes of all pieces
	end    int     // length of the data; valid with ended
	ended  bool    // the last fragment has arrived
	odd    bool    // a fragment other than the last has a length that is no multiple of 8
	head   []byte  // of the first fragment: the headers before the data
	proto  uint8   // IPv6: the next header in the first fragment's header
	frames []*packet.Frame

	decided bool
	bad     bool
	verdict packet.Verdict // valid with decided
	owner   Owner          // valid with owned
	owned   bool
}

// piece is a fragment's data and position.
type piece struct {
	at, size int
	sum      uint64 // of data, keyed
	data     []byte
	last     bool
}

// within returns the piece's data in a copy of its frame's Data.
func (pc piece) within(p *packet.Packet, f *packet.Frame, c []byte) []byte {
	// Network begins at L3 of the frame; data is the tail of Network.
	end := p.L3 + len(p.Network)
	if end > len(f.Data) || pc.size > end {
		return bytes.Clone(pc.data)
	}
	return c[end-pc.size : end]
}

// find returns the index of the piece at an offset, or where it would be inserted.
func (d *datagram) find(at int) (int, bool) {
	return slices.BinarySearchFunc(d.pieces, at, func(p piece, at int) int { return p.at - at })
}

// at returns the piece at an offset, which must exist.
func (d *datagram) at(offset int) *piece {
	i, _ := d.find(offset)
	return &d.pieces[i]
}

// same reports whether two pieces are copies of one fragment.
func (pc piece) same(o piece) bool {
	return pc.at == o.at && pc.size == o.size && pc.last == o.last && pc.sum == o.sum
}

// holds reports whether d holds exactly this piece.
func (d *datagram) holds(pc piece) bool {
	i, ok := d.find(pc.at)
	return ok && d.pieces[i].same(pc)
}

// insert inserts a piece. An exact copy is a duplicate; any other overlap is a reason to
// reject the datagram.
func (d *datagram) insert(pc piece, limit int) (duplicate bool, reason Reason) {
	i, ok := d.find(pc.at)
	switch {
	case ok && d.pieces[i].same(pc):
		return true, ""
	case ok,
		i > 0 && d.pieces[i-1].at+d.pieces[i-1].size > pc.at,
		i < len(d.pieces) && pc.at+pc.size > d.pieces[i].at:
		return false, Overlap
	case d.ended && (pc.last || pc.at+pc.size > d.end),
		pc.last && i < len(d.pieces):
		return false, BeyondEnd
	case len(d.pieces) >= limit:
		return false, TooMany
	}
	// Such a length leaves a hole or an overlap, so it is reported with the next fragment, which
	// shows the graver one; teardrop's usual first fragment is of this kind.
	d.odd = d.odd || !pc.last && pc.size%8 != 0
	if d.odd && len(d.pieces) > 0 {
		return false, BadLength
	}
	d.pieces = slices.Insert(d.pieces, i, pc)
	d.have += pc.size
	if pc.last {
		d.end, d.ended = pc.at+pc.size, true
	}
	return false, ""
}

// whole reports whether the datagram is complete.
func (d *datagram) whole() bool { return d.ended && d.have == d.end }

// keepHead copies the header from the first fragment.
func (d *datagram) keepHead(p *packet.Packet) {
	if !p.IPv6 {
		d.head = bytes.Clone(p.Network[:int(p.Network[0]&15)*4])
		return
	}
	d.head = bytes.Clone(p.Network[:p.FragHeader])
	d.proto = p.Network[p.FragHeader]
}

// assemble writes the datagram behind buf; nil if its header is unusable.
func (d *datagram) assemble(buf []byte) []byte {
	buf = append(buf, d.head...)
	if d.key.v6 {
		if !relink(buf, d.proto) || len(buf)-40+d.end > 0xffff {
			return nil
		}
		binary.BigEndian.PutUint16(buf[4:], uint16(len(buf)-40+d.end))
	} else {
		if len(buf) < 20 || len(buf)+d.end > 0xffff {
			return nil
		}
		binary.BigEndian.PutUint16(buf[2:], uint16(len(buf)+d.end))
		buf[6], buf[7], buf[10], buf[11] = buf[6]&0x40, 0, 0, 0
		binary.BigEndian.PutUint16(buf[10:], packet.Checksum(buf, 0))
	}
	for i := range d.pieces {
		buf = append(buf, d.pieces[i].data...)
	}
	return buf
}

// relink removes the fragment header from the chain of IPv6 headers in head: the field that
// named it, in the last header, names next instead.
func relink(head []byte, next uint8) bool {
	if len(head) < 40 {
		return false
	}
	field, kind, at := 6, head[6], 40
	for at < len(head) {
		if at+2 > len(head) {
			return false
		}
		size := (int(head[at+1]) + 1) * 8
		if kind == 51 { // authentication header, RFC 4302
			size = (int(head[at+1]) + 2) * 4
		}
		field, kind = at, head[at]
		at += size
	}
	head[field] = next
	return at == len(head)
}
