package path_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/threat"
)

var (
	macW     = own.MAC{2, 0, 0, 0, 0, 1} // the workload's, and that of its peer
	macP     = own.MAC{2, 0, 0, 0, 0, 2}
	macOther = own.MAC{2, 0, 0, 0, 0, 9}
	macHost  = own.MAC{2, 0, 0, 0, 0, 0xfe}
	toAll    = own.MAC{255, 255, 255, 255, 255, 255}
)

// known makes a stage's workload and its peer known, with their addresses and those of the host.
func known(cfg *path.Config, s *stage) {
	list := func(mac own.MAC, addrs ...string) *own.List {
		var ps []netip.Prefix
		for _, a := range addrs {
			ps = append(ps, netip.MustParsePrefix(a))
		}
		return own.New(own.Config{Gateways: func() (map[own.MAC]struct{}, error) { return map[own.MAC]struct{}{macHost: {}}, nil }}, own.NewSet(ps, []own.MAC{mac}))
	}
	s.end.Sources = list(macW, "10.0.0.1/24", "fd00::1/64", "fe80::1/64")
	o := path.OwnersOf(path.Endpoints{1: &s.end, 2: {ID: 2, Sources: list(macP, "10.0.0.2/24", "fd00::2/64", "fe80::2/64")}})
	s.shared.Owners.Store(&o)
}

// raw builds a frame of any layers in a direction.
func raw(t *testing.T, dir packet.Direction, ls ...gopacket.SerializableLayer) packet.Frame {
	t.Helper()
	var network gopacket.NetworkLayer
	for _, l := range ls {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		if x, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok && network != nil {
			_ = x.SetNetworkLayerForChecksum(network)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	data := slices.Clone(buf.Bytes())
	return packet.Frame{Data: data, Wire: uint32(len(data)), Endpoint: 1, Dir: dir}
}

func ether(dst, src own.MAC, kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{DstMAC: dst[:], SrcMAC: src[:], EthernetType: kind}
}

// datagram builds a UDP datagram with any addresses.
func datagram(t *testing.T, dir packet.Direction, dst, src own.MAC, from, to string, sport, dport uint16, payload string) packet.Frame {
	t.Helper()
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	if a.Is6() {
		return raw(t, dir, ether(dst, src, layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolUDP, HopLimit: 64, SrcIP: a.AsSlice(), DstIP: b.AsSlice()}, u, gopacket.Payload(payload))
	}
	return raw(t, dir, ether(dst, src, layers.EthernetTypeIPv4), &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: a.AsSlice(), DstIP: b.AsSlice()}, u, gopacket.Payload(payload))
}

// everyone allows everything between the workload and its peer, so that only the link refuses.
func everyone() []policy.RuleSpec {
	return []policy.RuleSpec{{ID: 7, From: 1, To: 2}, {ID: 8, From: 2, To: 1}, {ID: 9, From: 0, To: 0}}
}

// TestSenders: what is not from its sender is refused in protect, is a violation for its address
// in every mode, and is never a session.
func TestSenders(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
		for _, c := range []struct {
			name     string
			dir      packet.Direction
			dst, src own.MAC
			from, to string
			ok       bool
		}{
			{"its own", packet.Egress, macP, macW, "10.0.0.1", "10.0.0.2", true},
			{"its own, IPv6", packet.Egress, macP, macW, "fd00::1", "fd00::2", true},
			{"its own link-local", packet.Egress, macP, macW, "fe80::1", "fe80::2", true},
			{"another's", packet.Egress, macP, macW, "10.0.0.2", "10.0.0.9", false},
			{"another's, IPv6", packet.Egress, macP, macW, "fd00::2", "fd00::9", false},
			{"of no workload", packet.Egress, macP, macW, "203.0.113.1", "10.0.0.2", false},
			{"none", packet.Egress, macP, macW, "0.0.0.0", "10.0.0.2", false},
			{"none, IPv6", packet.Egress, macP, macW, "::", "fd00::2", false},
			{"another's MAC address", packet.Egress, macP, macOther, "10.0.0.1", "10.0.0.2", false},
			{"another's MAC address, IPv6", packet.Egress, macP, macOther, "fd00::1", "fd00::2", false},
			{"from its peer", packet.Ingress, macW, macP, "10.0.0.2", "10.0.0.1", true},
			{"from its peer, IPv6", packet.Ingress, macW, macP, "fd00::2", "fd00::1", true},
			{"from its peer, routed by the host", packet.Ingress, macW, macHost, "10.0.0.2", "10.0.0.1", true},
			{"from a stranger with its peer's address", packet.Ingress, macW, macOther, "10.0.0.2", "10.0.0.1", false},
			{"from a stranger with its peer's address, IPv6", packet.Ingress, macW, macOther, "fd00::2", "fd00::1", false},
			{"from a stranger", packet.Ingress, macW, macOther, "10.0.0.77", "10.0.0.1", true},
			{"from outside", packet.Ingress, macW, macHost, "203.0.113.1", "10.0.0.1", true},
			{"from its own address", packet.Ingress, macW, macP, "10.0.0.1", "10.0.0.1", false},
			{"to a group from a stranger with its peer's address", packet.Ingress, toAll, macOther, "10.0.0.2", "10.0.0.1", false},
		} {
			s := newStage(t, mode, known)
			s.policy(1, policy.WorkloadSpec{Mode: mode}, everyone()...)
			want := pass
			if !c.ok && mode == policy.Protect {
				want = drop
			}
			for range 3 {
				s.want(c.name, s.give(datagram(t, c.dir, c.dst, c.src, c.from, c.to, 40000, 5000, "x")), want)
			}
			s.pass(11e9, 1e9)
			if c.from == c.to { // no host believes it, whoever sent it
				s.counted(counter.UnroutableFrames, 3)
				continue
			}
			spoofed, packets := 0, uint64(0)
			for _, r := range s.all {
				if r.Reason == flow.BySpoofed && r.Verdict != flow.Learn && r.Enforced == (mode == policy.Protect) {
					spoofed++
					packets += r.Packets[0]
				}
			}
			if c.ok != (spoofed == 0) || !c.ok && packets != 3 {
				t.Errorf("%v, %s: %d records as spoofed with %d packets", mode, c.name, spoofed, packets)
			}
			if opened := s.p.Sessions().Report().Count(counter.Opened); (opened == 1) != c.ok {
				t.Errorf("%v, %s: %d sessions", mode, c.name, opened)
			}
			if x := s.threats(); !c.ok && (len(x) == 0 || x[0].ID != threat.Spoofed) {
				t.Errorf("%v, %s: threats %+v", mode, c.name, x)
			}
		}
	}
}

