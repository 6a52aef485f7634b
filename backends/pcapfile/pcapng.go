package pcapfile

import (
	"encoding/binary"
	"io"
	"math/bits"
)

// The pcapng blocks and options that are read (draft-ietf-opsawg-pcapng).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockPacket    = 2 // obsolete
	blockSimple    = 3
	blockEnhanced  = 6

	optionEnd        = 0
	optionResolution = 9
	optionOffset     = 14

	maxInterfaces = 1 << 16
	maxOptions    = 64 << 10
)

// ngMagic begins a section, reading the same in both byte orders.
var ngMagic = [4]byte{0x0a, 0x0d, 0x0d, 0x0a}

// ng is the pcapng format: blocks in sections, each with its byte order and interfaces.
type ng struct {
	order      binary.ByteOrder
	interfaces []ngInterface
	stamp      int64 // of the last packet, for those without
}

// ngInterface is the part of an interface description that packets need.
type ngInterface struct {
	link    uint16
	snap    uint32
	binary  bool  // resolution is a power of two
	power   uint8 // units are 10^-power or 2^-power seconds
	seconds int64 // to be added
}

func newNG(in *input) (*ng, error) {
	g := new(ng)
	return g, g.section(in, 0)
}

// section reads a section header whose block type was read already.
func (g *ng) section(in *input, start int64) error {
	b, err := in.takeBytes(8, "section header")
	if err != nil {
		return err
	}
	switch [4]byte(b[4:]) {
	case [4]byte{0x4d, 0x3c, 0x2b, 0x1a}:
		g.order = binary.LittleEndian
	case [4]byte{0x1a, 0x2b, 0x3c, 0x4d}:
		g.order = binary.BigEndian
	default:
		return in.damageAt(start+8, "section without byte order: %x", b[4:])
	}
	total := g.order.Uint32(b)
	if total < 28 || total%4 != 0 {
		return in.damageAt(start+4, "section header of %d bytes", total)
	}
	v, err := in.takeBytes(2, "section header")
	if err != nil {
		return err
	}
	if major := g.order.Uint16(v); major != 1 {
		return in.damageAt(start+12, "pcapng version %d is not known", major)
	}
	g.interfaces = g.interfaces[:0]
	return g.leaveSection(in, start, total)
}

// leaveSection skips to the end of a block, where its length is repeated.
func (g *ng) leaveSection(in *input, start int64, total uint32) error {
	if err := in.skip(start+int64(total)-4-in.offset, start); err != nil {
		return err
	}
	b, err := in.takeBytes(4, "block trailer")
	if err != nil {
		return err
	}
	if again := g.order.Uint32(b); again != total {
		return in.damageAt(in.offset-4, "block of %d bytes ends with a length of %d", total, again)
	}
	return nil
}

func (g *ng) next(in *input) (record, error) {
	for {
		if in.ended() {
			return record{}, io.EOF
		}
		start := in.offset
		b, err := in.takeBytes(4, "block header")
		if err != nil {
			return record{}, err
		}
		if [4]byte(b) == ngMagic {
			if err := g.section(in, start); err != nil {
				return record{}, err
			}
			continue
		}
		kind := g.order.Uint32(b)
		if b, err = in.takeBytes(4, "block header"); err != nil {
			return record{}, err
		}
		total := g.order.Uint32(b)
		if total < 12 || total%4 != 0 {
			return record{}, in.damageAt(start+4, "block of %d bytes", total)
		}
		var rec record
		switch kind {
		case blockInterface:
			err = g.describe(in, start, total)
		case blockEnhanced, blockPacket, blockSimple:
			rec, err = g.packet(in, kind, start, total)
		}
		if err == nil {
			err = g.leaveSection(in, start, total)
		}
		if err != nil || rec.data != nil {
			return rec, err
		}
	}
}

// describe reads an interface description.
func (g *ng) describe(in *input, start int64, total uint32) error {
	if total < 20 {
		return in.damageAt(start, "interface description of %d bytes", total)
	}
	if len(g.interfaces) == maxInterfaces {
		return in.damageAt(start, "more than %d interfaces", maxInterfaces)
	}
	b, err := in.takeBytes(8, "interface description")
	if err != nil {
		return err
	}
	i := ngInterface{link: g.order.Uint16(b), snap: g.order.Uint32(b[4:]), power: 6}
	for left := int(min(total-20, maxOptions)); left >= 4; {
		if b, err = in.takeBytes(4, "option"); err != nil {
			return err
		}
		code, n := g.order.Uint16(b), int(g.order.Uint16(b[2:]))
		padded := (n + 3) &^ 3
		if left -= 4; code == optionEnd || padded > left {
			break
		}
		left -= padded
		if n != 1 && n != 8 {
			if err = in.skip(int64(padded), start); err != nil {
				return err
			}
			continue
		}
		if b, err = in.takeBytes(padded, "option"); err != nil {
			return err
		}
		switch {
		case code == optionResolution && n == 1:
			i.binary, i.power = b[0]&0x80 != 0, b[0]&0x7f
		case code == optionOffset && n == 8:
			i.seconds = int64(g.order.Uint64(b))
		}
	}
	g.interfaces = append(g.interfaces, i)
	return nil
}

// packet reads one of the three packet blocks up to the end of its data.
func (g *ng) packet(in *input, kind uint32, start int64, total uint32) (record, error) {
	size := 20
	if kind == blockSimple {
		size = 4
	}
	if int64(total) < int64(size)+12 {
		return record{}, in.damageAt(start, "packet block of %d bytes", total)
	}
	b, err := in.takeBytes(size, "packet block")
	if err != nil {
		return record{}, err
	}
	var id, n, wire uint32
	switch kind {
	case blockSimple:
		wire = g.order.Uint32(b)
		n = min(wire, total-16)
		if len(g.interfaces) > 0 && g.interfaces[0].snap != 0 {
			n = min(n, g.interfaces[0].snap)
		}
	case blockPacket:
		id = uint32(g.order.Uint16(b))
	default:
		id = g.order.Uint32(b)
	}
	if int64(id) >= int64(len(g.interfaces)) {
		return record{}, in.damageAt(start, "packet of interface %d, of which no description came", id)
	}
	face := &g.interfaces[id]
	if kind != blockSimple {
		g.stamp = face.time(uint64(g.order.Uint32(b[4:]))<<32 | uint64(g.order.Uint32(b[8:])))
		n, wire = g.order.Uint32(b[12:]), g.order.Uint32(b[16:])
	}
	if int64(n) > int64(total)-int64(size)-12 {
		return record{}, in.damageAt(start, "packet of %d bytes in a block of %d", n, total)
	}
	if n > maxRecord {
		return record{}, in.damageAt(start, "record of %d bytes, where at most %d make sense", n, maxRecord)
	}
	data, err := in.body(int(n), start)
	return record{link: face.link, stamp: g.stamp, data: data, wire: wire}, err
}

// time returns a timestamp in ns. Resolutions finer than any clock count as 0.
func (i *ngInterface) time(units uint64) int64 {
	var ns uint64
	switch {
	case i.binary && i.power < 64:
		hi, lo := bits.Mul64(units&(1<<i.power-1), 1e9)
		// A shift by 64, where power is 0, gives 0.
		ns = units>>i.power*1e9 + (hi<<(64-i.power) | lo>>i.power)
	case i.binary:
	case i.power <= 9:
		ns = units * pow10(9-i.power)
	case i.power <= 28:
		ns = units / pow10(i.power-9)
	}
	return int64(ns) + i.seconds*1e9
}

// pow10 returns 10^n for n up to 19.
func pow10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
