package path_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// withGroups is the policy of a workload with rules to its peer (2) and to multicast and broadcast
// addresses (3).
func (s *stage) withGroups(version uint64, mode policy.Mode, rules ...policy.RuleSpec) {
	s.t.Helper()
	spec := &policy.Spec{
		Version:    version,
		Groups:     []policy.GroupSpec{{Name: "any", Any: true}, {Name: "svc:default/w"}, {Name: "svc:default/peer"}, {Name: "multicast", Cast: true}},
		Identities: []policy.IdentitySpec{{Groups: []uint32{0}}, {Groups: []uint32{0, 1}}, {Groups: []uint32{0, 2}}, {Groups: []uint32{0, 3}}},
		Workloads:  []policy.WorkloadSpec{{ID: "w", Identity: 1, Mode: mode}}, Rules: rules,
	}
	for prefix, id := range map[string]uint32{"10.0.0.1/32": 1, "fd00::1/128": 1, "10.0.0.2/32": 2, "fd00::2/128": 2, "224.0.0.0/4": 3, "10.0.0.255/32": 3, "255.255.255.255/32": 3, "ff00::/8": 3} {
		spec.Addresses = append(spec.Addresses, policy.AddressSpec{Prefix: netip.MustParsePrefix(prefix), Identity: id})
	}
	table, err := policy.Compile(spec)
	if err != nil {
		s.t.Fatal(err)
	}
	s.set(uint32(version), table)
}

// to allows a protocol's port from one group to another.
func to(id, from, dst uint32, proto uint8, port uint16, apps ...app.ID) policy.RuleSpec {
	return policy.RuleSpec{ID: id, From: from, To: dst, Ports: []policy.PortSpec{{Proto: proto, Lo: port, Hi: port}}, Apps: apps}
}

// question is one to a group or to everybody, and the addresses of the two ends.
type question struct {
	name          string
	own, peer, to string
	mac           own.MAC // of the group
}

var questions = []question{
	{"multicast", "10.0.0.1", "10.0.0.2", "239.255.255.250", own.MAC{1, 0, 0x5e, 0x7f, 0xff, 0xfa}},
	{"broadcast", "10.0.0.1", "10.0.0.2", "10.0.0.255", toAll},
	{"limited broadcast", "10.0.0.1", "10.0.0.2", "255.255.255.255", toAll},
	{"ipv6", "fd00::1", "fd00::2", "ff08::fade", own.MAC{0x33, 0x33, 0, 0, 0xfa, 0xde}},
	{"link-local", "fe80::1", "fe80::2", "ff02::c", own.MAC{0x33, 0x33, 0, 0, 0, 0xc}},
}

// TestAnswersToGroups: the unicast answer to a question to a group belongs to it, at the end that asks and at
// the end that answers, from any port, until it is too late; nothing else does.
func TestAnswersToGroups(t *testing.T) {
	for _, q := range questions {
		for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
			t.Run(fmt.Sprint(q.name, "/", mode), func(t *testing.T) {
				refused := map[policy.Mode]packet.Action{policy.Protect: drop}[mode]
				if mode != policy.Protect {
					refused = pass
				}
				asks := newStage(t, mode, known)
				asks.withGroups(1, mode, to(7, 1, 3, 17, 1900))
				ask := func() packet.Frame {
					return datagram(t, packet.Egress, q.mac, macW, q.own, q.to, 50000, 1900, "who is there?")
				}
				reply := func(from string, sport, dport uint16) packet.Frame {
					return datagram(t, packet.Ingress, macW, macP, from, q.own, sport, dport, "here I am")
				}
				asks.want("an answer without a question", asks.give(reply(q.peer, 1900, 50001)), refused)
				asks.want("a question", asks.give(ask()), pass)
				asks.want("its answers", asks.give(reply(q.peer, 1900, 50000), reply(q.peer, 49999, 50000)), pass, pass)
				asks.want("one to another port", asks.give(reply(q.peer, 1900, 50002)), refused)
				far := "198.51.100.9"
				if netip.MustParseAddr(q.own).Is6() {
					far = "2001:db8::9"
				}
				f := reply(far, 1900, 50000)
				copy(f.Data[6:12], macHost[:])
				asks.want("one from beyond the link", asks.give(f), refused)
				asks.want("the next thing to the answering host", asks.give(datagram(t, packet.Egress, macP, macW, q.own, q.peer, 50000, 1900, "tell me more")), pass)
				asks.pass(40*time.Second, time.Second)
				asks.want("an answer that is too late", asks.give(reply(q.peer, 1901, 50000)), refused)
				asks.want("a further question", asks.give(ask()), pass)
				asks.want("and its answer", asks.give(reply(q.peer, 1902, 50000)), pass)
				answers := recordsTo(asks, 50000, 1900, 49999, 1902)
				for _, r := range answers {
					if r.Verdict != flow.Allow || r.Reason != flow.ByRelated || r.Rule != 7 || r.Dir != packet.Egress {
						t.Errorf("answer: %v by %v of rule %d, %v", r.Verdict, r.Reason, r.Rule, r.Dir)
					}
				}
				if len(answers) == 0 {
					t.Error("answers are not reported as the asking end's")
				}

				hears := newStage(t, mode, known)
				hears.withGroups(1, mode, to(8, 2, 3, 17, 1900))
				ps := q.peer
				heard := datagram(t, packet.Ingress, q.mac, macP, ps, q.to, 50000, 1900, "who is there?")
				if q.name == "link-local" {
					hears.withGroups(1, mode, to(8, 0, 3, 17, 1900))
				}
				back := func(sport, dport uint16) packet.Frame {
					return datagram(t, packet.Egress, macP, macW, q.own, ps, sport, dport, "here I am")
				}
				hears.want("an answer without a question", hears.give(back(1900, 50001)), refused)
				hears.want("the question", hears.give(heard), pass)
				hears.want("the answer", hears.give(back(1900, 50000), back(41000, 50000)), pass, pass)
				hears.want("to another port", hears.give(back(1900, 50003)), refused)
			})
		}
	}
}

