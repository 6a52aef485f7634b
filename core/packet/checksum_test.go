package packet_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// TestChecksumIsAdditive: RFC 1071 2: the sum of a whole is that of its parts, cut at even offsets.
func TestChecksumIsAdditive(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		b := make([]byte, r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		at := r.IntN(len(b)+1) &^ 1
		first := uint32(^packet.Checksum(b[:at], 0))
		if got, want := packet.Checksum(b[at:], first), packet.Checksum(b, 0); got != want {
			t.Fatalf("%d bytes cut at %d: got %#x, want %#x", len(b), at, got, want)
		}
	}
}

// TestChecksumCarries: sums that overflow at every width of the fast path.
func TestChecksumCarries(t *testing.T) {
	for _, fill := range []byte{0, 1, 0x7f, 0x80, 0xfe, 0xff} {
		for n := range 200 {
			b := bytes.Repeat([]byte{fill}, n)
			for _, initial := range []uint32{0, 1, 0xffff, 0x10000} {
				if got, want := packet.Checksum(b, initial), slow(b, initial); got != want {
					t.Fatalf("%d bytes of %#x on %#x: got %#x, want %#x", n, fill, initial, got, want)
				}
			}
		}
	}
}

// fieldOf is the offset of the transport's checksum in its header.
var fieldOf = map[uint8]int{packet.ProtoTCP: 16, packet.ProtoUDP: 6, packet.ProtoICMP: 2, packet.ProtoICMPv6: 2}

// TestEveryBitIsCovered: one flipped bit anywhere in the transport segment makes its checksum wrong, but for bits that change
// what is covered (UDP's length, TCP's data offset) and UDP's checksum of none.
func TestEveryBitIsCovered(t *testing.T) {
	for _, w := range wholes(t) {
		full := decodeAs(w.frame, len(w.frame), w.link)
		field, ok := fieldOf[full.Proto]
		if w.link != packet.RawIP || !ok || !packet.VerifyTransport(full) {
			continue
		}
		for at := full.IPHeader; at < len(w.frame); at++ {
			off := at - full.IPHeader
			if full.Proto == packet.ProtoUDP && (off == 4 || off == 5) || full.Proto == packet.ProtoTCP && off == 12 {
				continue
			}
			for bit := range 8 {
				b := bytes.Clone(w.frame)
				b[at] ^= 1 << bit
				none := full.Proto == packet.ProtoUDP && binary.BigEndian.Uint16(b[full.IPHeader+field:]) == 0
				if p := decodeAs(b, len(b), w.link); packet.VerifyTransport(p) && !none {
					t.Fatalf("%s: byte %d bit %d flipped: the checksum is still right", w.name, off, bit)
				}
			}
		}
	}
}

// TestPseudoHeaderIsCovered: both addresses count in TCP, UDP and ICMPv6, and not in ICMP.
func TestPseudoHeaderIsCovered(t *testing.T) {
	for _, w := range wholes(t) {
		full := decodeAs(w.frame, len(w.frame), w.link)
		if _, ok := fieldOf[full.Proto]; w.link != packet.RawIP || !ok || !packet.VerifyTransport(full) {
			continue
		}
		addresses, end := 12, 20
		if full.IPv6 {
			addresses, end = 8, 40
		}
		for at := addresses; at < end; at++ {
			b := bytes.Clone(w.frame)
			b[at] ^= 0x10
			p := decodeAs(b, len(b), w.link)
			if got, want := packet.VerifyTransport(p), full.Proto == packet.ProtoICMP; got != want {
				t.Errorf("%s: byte %d of the IP header changed: got %v, want %v", w.name, at, got, want)
			}
			if !p.IPv6 && packet.VerifyIPv4(p) {
				t.Errorf("%s: byte %d changed: the IP header's checksum is still right", w.name, at)
			}
		}
	}
}

