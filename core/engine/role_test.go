package engine_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
)

// peers are the ends of bench's conversations: the workload and its peer.
func peers(v6 bool) (own, peer packet.Addr) {
	if v6 {
		return packet.AddrFrom(netip.MustParseAddr("fd00::1")), packet.AddrFrom(netip.MustParseAddr("fd00::2"))
	}
	return packet.AddrFrom(netip.MustParseAddr("10.0.0.1")), packet.AddrFrom(netip.MustParseAddr("10.0.0.2"))
}

// oddPorts are client and server ports that reveal nothing, or the wrong client.
var oddPorts = [][2]uint16{{40000, 80}, {40000, 50051}, {55000, 50051}, {8080, 9090}, {9090, 8080}, {20000, 50051}, {80, 443}, {443, 80}, {5000, 5000}, {51820, 51820}}

// TestLiveConnectionsContinue attaches an endpoint in the middle of allowed conversations.
// Whatever the ports, whichever end is the workload, and whoever sends first, they continue,
// allowed by their rule.
func TestLiveConnectionsContinue(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
			for _, ports := range oddPorts {
				for _, client := range []int{0, 1} { // which end is the client; 0 is the workload
					for _, first := range []int{0, 1} {
						name := fmt.Sprintf("proto %d, %d to %d, client %d, end %d first", proto, ports[0], ports[1], client, first)
						continues(t, name, v6, proto, ports, client, first)
					}
				}
			}
		}
	})
}

func continues(t *testing.T, name string, v6 bool, proto uint8, ports [2]uint16, client, first int) {
	t.Helper()
	b := newBench(t)
	a := map[uint8]app.ID{packet.ProtoTCP: app.HTTP, packet.ProtoUDP: app.QUIC}[proto] // that such bytes may belong to
	rule := policy.RuleSpec{ID: 7, From: uint32(1 + client), To: uint32(2 - client), Ports: []policy.PortSpec{{Proto: proto, Lo: ports[1], Hi: ports[1]}}, Apps: []app.ID{a}}
	b.policy(1, policy.Protect, policy.WorkloadSpec{}, rule)
	q := b.attach(backend.Inline)
	near, far := ports[client], ports[1-client]
	c := newConn(v6, near, far)
	send := func(end int) packet.Frame {
		if proto == packet.ProtoTCP {
			return c.seg(t, end, "PA", "some bytes")
		}
		u := &layers.UDP{SrcPort: layers.UDPPort(near), DstPort: layers.UDPPort(far)}
		if end == 1 {
			u.SrcPort, u.DstPort = u.DstPort, u.SrcPort
		}
		return frameOf(t, v6, end, layers.IPProtocolUDP, u, "some bytes of an encrypted packet")
	}
	if got := actions(q.give(send(first), send(1-first), send(first))); got != "pass pass pass" {
		t.Errorf("%s: got %s, want all to pass", name, got)
	}
	// Another port of the same peer is not allowed, in either orientation.
	other := newConn(v6, near+1, far+1)
	if got := actions(q.give(other.seg(t, first, "PA", "some bytes"))); got != "drop" {
		t.Errorf("%s: another connection: got %s, want drop", name, got)
	}
}

// TestTurnedBeforeItIsReported: a session that only the other orientation allows is one row,
// with that orientation.
func TestTurnedBeforeItIsReported(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(50051)))
		q := b.attach(backend.Inline)
		c := newConn(v6, 40000, 50051)
		q.give(c.seg(t, 0, "PA", "some bytes"), c.seg(t, 1, "PA", "an answer"))
		all := b.flows(func(f flow.Record) bool { return f.Kind == flow.Start })
		own, peer := peers(v6)
		for _, f := range all {
			if f.Session != all[0].Session || f.Client != own || f.Server != peer || f.ServerPort != 50051 || f.Dir != packet.Egress || f.Verdict != flow.Allow || f.Rule != 7 || f.Evidence != flow.EvidencePort {
				t.Errorf("record %+v: want one session to port 50051, allowed by rule 7", f)
			}
		}
		if !all[len(all)-1].Answered {
			t.Error("bytes from both ends are no answer")
		}
	})
}

// TestRefusedSenderIsTheClient: a datagram from a server's port that neither orientation allows
// is reported as its sender's, in both directions.
func TestRefusedSenderIsTheClient(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, end := range []int{0, 1} {
			b := newBench(t)
			b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(50051)))
			q := b.attach(backend.Inline)
			own, peer := peers(v6)
			from := []packet.Addr{own, peer}[end]
			u := &layers.UDP{SrcPort: 53, DstPort: 5310}
			if got := actions(q.give(frameOf(t, v6, end, layers.IPProtocolUDP, u, "some bytes"))); got != "drop" {
				t.Fatalf("got %s, want drop", got)
			}
			all := b.flows(func(f flow.Record) bool { return f.Verdict == flow.Deny })
			for _, f := range all {
				if f.Client != from || f.ServerPort != 5310 || (f.Dir == packet.Egress) != (end == 0) {
					t.Errorf("from end %d: record %+v: want the sender as the client", end, f)
				}
			}
		}
	})
}

