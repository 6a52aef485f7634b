package nfqueue

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
)

// between returns the beginning of a TCP segment.
func between(src, dst string, sport, dport uint16) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	b := make([]byte, 44)
	if from.Is4() {
		b = b[:24]
		b[0] = 0x45
		copy(b[12:], from.AsSlice())
		copy(b[16:], to.AsSlice())
	} else {
		b[0] = 0x60
		copy(b[8:], from.AsSlice())
		copy(b[24:], to.AsSlice())
	}
	binary.BigEndian.PutUint16(b[len(b)-4:], sport)
	binary.BigEndian.PutUint16(b[len(b)-2:], dport)
	return b
}

func TestDirectionOnLo(t *testing.T) {
	known := addresses{list: [][16]byte{netip.MustParseAddr("10.0.0.1").As16(), netip.MustParseAddr("fd00::1").As16()}}
	for _, tt := range []struct {
		name, src, dst string
		sport, dport   uint16
		want           packet.Direction
	}{
		{"to the sidecar", "10.0.0.1", "127.0.0.1", 40000, 15001, packet.Egress},
		{"to the sidecar, IPv6", "fd00::1", "::1", 40000, 15001, packet.Egress},
		{"from a sidecar for a client", "127.0.0.6", "10.0.0.1", 40000, 8080, packet.Ingress},
		{"from a sidecar for a client, IPv6", "::6", "fd00::1", 40000, 8080, packet.Ingress},
		{"from a sidecar to the loopback address", "127.0.0.6", "127.0.0.1", 40000, 8080, packet.Ingress},
		{"from a sidecar to the loopback address, IPv6", "::6", "::1", 40000, 8080, packet.Ingress},
		{"from a sidecar in its client's name", "10.9.9.9", "10.0.0.1", 40000, 8080, packet.Ingress},
		{"from a sidecar in its client's name, IPv6", "fd99::9", "fd00::1", 8080, 40000, packet.Ingress},
		{"to a transparent proxy", "10.0.0.1", "10.9.9.9", 80, 40000, packet.Egress},
		{"within the workload", "10.0.0.1", "10.0.0.1", 40000, 8080, packet.Egress},
	} {
		if got := known.direction(between(tt.src, tt.dst, tt.sport, tt.dport)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if got := known.direction(between(tt.dst, tt.src, tt.dport, tt.sport)); got != tt.want.Reverse() {
			t.Errorf("%s, the answer: %v, want %v", tt.name, got, tt.want.Reverse())
		}
	}
}

// TestAddressesAreReadAgain has a workload get an address later.
func TestAddressesAreReadAgain(t *testing.T) {
	reads := 0
	a := addresses{read: func() [][16]byte { reads++; return [][16]byte{netip.MustParseAddr("10.0.0.1").As16()} }}
	for range 3 {
		if got := a.direction(between("10.9.9.9", "10.0.0.1", 80, 40000)); got != packet.Ingress {
			t.Errorf("%v, want ingress", got)
		}
	}
	if reads != 1 {
		t.Errorf("read %d times, want once in a second", reads)
	}
}

func TestDirectionDoesNotAllocate(t *testing.T) {
	a := addresses{list: [][16]byte{netip.MustParseAddr("10.0.0.1").As16()}}
	p := between("127.0.0.6", "10.0.0.1", 40000, 8080)
	if n := testing.AllocsPerRun(100, func() { a.direction(p) }); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