// TestFormerAddress: what was sent by an address continues when the workload loses it, and nothing else
// is sent by it, least of all when another workload has it.
func TestFormerAddress(t *testing.T) {
	for _, c := range []struct{ name, own, before, to, elsewhere string }{
		{"IPv4", "10.0.0.1/24", "10.0.0.3", "10.0.0.2", "10.0.0.9"},
		{"IPv6", "fd00::1/64", "fd00::3", "fd00::2", "fd00::9"},
	} {
		s := newStage(t, policy.Protect, known)
		s.policy(1, policy.WorkloadSpec{Mode: policy.Protect}, everyone()...)
		set := func(addrs ...string) {
			var ps []netip.Prefix
			for _, a := range addrs {
				ps = append(ps, netip.MustParsePrefix(a))
			}
			s.end.Sources.Update(own.NewSet(ps, []own.MAC{macW}))
			s.pass(2e9, 1e9) // what was verified is verified again
		}
		send := func(to string, port uint16) []packet.Action {
			return s.give(datagram(t, packet.Egress, macP, macW, c.before, to, port, 5000, "x"))
		}
		bits := netip.MustParsePrefix(c.own).Bits()
		set(c.own, netip.PrefixFrom(netip.MustParseAddr(c.before), bits).String())
		s.want(c.name+", its own", send(c.to, 40000), pass)
		set(c.own)
		s.want(c.name+", removed", send(c.to, 40000), pass)
		s.want(c.name+", another connection", send(c.to, 40001), drop)
		s.want(c.name+", to another", send(c.elsewhere, 40000), drop)
		s.want(c.name+", still", send(c.to, 40000), pass)
		o := path.OwnersOf(path.Endpoints{1: &s.end, 2: {ID: 2, Sources: own.New(own.Config{}, own.NewSet([]netip.Prefix{netip.PrefixFrom(netip.MustParseAddr(c.before), bits)}, []own.MAC{macP}))}})
		s.shared.Owners.Store(&o)
		s.policy(2, policy.WorkloadSpec{Mode: policy.Protect}, everyone()...)
		s.pass(2e9, 1e9)
		s.want(c.name+", another's", send(c.to, 40000), drop)
		s.counted(counter.SpoofedFrames, 3)
	}
}