// TestZeroChecksum: RFC 768: over IPv4 a zero means that the sender made none; RFC 8200 8.1: over IPv6 it is wrong. TCP knows no such
// exception.
func TestZeroChecksum(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		field int
		want  bool
	}{
		{"UDP over IPv4", udpFrame(t, false, 1000, 53, []byte("a query that needs no padding")), 14 + 20 + 6, true},
		{"UDP over IPv6", udpFrame(t, true, 1000, 53, []byte("query")), 14 + 40 + 6, false},
		{"TCP over IPv4", tcpFrame(t, false, "hello"), 14 + 20 + 16, false},
		{"TCP over IPv6", tcpFrame(t, true, "hello"), 14 + 40 + 16, false},
	} {
		p := decode(edit(c.frame, c.field, 0, c.field+1, 0))
		if got := packet.VerifyTransport(p); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if packet.LooksOffloaded(p) {
			t.Errorf("%s: a zero is taken for the pseudo header's sum", c.name)
		}
	}
}

// TestPartialChecksum: a field that holds the pseudo header's sum is wrong on the wire, and known as offloaded; nothing else is.
func TestPartialChecksum(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		head := 34
		if v6 {
			head = 54
		}
		for name, c := range map[string]struct {
			frame []byte
			field int
		}{
			"TCP": {tcpFrame(t, v6, "hello world"), head + 16},
			"UDP": {udpFrame(t, v6, 1000, 53, []byte("a query that needs no padding")), head + 6},
		} {
			p := decode(c.frame)
			if packet.LooksOffloaded(p) || !packet.VerifyTransport(p) {
				t.Errorf("%s IPv6 %v: a right checksum is taken for an open one", name, v6)
			}
			n := len(c.frame) - head
			partial := ^packet.Checksum(nil, packet.PseudoSum(&p.Src, &p.Dst, p.Proto, n))
			b := edit(c.frame, c.field, int(partial>>8), c.field+1, int(partial&0xff))
			if q := decode(b); !packet.LooksOffloaded(q) || packet.VerifyTransport(q) {
				t.Errorf("%s IPv6 %v: the pseudo header's sum is not known as such", name, v6)
			}
			// The interface adds the rest: the sum over all with the partial one in its field.
			rest := packet.Checksum(b[head:], 0)
			if q := decode(edit(b, c.field, int(rest>>8), c.field+1, int(rest&0xff))); !packet.VerifyTransport(q) {
				t.Errorf("%s IPv6 %v: filled in as hardware does, the checksum is refused", name, v6)
			}
		}
	}
}

// TestPseudoSumOfLongSegments: lengths above 16 bits are two words of the pseudo header (RFC 8200 8.1).
func TestPseudoSumOfLongSegments(t *testing.T) {
	src, dst := packet.AddrFrom(src6), packet.AddrFrom(dst6)
	for _, n := range []int{0, 1, 0xffff, 0x10000, 0x12345, 1 << 20} {
		var h [40]byte
		copy(h[0:], src[:])
		copy(h[16:], dst[:])
		binary.BigEndian.PutUint32(h[32:], uint32(n))
		h[39] = packet.ProtoTCP
		if got, want := packet.Checksum(nil, packet.PseudoSum(&src, &dst, packet.ProtoTCP, n)), slow(h[:], 0); got != want {
			t.Errorf("%d bytes: got %#x, want %#x", n, got, want)
		}
	}
}

// TestSourceRoutedIsNotJudged: with a route still to go the checksum covers the last destination, which is not in Dst.
func TestSourceRoutedIsNotJudged(t *testing.T) {
	f := tcpFrame(t, true, "hello")
	routing := func(left byte) []byte {
		h := make([]byte, 24)
		h[0], h[1], h[2], h[3] = packet.ProtoTCP, 2, 4, left
		return withExtensions(f, 43, h...)
	}
	for left, judged := range map[byte]bool{0: true, 1: false} {
		b := routing(left)
		b[len(b)-1] ^= 1 // wrong, if anyone looks
		if got := packet.VerifyTransport(decode(b)); got == judged {
			t.Errorf("%d segments left: got %v", left, got)
		}
	}
}
