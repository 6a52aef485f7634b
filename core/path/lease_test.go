package path_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// dhcp builds the payload of a DHCP message.
func dhcp(op, kind byte, xid uint32, mac own.MAC) []byte {
	b := make([]byte, 240)
	b[0], b[1], b[2] = op, 1, 6
	binary.BigEndian.PutUint32(b[4:], xid)
	copy(b[28:], mac[:])
	binary.BigEndian.PutUint32(b[236:], 0x63825363)
	return append(b, 53, 1, kind, 61, 7, 1, 2, 0, 0, 0, 0, 1, 255)
}

// dhcp6 builds that of a DHCPv6 message.
func dhcp6(kind byte, xid uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(kind)<<24|xid)
	return append(b, 0, 1, 0, 10, 0, 3, 0, 1, 2, 0, 0, 0, 0, 1)
}

// TestLease: a client gets its lease in protect without a rule, and neither session nor record comes of it.
func TestLease(t *testing.T) {
	s := newStage(t, policy.Protect, known)
	s.policy(1, protect())
	out := func(from, to string, sport, dport uint16, b []byte) packet.Frame {
		dst := toAll
		if to == "10.0.0.2" {
			dst = macP
		}
		return datagram(t, packet.Egress, dst, macW, from, to, sport, dport, string(b))
	}
	in := func(from, to string, sport, dport uint16, b []byte) packet.Frame {
		return datagram(t, packet.Ingress, macW, macP, from, to, sport, dport, string(b))
	}
	s.want("an answer without a question", s.give(in("10.0.0.2", "10.0.0.1", 67, 68, dhcp(2, 2, 5, macW))), drop)
	s.want("a renewal at a server that never answered", s.give(out("10.0.0.1", "10.0.0.2", 68, 67, dhcp(1, 3, 8, macW))), drop)
	opened := s.p.Sessions().Report().Count(counter.Opened)
	s.want("a lease", s.give(out("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, 1, 7, macW)), in("10.0.0.2", "255.255.255.255", 67, 68, dhcp(2, 2, 7, macW)),
		out("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, 3, 7, macW)), in("10.0.0.2", "10.0.0.1", 67, 68, dhcp(2, 5, 7, macW)),
		out("10.0.0.1", "10.0.0.2", 68, 67, dhcp(1, 3, 8, macW)), in("10.0.0.2", "10.0.0.1", 67, 68, dhcp(2, 5, 8, macW))), pass, pass, pass, pass, pass, pass)
	s.want("a lease of IPv6", s.give(out("fe80::1", "ff02::1:2", 546, 547, dhcp6(1, 7)), in("fe80::2", "fe80::1", 547, 546, dhcp6(2, 7)),
		out("fe80::1", "ff02::1:2", 546, 547, dhcp6(3, 9)), in("fe80::2", "fe80::1", 547, 546, dhcp6(7, 9))), pass, pass, pass, pass)
	s.counted(counter.AddressAcquired, 10)
	s.counted(counter.Opened, opened)
	for name, f := range map[string]packet.Frame{
		"a question to one server":     out("10.0.0.1", "10.0.0.9", 68, 67, dhcp(1, 3, 9, macW)),
		"another's hardware address":   out("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, 1, 9, macOther)),
		"an answer of a client":        out("10.0.0.1", "255.255.255.255", 68, 67, dhcp(2, 2, 9, macW)),
		"as a server":                  out("10.0.0.1", "255.255.255.255", 67, 68, dhcp(2, 2, 9, macW)),
		"without the cookie":           out("10.0.0.1", "255.255.255.255", 68, 67, make([]byte, 300)),
		"text":                         out("10.0.0.1", "10.0.0.2", 68, 67, []byte("bad datagram")),
		"without an end":               out("10.0.0.1", "10.0.0.2", 68, 67, dhcp(1, 1, 9, macW)[:243]),
		"an answer to another":         in("10.0.0.2", "10.0.0.1", 67, 68, dhcp(2, 2, 99, macW)),
		"other port":                   out("10.0.0.1", "10.0.0.2", 6800, 67, dhcp(1, 1, 9, macW)),
		"IPv6, text":                   out("fe80::1", "ff02::1:2", 546, 547, []byte("bad datagram")),
		"IPv6, to one server":          out("fd00::1", "fd00::9", 546, 547, dhcp6(1, 10)),
		"IPv6, as a server":            out("fe80::1", "fe80::2", 547, 546, dhcp6(2, 7)),
		"IPv6, a question of a server": out("fe80::1", "ff02::1:2", 546, 547, dhcp6(2, 7)),
		"IPv6, an answer to another":   in("fe80::2", "fe80::1", 547, 546, dhcp6(7, 99)),
	} {
		s.want(name, s.give(f), drop)
	}
	passed := 0
	for range 100 {
		if s.give(out("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, 1, 7, macW)))[0] == pass {
			passed++
		}
	}
	if passed > 16 {
		t.Errorf("%d messages at once pass", passed)
	}
	s.pass(4*time.Second, time.Second)
	s.want("later", s.give(out("0.0.0.0", "255.255.255.255", 68, 67, dhcp(1, 1, 7, macW))), pass)
}

// nd builds a message of ICMPv6.
func nd(t *testing.T, dir packet.Direction, src own.MAC, hops uint8, from, to string, kind uint8, body ...[]byte) packet.Frame {
	t.Helper()
	dst := own.MAC{0x33, 0x33, 0, 0, 0, 1}
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	if !b.IsMulticast() && dir == packet.Ingress {
		dst = macW
	}
	return raw(t, dir, ether(dst, src, layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: hops, SrcIP: a.AsSlice(), DstIP: b.AsSlice()},
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}, gopacket.Payload(slices.Concat(body...)))
}

func TestDiscovery(t *testing.T) {
	zero := make([]byte, 4)
	target := func(a string) []byte { return netip.MustParseAddr(a).AsSlice() }
	link := func(kind byte, m own.MAC) []byte { return append([]byte{kind, 1}, m[:]...) }
	const solicit, advert = 135, 136
	for _, c := range []struct {
		name string
		f    packet.Frame
		ok   bool
	}{
		{"question", nd(t, packet.Egress, macW, 255, "fd00::1", "ff02::1:ff00:2", solicit, zero, target("fd00::2"), link(1, macW)), true},
		{"answer", nd(t, packet.Egress, macW, 255, "fd00::1", "fd00::2", advert, zero, target("fd00::1"), link(2, macW)), true},
		{"duplicate address detection", nd(t, packet.Egress, macW, 255, "::", "ff02::1:ff00:1", solicit, zero, target("fd00::1"), []byte{14, 1, 1, 2, 3, 4, 5, 6}), true},
		{"search for routers", nd(t, packet.Egress, macW, 255, "fe80::1", "ff02::2", 133, zero, link(1, macW)), true},
		{"search for routers without an address", nd(t, packet.Egress, macW, 255, "::", "ff02::2", 133, zero), true},
		{"an advertisement of a router", nd(t, packet.Ingress, macHost, 255, "fe80::fe", "ff02::1", 134, zero, make([]byte, 8), link(1, macHost), make([]byte, 0)), true},
		{"the peer's answer", nd(t, packet.Ingress, macP, 255, "fd00::2", "fd00::1", advert, zero, target("fd00::2"), link(2, macP)), true},
		{"the peer's detection of duplicates", nd(t, packet.Ingress, macP, 255, "::", "ff02::1:ff00:1", solicit, zero, target("fd00::1")), true},
		{"another's address", nd(t, packet.Egress, macW, 255, "fd00::1", "fd00::2", advert, zero, target("fd00::9"), link(2, macW)), false},
		{"another's MAC address", nd(t, packet.Egress, macW, 255, "fd00::1", "fd00::2", advert, zero, target("fd00::1"), link(2, macOther)), false},
		{"another's in a question", nd(t, packet.Egress, macW, 255, "fd00::9", "ff02::1:ff00:2", solicit, zero, target("fd00::2"), link(1, macW)), false},
		{"another's address taken", nd(t, packet.Egress, macW, 255, "::", "ff02::1:ff00:9", solicit, zero, target("fd00::9")), false},
		{"a workload's advertisement of routes", nd(t, packet.Egress, macW, 255, "fe80::1", "ff02::1", 134, zero, make([]byte, 8)), false},
		{"a redirect", nd(t, packet.Ingress, macHost, 255, "fe80::fe", "fd00::1", 137, zero, target("fd00::2"), target("fd00::2")), false},
		{"the peer's address by a stranger", nd(t, packet.Ingress, macOther, 255, "fe80::9", "fd00::1", advert, zero, target("fd00::2"), link(2, macOther)), false},
		{"the workload's address by a stranger", nd(t, packet.Ingress, macOther, 255, "fe80::9", "ff02::1", advert, zero, target("fd00::1"), link(2, macOther)), false},
		{"routed", nd(t, packet.Egress, macW, 64, "fd00::1", "fd00::2", solicit, zero, target("fd00::2"), link(1, macW)), false},
		{"data behind", nd(t, packet.Egress, macW, 255, "fd00::1", "fd00::2", solicit, zero, target("fd00::2"), []byte("bad-0001bad-0001bad-0001")), false},
		{"without a target", nd(t, packet.Egress, macW, 255, "fd00::1", "fd00::2", solicit, zero), false},
		{"a group as its target", nd(t, packet.Egress, macW, 255, "fd00::1", "fd00::2", solicit, zero, target("ff02::1")), false},
		{"listener report", nd(t, packet.Egress, macW, 1, "fe80::1", "ff02::16", 143, []byte{0, 0, 0, 1, 4, 0, 0, 0}, target("ff02::fb")), true},
		{"listener report without an address", nd(t, packet.Egress, macW, 1, "::", "ff02::16", 143, []byte{0, 0, 0, 1, 4, 0, 0, 0}, target("ff02::fb")), true},
		{"listener report with data", nd(t, packet.Egress, macW, 1, "fe80::1", "ff02::16", 143, []byte{0, 0, 0, 1, 4, 0, 0, 0}, target("ff02::fb"), []byte("data")), false},
		{"listener report to another", nd(t, packet.Egress, macW, 1, "fe80::1", "fd00::2", 143, []byte{0, 0, 0, 1, 4, 0, 0, 0}, target("ff02::fb")), false},
	} {
		for _, mode := range []policy.Mode{policy.Discover, policy.Protect} {
			s := newStage(t, mode, known)
			s.policy(1, policy.WorkloadSpec{Mode: mode})
			want := pass
			if !c.ok && mode == policy.Protect {
				want = drop
			}
			s.want(c.name, s.give(c.f), want)
			if n := s.p.Sessions().Report().Count(counter.Neighbours); (n == 1) != c.ok {
				t.Errorf("%v, %s: %d messages of neighbour discovery passed", mode, c.name, n)
			}
			if len(s.threats()) == 0 && s.p.Sessions().Report().Count(counter.Opened) == 0 && !c.ok {
				t.Errorf("%v, %s: not reported", mode, c.name)
			}
		}
	}
}

func TestIGMP(t *testing.T) {
	igmp := func(ttl uint8, to string, b ...byte) packet.Frame {
		return raw(t, packet.Egress, ether(own.MAC{1, 0, 0x5e, 0, 0, 1}, macW, layers.EthernetTypeIPv4),
			&layers.IPv4{Version: 4, TTL: ttl, Protocol: 2, SrcIP: []byte{10, 0, 0, 1}, DstIP: netip.MustParseAddr(to).AsSlice()}, gopacket.Payload(b))
	}
	s := newStage(t, policy.Protect, known)
	s.policy(1, protect())
	report := []byte{0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 251}
	s.want("valid", s.give(igmp(1, "224.0.0.22", report...), igmp(1, "224.0.0.251", 0x16, 0, 0, 0, 224, 0, 0, 251), igmp(1, "224.0.0.1", 0x11, 0, 0, 0, 0, 0, 0, 0)), pass, pass, pass)
	s.counted(counter.Opened, 0)
	s.want("anything else", s.give(igmp(1, "224.0.0.22", append(report, "data"...)...), igmp(1, "10.0.0.2", report...), igmp(64, "224.0.0.22", report...), igmp(1, "224.0.0.22", 0x99, 0, 0, 0, 0, 0, 0, 0)),
		drop, drop, drop, drop)
}

// TestUnbelievable packets are refused whatever policy allows.
func TestUnbelievable(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		from, to, lo, group := "10.0.0.1", "10.0.0.2", "127.0.0.1", "224.0.0.1"
		if v6 {
			from, to, lo, group = "fd00::1", "fd00::2", "::1", "ff02::1"
		}
		for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
			s := newStage(t, mode, known)
			s.policy(1, policy.WorkloadSpec{Mode: mode}, everyone()...)
			want := pass
			if mode == policy.Protect {
				want = drop
			}
			for _, ends := range [][2]string{{to, to}, {lo, to}, {from, lo}, {group, to}} {
				s.want("from "+ends[0]+" to "+ends[1], s.give(datagram(t, packet.Egress, macP, macW, ends[0], ends[1], 40000, 5000, "x"),
					datagram(t, packet.Ingress, macW, macP, ends[0], ends[1], 40000, 5000, "x")), want, want)
			}
			s.counted(counter.UnroutableFrames, 8)
			s.counted(counter.Opened, 0)
			if len(s.threats()) == 0 {
				t.Error("nothing is reported")
			}
		}
	})
}
