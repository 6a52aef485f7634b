package sidecar_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/sidecar"
)

func addr(s string) packet.Addr {
	return packet.AddrFrom(netip.MustParseAddr(s))
}

func TestEndOf(t *testing.T) {
	for a, want := range map[string]sidecar.End{
		"127.0.0.1": sidecar.Loopback, "127.0.0.6": sidecar.SidecarEnd, "127.0.0.7": sidecar.Loopback, "127.255.0.6": sidecar.Loopback, "127.0.1.6": sidecar.Loopback,
		"126.0.0.6": sidecar.Elsewhere, "10.0.0.1": sidecar.Elsewhere, "0.0.0.6": sidecar.Elsewhere,
		"::1": sidecar.Loopback, "::6": sidecar.SidecarEnd, "::7": sidecar.Loopback, "::106": sidecar.Elsewhere, "fd00::6": sidecar.Elsewhere, "0:0:0:1::6": sidecar.Elsewhere,
	} {
		ip := netip.MustParseAddr(a)
		if got := sidecar.EndOf(ip.AsSlice()); got != want {
			t.Errorf("%s: %d, want %d", a, got, want)
		}
		if got := sidecar.Local(addr(a), ip.Is6()); got != (want != sidecar.Elsewhere) {
			t.Errorf("%s: local is %t", a, got)
		}
	}
	for _, n := range []int{0, 3, 5, 15, 17} {
		if got := sidecar.EndOf(make([]byte, n)); got != sidecar.Elsewhere {
			t.Errorf("%d bytes: %d, want elsewhere", n, got)
		}
	}
}

// TestSource has the address that rules are made of be the one that packets are known by.
func TestSource(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		a := sidecar.Source(v6)
		if got := sidecar.EndOf(a); got != sidecar.SidecarEnd {
			t.Errorf("IPv6 %t: %v is of kind %d", v6, a, got)
		}
		a[0]++
		if got := sidecar.EndOf(sidecar.Source(v6)); got != sidecar.SidecarEnd {
			t.Errorf("IPv6 %t: a caller has changed it", v6)
		}
	}
}

// segment makes the beginning of a TCP segment, with n bytes of TCP.
func segment(src, dst string, sport, dport uint16, n int) []byte {
	from, to := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	ip := make([]byte, 40)
	if from.Is4() {
		ip = ip[:24] // with options
		ip[0] = 0x46
		copy(ip[12:], from.AsSlice())
		copy(ip[16:], to.AsSlice())
	} else {
		ip[0] = 0x60
		copy(ip[8:], from.AsSlice())
		copy(ip[24:], to.AsSlice())
	}
	tcp := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	return append(ip, tcp[:n]...)
}

// kind is that of an address where the workload's own are 10.0.0.1 and fd00::1.
func kind(b []byte) sidecar.End {
	if a, _ := netip.AddrFromSlice(b); a == netip.MustParseAddr("10.0.0.1") || a == netip.MustParseAddr("fd00::1") {
		return sidecar.Own
	}
	return sidecar.EndOf(b)
}

func TestDirection(t *testing.T) {
	const in, out = packet.Ingress, packet.Egress
	for _, tt := range []struct {
		name, src, dst, src6, dst6 string
		sport, dport               uint16
		want                       packet.Direction
	}{
		{"to the sidecar", "10.0.0.1", "127.0.0.1", "fd00::1", "::1", 40000, 15001, out},
		{"to the sidecar, from elsewhere", "10.9.9.9", "127.0.0.1", "fd99::9", "::1", 15001, 40000, out},
		{"from the sidecar's own address", "127.0.0.6", "10.0.0.1", "::6", "fd00::1", 40000, 8080, in},
		{"from the sidecar to loopback", "127.0.0.6", "127.0.0.1", "::6", "::1", 8080, 40000, in},
		{"from the sidecar in a client's name", "10.9.9.9", "10.0.0.1", "fd99::9", "fd00::1", 8080, 40000, in},
		{"to a transparent proxy", "10.0.0.1", "10.9.9.9", "fd00::1", "fd99::9", 8080, 40000, out},
		{"within the workload", "10.0.0.1", "10.0.0.1", "fd00::1", "fd00::1", 40000, 8080, out},
		{"over loopback", "127.0.0.1", "127.0.0.1", "::1", "::1", 40000, 8080, out},
	} {
		for _, ends := range [][2]string{{tt.src, tt.dst}, {tt.src6, tt.dst6}} {
			for _, back := range []bool{false, true} {
				want, p := tt.want, segment(ends[0], ends[1], tt.sport, tt.dport, 4)
				if back {
					want, p = want.Reverse(), segment(ends[1], ends[0], tt.dport, tt.sport, 4)
				}
				e, ok := sidecar.EndsOf(p)
				if !ok {
					t.Fatalf("%s: not an IP packet", tt.name)
				}
				if got := e.Direction(kind(e.Src), kind(e.Dst)); got != want {
					t.Errorf("%s, %v, back %t: %v, want %v", tt.name, ends, back, got, want)
				}
			}
		}
	}
}

// TestCutPackets has ends that are not whole.
func TestCutPackets(t *testing.T) {
	for _, ends := range [][2]string{{"10.9.9.9", "10.9.9.8"}, {"fd99::9", "fd99::8"}} {
		whole := segment(ends[0], ends[1], 40000, 8080, 4)
		for n := range whole {
			e, ok := sidecar.EndsOf(whole[:n])
			if min := map[bool]int{true: 40, false: 20}[whole[0]>>4 == 6]; ok != (n >= min) {
				t.Errorf("%v: %d bytes: ok %t", ends, n, ok)
			}
			if ok && (e.Ports || e.Direction(kind(e.Src), kind(e.Dst)) != packet.NoDirection) {
				t.Errorf("%v: %d bytes have ports", ends, n)
			}
		}
	}
	if _, ok := sidecar.EndsOf(make([]byte, 60)); ok {
		t.Error("version 0 is an IP packet")
	}
}

func TestAddressesDoNotAllocate(t *testing.T) {
	p := segment("::6", "fd00::1", 40000, 8080, 4)
	if n := testing.AllocsPerRun(100, func() {
		e, _ := sidecar.EndsOf(p)
		e.Direction(sidecar.EndOf(e.Src), sidecar.EndOf(e.Dst))
	}); n != 0 {
		t.Errorf("%v allocations for a packet, want 0", n)
	}
}

func FuzzEndsOf(f *testing.F) {
	f.Add(segment("127.0.0.6", "10.0.0.1", 40000, 8080, 4))
	f.Add(segment("::6", "fd00::1", 40000, 8080, 2))
	f.Fuzz(func(t *testing.T, p []byte) {
		e, ok := sidecar.EndsOf(p)
		if ok && len(e.Src) != len(e.Dst) {
			t.Errorf("ends of %d and %d bytes", len(e.Src), len(e.Dst))
		}
		e.Direction(sidecar.EndOf(e.Src), sidecar.EndOf(e.Dst))
	})
}
