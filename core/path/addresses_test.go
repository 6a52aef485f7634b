package path_test

import (
	"cmp"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/own"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
)

// second returns the second address of the workload (end 0) or of its peer.
func second(v6 bool, end int) string {
	return map[bool][2]string{false: {"10.1.0.1", "10.1.0.2"}, true: {"fd01::1", "fd01::2"}}[v6][end]
}

// first returns the first one.
func first(v6 bool, end int) string {
	return map[bool][2]string{false: {"10.0.0.1", "10.0.0.2"}, true: {"fd00::1", "fd00::2"}}[v6][end]
}

// listOf returns the addresses of a workload with a MAC address.
func listOf(workload string, mac own.MAC, addrs ...string) *own.List {
	var ps []netip.Prefix
	for _, a := range addrs {
		ps = append(ps, netip.MustParsePrefix(a))
	}
	return own.New(own.Config{Workload: workload}, own.NewSet(ps, []own.MAC{mac}))
}

// twoAddresses makes known that the stage's workload and its peer have two addresses of each family. The
// peer has two interfaces; thieves have its second address, too.
func twoAddresses(thieves ...string) option {
	return func(_ *path.Config, s *stage) {
		peer := []string{"10.0.0.2/24", "fd00::2/64", "10.1.0.2/24", "fd01::2/64"}
		s.end.Sources = listOf("w", macW, "10.0.0.1/24", "fd00::1/64", "10.1.0.1/24", "fd01::1/64")
		ends := path.Endpoints{1: &s.end, 2: {ID: 2, Sources: listOf("peer", macP, peer...)}, 3: {ID: 3, Sources: listOf("peer", macP, peer...)}}
		for i, name := range thieves {
			id := uint32(4 + i)
			ends[id] = &path.Endpoint{ID: id, Sources: listOf(name, macOther, "10.1.0.2/24", "fd01::2/64")}
		}
		o := path.OwnersOf(ends)
		s.shared.Owners.Store(&o)
	}
}

// TestAnswerFromAnotherAddress: a server with several addresses answers from another one than it was asked at. The
// answer is the question's, at both ends, refused where the question is, and the only one that passes.
func TestAnswerFromAnotherAddress(t *testing.T) {
	for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
		both(t, func(t *testing.T, v6 bool) {
			refused := pass
			if mode == policy.Protect {
				refused = drop
			}
			for end, dirs := range [][2]packet.Direction{{packet.Egress, packet.Ingress}, {packet.Ingress, packet.Egress}} { // the workload's end: client, server
				s := newStage(t, mode, twoAddresses())
				rule := allow(7, 17, 9000)
				if end == 1 {
					rule.From, rule.To = rule.To, rule.From
				}
				s.policy(1, policy.WorkloadSpec{Mode: mode}, rule)
				macs := [2]own.MAC{macW, macP}
				datagram := func(dir packet.Direction, back bool, src, dst string, sport, dport uint16) packet.Frame {
					to, from := macs[1-end], macs[end]
					if back {
						to, from = from, to
					}
					return datagram(t, dir, to, from, src, dst, sport, dport, "some text")
				}
				client, server, other := first(v6, end), first(v6, 1-end), second(v6, 1-end)
				answer := func(src string, sport, dport uint16) packet.Frame {
					return datagram(dirs[1], true, src, client, sport, dport)
				}
				s.want("an answer without a question", s.give(answer(other, 9000, 39999)), refused)
				ask := datagram(dirs[0], false, client, server, 40000, 9000)
				s.want("question and answers", s.give(ask, answer(other, 9000, 40000), answer(server, 9000, 40000), answer(other, 9000, 40000)), pass, pass, pass, pass)
				s.want("from another port", s.give(answer(other, 9001, 40000)), refused)
				s.want("to another port", s.give(answer(other, 9000, 40001)), refused)
				s.want("to the client's other address", s.give(datagram(dirs[1], true, other, second(v6, end), 9000, 40000)), refused)
				s.want("what is denied and its answer", s.give(datagram(dirs[0], false, client, server, 40002, 9002), answer(other, 9002, 40002)), refused, refused)
				s.pass(3*time.Second, 100*time.Millisecond)
				var packets [2]uint64
				for _, r := range s.all {
					if r.ClientPort == 40000 && r.ServerPort == 9000 && r.Dir == dirs[0] && r.Server.Netip().String() == server {
						packets[0], packets[1] = packets[0]+r.Packets[0], packets[1]+r.Packets[1]
						if r.Rule != 7 && mode == policy.Protect || !r.Answered {
							t.Errorf("%s: record %+v", mode, r)
						}
					}
				}
				if packets != [2]uint64{1, 3} {
					t.Errorf("%s, end %d: %v packets, want [1 3]", mode, end, packets)
				}
			}
		})
	}
}