// TestManySenders: a flood with random sources opens no session, and few kinds are reported.
func TestManySenders(t *testing.T) {
	s := newStage(t, policy.Protect, known)
	s.policy(1, protect())
	f := datagram(t, packet.Egress, macP, macW, "203.0.113.1", "10.0.0.2", 1, 2, "x")
	for i := range uint32(5000) {
		g := f
		g.Data = slices.Clone(f.Data)
		binary.BigEndian.PutUint32(g.Data[26:], 0xc6000000+i)
		s.give(g)
	}
	s.pass(11e9, 1e9)
	s.counted(counter.SpoofedFrames, 5000)
	s.counted(counter.Opened, 0)
	if len(s.all) > 4*64 {
		t.Errorf("%d records", len(s.all))
	}
}

func TestMisplaced(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Discover, policy.Protect} {
		s := newStage(t, mode, known)
		s.policy(1, policy.WorkloadSpec{Mode: mode}, everyone()...)
		want := pass
		if mode == policy.Protect {
			want = drop
		}
		group := own.MAC{1, 0, 0x5e, 0, 0, 1}
		s.want("flooded", s.give(datagram(t, packet.Ingress, macOther, macP, "10.0.0.2", "10.0.0.1", 1, 5000, "x")), want)
		s.want("others' in frames to all", s.give(datagram(t, packet.Ingress, toAll, macP, "10.0.0.2", "10.0.0.9", 1, 5000, "x"),
			datagram(t, packet.Ingress, group, macP, "fd00::2", "fd00::9", 1, 5000, "x")), want, want)
		s.counted(counter.Opened, 0)
		s.want("ours in frames to all", s.give(datagram(t, packet.Ingress, toAll, macP, "10.0.0.2", "10.0.0.1", 1, 5000, "x"),
			datagram(t, packet.Ingress, group, macP, "fd00::2", "fd00::1", 1, 5000, "x"), datagram(t, packet.Ingress, toAll, macP, "10.0.0.2", "10.0.0.255", 1, 5000, "x")), pass, pass, pass)
		s.counted(counter.Opened, 3)
	}
}

func arp(dir packet.Direction, dst, src own.MAC, op uint16, sha own.MAC, spa, tpa string, more ...byte) packet.Frame {
	b := append(slices.Concat(dst[:], src[:]), 8, 6, 0, 1, 8, 0, 6, 4, 0, byte(op))
	b = append(b, sha[:]...)
	b = append(b, netip.MustParseAddr(spa).AsSlice()...)
	b = append(b, make([]byte, 6)...)
	b = append(append(b, netip.MustParseAddr(tpa).AsSlice()...), more...)
	return packet.Frame{Data: b, Wire: uint32(len(b)), Endpoint: 1, Dir: dir}
}

func TestARP(t *testing.T) {
	for _, c := range []struct {
		name string
		f    packet.Frame
		ok   bool
	}{
		{"question", arp(packet.Egress, toAll, macW, 1, macW, "10.0.0.1", "10.0.0.2"), true},
		{"answer, padded", arp(packet.Egress, macP, macW, 2, macW, "10.0.0.1", "10.0.0.2", make([]byte, 18)...), true},
		{"gratuitous", arp(packet.Egress, toAll, macW, 2, macW, "10.0.0.1", "10.0.0.1"), true},
		{"probe", arp(packet.Egress, toAll, macW, 1, macW, "0.0.0.0", "10.0.0.5"), true},
		{"answer without an address", arp(packet.Egress, toAll, macW, 2, macW, "0.0.0.0", "10.0.0.5"), true},
		{"another's address", arp(packet.Egress, macP, macW, 2, macW, "10.0.0.9", "10.0.0.2"), false},
		{"another's gratuitous", arp(packet.Egress, toAll, macW, 1, macW, "10.0.0.9", "10.0.0.9"), false},
		{"another's MAC address", arp(packet.Egress, macP, macW, 2, macOther, "10.0.0.1", "10.0.0.2"), false},
		{"another's MAC address in the frame", arp(packet.Egress, macP, macOther, 2, macW, "10.0.0.1", "10.0.0.2"), false},
		{"data behind", arp(packet.Egress, macP, macW, 1, macW, "10.0.0.1", "10.0.0.2", []byte("data")...), false},
		{"reverse", arp(packet.Egress, macP, macW, 3, macW, "10.0.0.1", "10.0.0.2"), false},
		{"from the peer", arp(packet.Ingress, toAll, macP, 1, macP, "10.0.0.2", "10.0.0.1"), true},
		{"from a stranger", arp(packet.Ingress, macW, macOther, 2, macOther, "10.0.0.9", "10.0.0.1"), true},
		{"the host for another", arp(packet.Ingress, macW, macHost, 2, macHost, "10.0.0.2", "10.0.0.1"), true},
		{"the peer's from a stranger", arp(packet.Ingress, macW, macOther, 2, macOther, "10.0.0.2", "10.0.0.1"), false},
		{"the workload's from a stranger", arp(packet.Ingress, toAll, macOther, 2, macOther, "10.0.0.1", "10.0.0.1"), false},
		{"long", arp(packet.Ingress, macW, macP, 2, macP, "10.0.0.2", "10.0.0.1", make([]byte, 40)...), false},
	} {
		for _, mode := range []policy.Mode{policy.Discover, policy.Protect} {
			s := newStage(t, mode, known)
			s.policy(1, policy.WorkloadSpec{Mode: mode})
			want := pass
			if !c.ok && mode == policy.Protect {
				want = drop
			}
			s.want(c.name, s.give(c.f), want)
			if x := s.threats(); (len(x) == 0) != c.ok {
				t.Errorf("%v, %s: threats %+v", mode, c.name, x)
			} else if !c.ok && x[0].ID == threat.Spoofed && !strings.Contains(x[0].Text, ":") {
				t.Errorf("%s: %q does not show who claims what", c.name, x[0].Text)
			}
		}
	}
}