// recordsTo returns the records of sessions between a client's port and some servers' ports.
func recordsTo(s *stage, cport uint16, sports ...uint16) (out []flow.Record) {
	for _, r := range s.all {
		for _, p := range sports {
			if r.ClientPort == cport && r.ServerPort == p && r.Reason == flow.ByRelated {
				out = append(out, r)
			}
		}
	}
	return out
}

// TestRefusedQuestion: what policy refuses asks nothing.
func TestRefusedQuestion(t *testing.T) {
	for _, q := range questions {
		s := newStage(t, policy.Protect, known)
		s.withGroups(1, policy.Protect, to(7, 1, 3, 17, 5353))
		s.want(q.name, s.give(datagram(t, packet.Egress, q.mac, macW, q.own, q.to, 50000, 1900, "who?")), drop)
		s.want(q.name+": an answer", s.give(datagram(t, packet.Ingress, macW, macP, q.peer, q.own, 1900, 50000, "I")), drop)
	}
}

// TestEchoToGroup: a ping to a group is answered by all of it.
func TestEchoToGroup(t *testing.T) {
	echo := func(dir packet.Direction, dst, src own.MAC, from, to string, reply bool, id uint16) packet.Frame {
		a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
		if a.Is6() {
			kind := layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)
			if reply {
				kind = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoReply, 0)
			}
			return raw(t, dir, ether(dst, src, layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolICMPv6, HopLimit: 64, SrcIP: a.AsSlice(), DstIP: b.AsSlice()},
				&layers.ICMPv6{TypeCode: kind}, &layers.ICMPv6Echo{Identifier: id, SeqNumber: 1}, gopacket.Payload("x"))
		}
		kind := layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)
		if reply {
			kind = layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0)
		}
		return raw(t, dir, ether(dst, src, layers.EthernetTypeIPv4), &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: a.AsSlice(), DstIP: b.AsSlice()},
			&layers.ICMPv4{TypeCode: kind, Id: id, Seq: 1}, gopacket.Payload("x"))
	}
	for _, q := range questions {
		proto := uint8(packet.ProtoICMP)
		if netip.MustParseAddr(q.own).Is6() {
			proto = packet.ProtoICMPv6
		}
		s := newStage(t, policy.Protect, known)
		s.withGroups(1, policy.Protect, policy.RuleSpec{ID: 7, From: 1, To: 3, Ports: []policy.PortSpec{{Proto: proto, Hi: 65535}}})
		s.want(q.name, s.give(echo(packet.Egress, q.mac, macW, q.own, q.to, false, 77)), pass)
		s.want(q.name+": its answer", s.give(echo(packet.Ingress, macW, macP, q.peer, q.own, true, 77)), pass)
		s.want(q.name+": another answer", s.give(echo(packet.Ingress, macW, macP, q.peer, q.own, true, 78)), drop)
		s.want(q.name+": a request", s.give(echo(packet.Ingress, macW, macP, q.peer, q.own, false, 79)), drop)
	}
}
