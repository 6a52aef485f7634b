package frag_test

import (
	"encoding/binary"
	"testing"

	"github.com/sluicenet/sluice/core/frag"
	"github.com/sluicenet/sluice/core/packet"
)

// part is one fragment to build: offset, data, and whether more follow.
type part struct {
	at   int
	data []byte
	more bool
}

// frame4 and frame6 return a fragment in Ethernet.
func frame4(id uint16, c part) []byte {
	b := make([]byte, 34, 34+len(c.data))
	b[12], b[13] = 8, 0
	ip := b[14:]
	ip[0], ip[8], ip[9] = 0x45, 64, packet.ProtoUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(c.data)))
	binary.BigEndian.PutUint16(ip[4:], id)
	v := uint16(c.at / 8)
	if c.more {
		v |= 0x2000
	}
	binary.BigEndian.PutUint16(ip[6:], v)
	copy(ip[12:], "\x0a\x00\x00\x01\x0a\x00\x00\x02")
	return append(b, c.data...)
}

func frame6(id uint16, c part) []byte {
	b := make([]byte, 14+40+8+8, 70+len(c.data))
	b[12], b[13] = 0x86, 0xdd
	ip := b[14:]
	ip[0], ip[6], ip[7] = 0x60, 60, 64 // destination options in front
	binary.BigEndian.PutUint16(ip[4:], uint16(16+len(c.data)))
	ip[8], ip[23], ip[24], ip[39] = 0x20, 1, 0x20, 2
	ip[40], ip[42], ip[43] = 44, 1, 4
	ip[48] = packet.ProtoUDP
	v := uint16(c.at)
	if c.more {
		v |= 1
	}
	binary.BigEndian.PutUint16(ip[50:], v)
	binary.BigEndian.PutUint16(ip[54:], id)
	return append(b, c.data...)
}

func build(v6 bool, id uint16, c part) []byte {
	if v6 {
		return frame6(id, c)
	}
	return frame4(id, c)
}

// udp returns a UDP datagram with n bytes of position-dependent payload.
func udp(n int) []byte {
	b := make([]byte, 8+n)
	binary.BigEndian.PutUint16(b[0:], 4000)
	binary.BigEndian.PutUint16(b[2:], 53)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	for i := range n {
		b[8+i] = byte(i * 7)
	}
	return b
}

// cut splits data into parts of size bytes.
func cut(data []byte, size int) (out []part) {
	for at := 0; at < len(data); at += size {
		end := min(at+size, len(data))
		out = append(out, part{at, data[at:end], end < len(data)})
	}
	return out
}

// add decodes a frame and adds it.
func add(t testing.TB, r *frag.Reassembler, b []byte, now int64) frag.Result {
	t.Helper()
	f := &packet.Frame{Data: b, Wire: uint32(len(b)), Endpoint: 3, Dir: packet.Egress, Stamp: now, Slot: 9}
	p := new(packet.Packet)
	p.Decode(f)
	if p.Status != packet.Fragment {
		t.Fatalf("the test's frame is no fragment: %+v", p)
	}
	return r.Add(p, f, 3, now)
}