// TestSocketsRaise: the workload's listening sockets become known after a session was picked
// up with the wrong orientation, before the session is reported, or later.
func TestSocketsRaise(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, late := range []bool{false, true} {
			b := newBench(t)
			b.policy(1, policy.Discover, policy.WorkloadSpec{})
			q := b.attach(backend.Tap)
			c := newConn(v6, 50051, 40000)             // the workload serves 50051; the ports suggest the contrary
			q.give(c.seg(t, 1, "PA", httpRequest[:9])) // too little to be named
			var all []flow.Record
			if late {
				all = b.flows(func(f flow.Record) bool { return f.Kind == flow.Start })
				if f := all[0]; f.ServerPort != 40000 || f.Evidence != flow.EvidencePort {
					t.Fatalf("record %+v: want a guess, the wrong one", f)
				}
			}
			b.e.SetSockets(1, &role.Sockets{Complete: true, Listening: map[role.Port]bool{{Proto: 6, Port: 50051}: true}})
			q.give(newConn(v6, 1, 2).seg(t, 0, "S", "")) // changes are applied between two batches
			q.give(newConn(v6, 3, 4).seg(t, 0, "S", ""))
			q.give(c.seg(t, 1, "PA", httpRequest[9:]), c.seg(t, 0, "PA", httpAnswer))
			all = append(all, b.flows(func(f flow.Record) bool { return f.Evidence == flow.EvidenceListener && app.ID(f.App) == app.HTTP })...)
			own, peer := peers(v6)
			last := all[len(all)-1]
			if last.Client != peer || last.Server != own || last.ServerPort != 50051 || last.Dir != packet.Ingress || !last.Answered {
				t.Errorf("late %v: record %+v: want an answered session to the workload's port 50051", late, last)
			}
			live := map[uint64]int{}
			for _, f := range all {
				if f.ServerPort < 5 {
					continue
				}
				switch f.Kind {
				case flow.Start:
					live[f.Session]++
				case flow.End:
					live[f.Session]--
				}
				if f.ServerPort != 50051 && f.Session == last.Session {
					t.Errorf("late %v: one session has both orientations: %+v", late, f)
				}
			}
			sum := 0
			for _, n := range live {
				sum += n
			}
			if want := map[bool]int{false: 1, true: 2}[late]; sum != 1 || len(live) != want {
				t.Errorf("late %v: sessions %v, want %d, one of them live", late, live, want)
			}
		}
	})
}

// TestRemembered: a side known from an earlier run is used, until the memory is too old.
func TestRemembered(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		own, peer := peers(v6)
		h, lower := role.SeedOf("w").Hash(&role.Tuple{Local: own, Remote: peer, LocalPort: 20000, RemotePort: 50051, Proto: 6})
		for _, c := range []struct {
			until time.Duration
			port  uint16
			want  flow.Evidence
		}{{time.Hour, 50051, flow.EvidenceMemory}, {-time.Hour, 20000, flow.EvidencePort}} {
			b := newBench(t)
			b.policy(1, policy.Discover, policy.WorkloadSpec{})
			b.e.Remember(&role.Memory{Until: time.Now().Add(c.until).UnixNano(), LowerIsClient: map[uint64]bool{h: lower}})
			q := b.attach(backend.Tap)
			q.give(newConn(v6, 20000, 50051).seg(t, 1, "PA", "some bytes"))
			if f := b.flows(func(f flow.Record) bool { return f.Kind == flow.Start })[0]; f.ServerPort != c.port || f.Evidence != c.want {
				t.Errorf("memory until %s: record %+v: want server port %d by %s", c.until, f, c.port, c.want)
			}
		}
	})
}

// TestFirmIsNotTurned: where a socket of the workload serves the port, only that orientation
// counts: a connection that no rule allows is refused, though the other orientation would be
// allowed.
func TestFirmIsNotTurned(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{}, allow(7, tcpPort(50051)))
		b.e.SetSockets(1, &role.Sockets{Complete: true, Listening: map[role.Port]bool{{Proto: 6, Port: 9999}: true}})
		q := b.attach(backend.Inline)
		if got := actions(q.give(newConn(v6, 9999, 50051).seg(t, 1, "PA", "some bytes"))); got != "drop" {
			t.Errorf("from the allowed server's port to a port that the workload serves: got %s, want drop", got)
		}
		if got := actions(q.give(newConn(v6, 40000, 50051).seg(t, 1, "PA", "some bytes"))); got != "pass" {
			t.Errorf("from the allowed server: got %s, want pass", got)
		}
	})
}
