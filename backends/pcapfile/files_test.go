package pcapfile_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/backends/pcapfile"
	"github.com/sluicenet/sluice/core/packet"
)

// order is a byte order that can append too.
type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// udp4 and udp6 are IP datagrams from port 1000 to port 53 with a payload of "hi".
func udp4() []byte {
	return []byte("\x45\x00\x00\x1e\x00\x01\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02" + "\x03\xe8\x00\x35\x00\x0a\x00\x00hi")
}

func udp6() []byte {
	b := make([]byte, 40)
	copy(b, "\x60\x00\x00\x00\x00\x0a\x11\x40")
	b[8], b[23], b[24], b[39] = 0x20, 1, 0x20, 2
	return append(b, "\x03\xe8\x00\x35\x00\x0a\x00\x00hi"...)
}

// frame4 is udp4 in Ethernet.
func frame4() []byte {
	return append([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00"), udp4()...)
}

// packetAt is a record to write.
type packetAt struct {
	seconds, fraction uint32
	data              []byte
	wire              int // len(data) if 0
}

// pcapFile is a classic file; extra bytes follow each record header.
func pcapFile(o order, magic, link uint32, extra int, packets ...packetAt) []byte {
	b := o.AppendUint32(nil, magic)
	b = o.AppendUint16(b, 2)
	b = o.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = o.AppendUint32(b, 65535)
	b = o.AppendUint32(b, link)
	for _, p := range packets {
		b = o.AppendUint32(b, p.seconds)
		b = o.AppendUint32(b, p.fraction)
		b = o.AppendUint32(b, uint32(len(p.data)))
		b = o.AppendUint32(b, uint32(max(p.wire, len(p.data))))
		b = append(b, make([]byte, extra)...)
		b = append(b, p.data...)
	}
	return b
}

// block is a pcapng block.
func block(o order, kind uint32, body ...byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	n := uint32(len(body) + 12)
	b := o.AppendUint32(nil, kind)
	b = o.AppendUint32(b, n)
	b = append(b, body...)
	return o.AppendUint32(b, n)
}

func section(o order) []byte {
	b := o.AppendUint32(nil, 0x1a2b3c4d)
	b = o.AppendUint16(b, 1)
	b = o.AppendUint16(b, 0)
	return block(o, 0x0a0d0d0a, append(b, "\xff\xff\xff\xff\xff\xff\xff\xff"...)...)
}

// face returns an interface description with options unchanged.
func face(o order, link uint16, snap uint32, options ...byte) []byte {
	b := o.AppendUint16(nil, link)
	b = o.AppendUint32(append(b, 0, 0), snap)
	return block(o, 1, append(b, options...)...)
}

// option is an option of an interface description.
func option(o order, code uint16, value ...byte) []byte {
	b := o.AppendUint16(nil, code)
	b = o.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// enhanced is an enhanced packet block, with a comment behind the data.
func enhanced(o order, id uint32, units uint64, data []byte, wire int) []byte {
	b := o.AppendUint32(nil, id)
	b = o.AppendUint32(b, uint32(units>>32))
	b = o.AppendUint32(b, uint32(units))
	b = o.AppendUint32(b, uint32(len(data)))
	b = o.AppendUint32(b, uint32(wire))
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return block(o, 6, append(b, option(o, 1, []byte("a comment")...)...)...)
}

// got is the result of a file: a line for each frame, and the error at its end.
type got struct {
	stamp     int64
	wire      uint32
	truncated bool
	port      uint16
	v6        bool
}

// read reads a file to its end.
func read(t testing.TB, file []byte) (out []got, err error) {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file), "test.pcap")
	if err != nil {
		return nil, err
	}
	var f packet.Frame
	var p packet.Packet
	for {
		if err = r.Next(&f); err != nil {
			again := r.Next(&f)
			if again != err {
				t.Errorf("the error was not repeated: got %v, want %v", again, err)
			}
			return out, err
		}
		p.Decode(&f)
		out = append(out, got{f.Stamp, f.Wire, f.Flags&packet.Truncated != 0, p.DstPort, p.IPv6})
	}
}