// TestAnswersDoNotAllocate: the search among addresses is on the packet path.
func TestAnswersDoNotAllocate(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect, twoAddresses())
		s.policy(1, protect(), allow(7, 17, 9000))
		answer := datagram(t, packet.Ingress, macW, macP, second(v6, 1), first(v6, 0), 9000, 40000, "some text")
		s.give(datagram(t, packet.Egress, macP, macW, first(v6, 0), first(v6, 1), 40000, 9000, "some text"), answer)
		if n := testing.AllocsPerRun(1000, func() { s.p.Frame(&answer) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestAnswerOfTwoOwners: an answer from an address that another workload has, too, belongs to no question.
func TestAnswerOfTwoOwners(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect, twoAddresses("thief"))
		s.policy(1, protect(), allow(7, 17, 9000))
		s.want("question", s.give(datagram(t, packet.Egress, macP, macW, first(v6, 0), first(v6, 1), 40000, 9000, "some text")), pass)
		for _, mac := range []own.MAC{macOther, macP} {
			s.want("answer", s.give(datagram(t, packet.Ingress, macW, mac, second(v6, 1), first(v6, 0), 9000, 40000, "some text")), drop)
		}
		s.want("answer", s.give(datagram(t, packet.Ingress, macW, macP, first(v6, 1), first(v6, 0), 9000, 40000, "some text")), pass)
	})
}

// TestErrorAboutAnotherAddress: an ICMP error about such an answer is the session's.
func TestErrorAboutAnotherAddress(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect, twoAddresses())
		s.policy(1, protect(), policy.RuleSpec{ID: 7, From: 2, To: 1, Ports: []policy.PortSpec{{Proto: 17, Lo: 9000, Hi: 9000}}})
		answer := datagram(t, packet.Egress, macP, macW, second(v6, 0), first(v6, 1), 9000, 40000, "some text")
		s.want("question and answer", s.give(datagram(t, packet.Ingress, macW, macP, first(v6, 1), first(v6, 0), 40000, 9000, "some text"), answer), pass, pass)
		s.want("error", s.give(unreachable(t, v6, answer)), pass)
		s.counted(counter.ICMPErrors, 1)
	})
}

// unreachable is the peer's error about a frame that the workload sent.
func unreachable(t *testing.T, v6 bool, about packet.Frame) packet.Frame {
	quote := about.Data[14:]
	src, dst := netip.MustParseAddr(first(v6, 1)).AsSlice(), netip.MustParseAddr(second(v6, 0)).AsSlice()
	if v6 {
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}
		return raw(t, packet.Ingress, ether(macW, macP, layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: src, DstIP: dst},
			icmp, gopacket.Payload(append(make([]byte, 4), quote...)))
	}
	return raw(t, packet.Ingress, ether(macW, macP, layers.EthernetTypeIPv4), &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: src, DstIP: dst},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(quote))
}

