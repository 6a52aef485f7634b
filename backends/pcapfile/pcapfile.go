// Package pcapfile reads capture files for offline replay: pcap in its variants and pcapng,
// gzipped or not, of any link type that carries IP. Each record is returned as a frame that
// begins with Ethernet or IP. It only reads, and trusts none of a file's lengths.
package pcapfile

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sluicenet/sluice/core/packet"
)

// FormatError reports where a file is damaged. The records before it were delivered.
type FormatError struct {
	Name string
	// Offset is in bytes from the start, of the unpacked file if it is packed.
	Offset int64
	Text   string
}

// Error returns "name: byte N: text".
func (e *FormatError) Error() string {
	return fmt.Sprintf("%s: byte %d: %s", e.Name, e.Offset, e.Text)
}

// Stats count the records of a file.
type Stats struct {
	Records uint64
	// NoIP is the number of records that could not be stripped down to Ethernet or IP: other
	// protocols, encrypted or control frames, unsupported link types.
	NoIP uint64
	// Unsupported counts the records of unknown link types, by number.
	Unsupported map[uint16]uint64
}

// Reader reads the records of one file in order. It is not safe for concurrent use.
type Reader struct {
	in     *input
	format format
	closer io.Closer
	err    error
	stats  Stats
	strip  carrier
}

// format is one of the two file formats, after its first header.
type format interface {
	// next reads a record. data is in a buffer with headroom bytes in front of it, valid until
	// the next call.
	next(in *input) (record, error)
}

// record is a packet as stored in a file.
type record struct {
	link  uint16
	stamp int64
	data  []byte
	wire  uint32
}

// Open opens a capture file.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	r, err := NewReader(f, path)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.closer = f
	return r, nil
}

// NewReader reads a capture from any reader; name is for errors.
func NewReader(from io.Reader, name string) (*Reader, error) {
	in, err := newInput(from, name)
	if err != nil {
		return nil, err
	}
	r := &Reader{in: in, stats: Stats{Unsupported: map[uint16]uint64{}}}
	magic, err := in.takeBytes(4, "file header")
	if err != nil {
		return nil, err
	}
	if r.format, err = formatOf(in, [4]byte(magic)); err != nil {
		return nil, err
	}
	return r, nil
}

// formatOf recognises the formats by their first four bytes.
func formatOf(in *input, magic [4]byte) (format, error) {
	if magic == ngMagic {
		return newNG(in)
	}
	if v, ok := pcapVariants[magic]; ok {
		return newPcap(in, v)
	}
	return nil, in.damageAt(0, "not a capture file: it begins with %x", magic)
}

// Next returns the next frame: its Data, valid until the next call, begins with Ethernet or
// IP, as Link indicates; any other record is an Ethernet frame of a reserved type, which is
// counted as no IP. At the end it returns io.EOF, at damage a *FormatError, and repeats
// either.
func (r *Reader) Next(f *packet.Frame) error {
	if r.err != nil {
		return r.err
	}
	rec, err := r.format.next(r.in)
	if err != nil {
		r.err = err
		return err
	}
	r.stats.Records++
	*f = packet.Frame{Stamp: rec.stamp}
	c := &r.strip
	*c = carrier{buf: r.in.buf, at: headroom, end: headroom + len(rec.data), link: packet.Ethernet}
	switch c.strip(rec.link) {
	case unsupported:
		r.stats.Unsupported[rec.link]++
		fallthrough
	case noIP:
		r.stats.NoIP++
		c.at = headroom
		c.ether(etherReserved)
	}
	f.Data = c.buf[c.at:c.end:c.end]
	f.Link = c.link
	f.Wire = uint32(max(int64(rec.wire)-int64(c.at-headroom), int64(len(f.Data))))
	if int64(rec.wire) > int64(len(rec.data)) {
		f.Flags |= packet.Truncated
	}
	if offloaded(f) {
		f.Flags |= packet.GSO
	}
	return nil
}

// Stats returns the counts so far. The map is the Reader's.
func (r *Reader) Stats() Stats { return r.stats }

// Close closes the file if Open opened it.
func (r *Reader) Close() error {
	if r.closer == nil {
		return nil
	}
	return r.closer.Close()
}