// TestAddressAdded: a floating address is announced right after it was added.
func TestAddressAdded(t *testing.T) {
	now := own.NewSet([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, []own.MAC{macW})
	s := newStage(t, policy.Protect, func(_ *path.Config, s *stage) {
		s.end.Sources = own.New(own.Config{Read: func() (*own.Set, error) { return now, nil }}, now)
	})
	s.policy(1, protect(), everyone()...)
	now = own.NewSet([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.0.100/24")}, []own.MAC{macW})
	s.want("announced", s.give(arp(packet.Egress, toAll, macW, 1, macW, "10.0.0.100", "10.0.0.100"), datagram(t, packet.Egress, macP, macW, "10.0.0.100", "10.0.0.2", 1, 5000, "x")), pass, pass)
	s.counted(counter.SpoofedFrames, 0)
}

func TestNotIP(t *testing.T) {
	frame := func(dst own.MAC, kind uint16, rest ...byte) packet.Frame {
		b := binary.BigEndian.AppendUint16(slices.Concat(dst[:], macW[:]), kind)
		b = append(b, rest...)
		b = append(b, make([]byte, 46)...)
		return packet.Frame{Data: b, Wire: uint32(len(b)), Endpoint: 1, Dir: packet.Egress}
	}
	bridge, lldp := own.MAC{1, 0x80, 0xc2, 0, 0, 0}, own.MAC{1, 0x80, 0xc2, 0, 0, 0x0e}
	for _, c := range []struct {
		name string
		f    packet.Frame
		ok   bool
	}{
		{"LLDP", frame(lldp, 0x88cc), true}, {"LACP", frame(own.MAC{1, 0x80, 0xc2, 0, 0, 2}, 0x8809), true},
		{"STP", frame(bridge, 0x26, 0x42, 0x42, 3), true}, {"802.1X", frame(own.MAC{1, 0x80, 0xc2, 0, 0, 3}, 0x888e), true},
		{"LLDP to another", frame(macP, 0x88cc), false}, {"LLDP to all", frame(toAll, 0x88cc), false}, {"other LLC", frame(bridge, 0x26, 0xaa, 0xab, 3), false},
		{"own EtherType", frame(macP, 0x88b5), false}, {"own EtherType to a link's group", frame(lldp, 0x88b5), false},
		{"RARP", frame(toAll, 0x8035), false}, {"PPPoE discovery", frame(toAll, 0x8863), false}, {"LLC", frame(macP, 0x26, 0xe0, 0xe0, 3), false},
	} {
		for _, mode := range []policy.Mode{policy.Discover, policy.Protect} {
			s := newStage(t, mode, known)
			s.policy(1, policy.WorkloadSpec{Mode: mode})
			want := pass
			if !c.ok && mode == policy.Protect {
				want = drop
			}
			s.want(c.name, s.give(c.f), want)
			if x := s.threats(); (len(x) == 0) != c.ok {
				t.Errorf("%v, %s: threats %+v", mode, c.name, x)
			}
		}
	}
}