// TestDataByAnotherAddress: what a session announces may be at another address of the same end, and be opened from any
// address of the other end; that of a third host is an attack.
func TestDataByAnotherAddress(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		port := map[bool]func(string, int) string{
			false: func(a string, n int) string {
				b := netip.MustParseAddr(a).As4()
				return fmt.Sprintf("%d,%d,%d,%d,%d,%d", b[0], b[1], b[2], b[3], n>>8, n&255)
			},
			true: func(a string, n int) string { return fmt.Sprintf("|2|%s|%d|", a, n) },
		}[v6]
		command := map[bool]string{false: "PORT ", true: "EPRT "}[v6]
		s := newStage(t, policy.Protect, twoAddresses())
		s.policy(1, protect(), allow(7, 6, 21, app.FTP))
		c := newConn(v6, 40000, 21)
		ftpOpen(t, s, c)
		syn := func(dir packet.Direction, src, dst string, from, to uint16) packet.Action {
			return s.give(tcpSYN(t, dir, src, dst, from, to))[0]
		}
		for _, tt := range []struct {
			name, command, answer string
			dir                   packet.Direction
			src, dst              string
			sport, dport          uint16
			want                  packet.Action
		}{
			{"passive, to the address that was called", "EPSV\r\n", "229 (|||30001|)\r\n", packet.Egress, first(v6, 0), first(v6, 1), 40001, 30001, pass},
			{"passive, from the client's other address", "EPSV\r\n", "229 (|||30002|)\r\n", packet.Egress, second(v6, 0), first(v6, 1), 40002, 30002, pass},
			{"active, from the server's other address", command + port(first(v6, 0), 45001) + "\r\n", "", packet.Ingress, second(v6, 1), first(v6, 0), 20, 45001, pass},
			{"active, to the client's other address", command + port(second(v6, 0), 45002) + "\r\n", "", packet.Ingress, first(v6, 1), second(v6, 0), 20, 45002, pass},
			{"active, both others", command + port(second(v6, 0), 45003) + "\r\n", "", packet.Ingress, second(v6, 1), second(v6, 0), 20, 45003, pass},
			{"active, of a third host", command + port(second(v6, 0), 45004) + "\r\n", "", packet.Ingress, third[v6], second(v6, 0), 20, 45004, drop},
			{"active, to the address that was not announced", command + port(second(v6, 0), 45005) + "\r\n", "", packet.Ingress, second(v6, 1), first(v6, 0), 20, 45005, drop},
		} {
			s.give(c.seg(t, 0, "A", tt.command))
			s.give(c.seg(t, 1, "A", cmp.Or(tt.answer, "200 ok\r\n")))
			if a := syn(tt.dir, tt.src, tt.dst, tt.sport, tt.dport); a != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, a, tt.want)
			}
		}
		s.counted(counter.ExpectedRefused, 0)
		s.give(c.seg(t, 0, "A", command+port(third[v6], 45006)+"\r\n"), c.seg(t, 1, "A", "200 ok\r\n"))
		s.counted(counter.ExpectedRefused, 1)
		if v6 {
			return
		}
		s.give(c.seg(t, 0, "A", "PASV\r\n"), c.seg(t, 1, "A", "227 ("+port(second(v6, 1), 30003)+")\r\n"))
		if a := syn(packet.Egress, second(v6, 0), second(v6, 1), 40003, 30003); a != pass {
			t.Errorf("passive, both others: %s", a)
		}
		s.give(c.seg(t, 0, "A", "PASV\r\n"), c.seg(t, 1, "A", "227 ("+port(third[v6], 30004)+")\r\n"))
		if a := syn(packet.Egress, second(v6, 0), third[v6], 40004, 30004); a != drop {
			t.Errorf("passive, a third host: %s", a)
		}
	})
}

// third is a host that is no workload.
var third = map[bool]string{false: "10.1.0.9", true: "fd01::9"}

// tcpSYN is the first segment of a connection between any addresses.
func tcpSYN(t *testing.T, dir packet.Direction, src, dst string, from, to uint16) packet.Frame {
	t.Helper()
	a, b := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	macs := [2]own.MAC{macW, macP}
	if dir == packet.Ingress {
		macs[0], macs[1] = macs[1], macs[0]
	}
	l4 := &layers.TCP{SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), SYN: true, Seq: 9, Window: 1000}
	if a.Is6() {
		return raw(t, dir, ether(macs[1], macs[0], layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: a.AsSlice(), DstIP: b.AsSlice()}, l4)
	}
	return raw(t, dir, ether(macs[1], macs[0], layers.EthernetTypeIPv4), &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: a.AsSlice(), DstIP: b.AsSlice()}, l4)
}

// TestTransferFromAnotherAddress: TFTP's server sends the file from another address and port; QUIC's continues at
// another address.
func TestTransferFromAnotherAddress(t *testing.T) {
	hello := quicInitial(t)
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect, twoAddresses())
		s.policy(1, protect(), allow(7, 17, 69, app.TFTP), allow(8, 17, 443, app.QUIC), policy.RuleSpec{ID: 9, From: 1, Ports: []policy.PortSpec{{Proto: 17, Lo: 443, Hi: 443}}, Apps: []app.ID{app.QUIC}})
		out := func(dst string, sport, dport uint16, text string) packet.Frame {
			return datagram(t, packet.Egress, macP, macW, first(v6, 0), dst, sport, dport, text)
		}
		in := func(src string, sport, dport uint16, text string) packet.Frame {
			return datagram(t, packet.Ingress, macW, macP, src, first(v6, 0), sport, dport, text)
		}
		s.want("request", s.give(out(first(v6, 1), 50001, 69, "\x00\x01f\x00octet\x00")), pass)
		s.want("of a third host", s.give(in(third[v6], 40070, 50001, "\x00\x03\x00\x01x")), drop)
		s.want("transfer", s.give(in(second(v6, 1), 40071, 50001, "\x00\x03\x00\x01x"), out(second(v6, 1), 50001, 40071, "\x00\x04\x00\x01")), pass, pass)
		s.give(out(first(v6, 1), 50002, 443, hello), in(first(v6, 1), 443, 50002, "\xc0\x00\x00\x00\x01\x00\x00"+string(make([]byte, 40))))
		short := "\x40" + string(make([]byte, 40))
		s.want("QUIC", s.give(out(second(v6, 1), 50002, 443, short), out(third[v6], 50002, 443, short)), pass, drop)
	})
}
