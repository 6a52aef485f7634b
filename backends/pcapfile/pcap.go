package pcapfile

import (
	"encoding/binary"
	"io"
)

// variant is what the magic number of a pcap file says.
type variant struct {
	order binary.ByteOrder
	unit  int64 // ns in a unit of the fraction
	extra int   // bytes that a record header has besides the usual 16
}

// pcapVariants are the known magic numbers: microseconds, nanoseconds, and
// Kuznetzov's modified headers.
var pcapVariants = map[[4]byte]variant{
	{0xd4, 0xc3, 0xb2, 0xa1}: {binary.LittleEndian, 1000, 0},
	{0xa1, 0xb2, 0xc3, 0xd4}: {binary.BigEndian, 1000, 0},
	{0x4d, 0x3c, 0xb2, 0xa1}: {binary.LittleEndian, 1, 0},
	{0xa1, 0xb2, 0x3c, 0x4d}: {binary.BigEndian, 1, 0},
	{0x34, 0xcd, 0xb2, 0xa1}: {binary.LittleEndian, 1000, 8},
	{0xa1, 0xb2, 0xcd, 0x34}: {binary.BigEndian, 1000, 8},
}

// pcap is the classic format.
type pcap struct {
	variant
	link  uint16
	limit uint32
}

// saneSnap is the length that libpcap writes for "everything"; records up to it are
// believed whatever the file's header says.
const saneSnap = 256 << 10

func newPcap(in *input, v variant) (*pcap, error) {
	b, err := in.takeBytes(20, "file header")
	if err != nil {
		return nil, err
	}
	if major := v.order.Uint16(b); major != 2 {
		return nil, in.damageAt(4, "pcap version %d is not known", major)
	}
	return &pcap{
		variant: v,
		limit:   min(max(v.order.Uint32(b[12:]), saneSnap), maxRecord),
		link:    uint16(v.order.Uint32(b[16:])), // above are reserved bits and the length of the FCS
	}, nil
}

func (p *pcap) next(in *input) (record, error) {
	if in.ended() {
		return record{}, io.EOF
	}
	start := in.offset
	b, err := in.takeBytes(16+p.extra, "record header")
	if err != nil {
		return record{}, err
	}
	seconds, fraction := p.order.Uint32(b), p.order.Uint32(b[4:])
	n, wire := p.order.Uint32(b[8:]), p.order.Uint32(b[12:])
	if n > p.limit {
		return record{}, in.damageAt(start, "record of %d bytes, where at most %d make sense", n, p.limit)
	}
	data, err := in.body(int(n), start)
	if err != nil {
		return record{}, err
	}
	return record{link: p.link, stamp: int64(seconds)*1e9 + int64(fraction)*p.unit, data: data, wire: wire}, nil
}
