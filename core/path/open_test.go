package path_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
)

// tupleOf is the stage's workload's connection from port near to the peer's port far.
func tupleOf(v6 bool, proto uint8, near, far uint16) role.Tuple {
	own, peer := "10.0.0.1", "10.0.0.2"
	if v6 {
		own, peer = "fd00::1", "fd00::2"
	}
	return role.Tuple{Local: packet.AddrFrom(netip.MustParseAddr(own)), Remote: packet.AddrFrom(netip.MustParseAddr(peer)), LocalPort: near, RemotePort: far, Proto: proto}
}

// held reports to the stage what sockets hold open.
func (s *stage) held(opened ...role.Tuple) {
	s.p.Begin(s.now)
	s.p.Sessions().Held(1, opened, nil)
	s.give()
}

// resets are the sequence numbers of the resets sent, by direction.
func (s *stage) resets() map[packet.Direction]uint32 {
	out := map[packet.Direction]uint32{}
	var p packet.Packet
	for i := range s.q.sent {
		f := &s.q.sent[i]
		if p.Decode(f); p.Status == packet.OK && p.Flags&packet.RST != 0 {
			out[f.Dir] = p.Seq
		}
	}
	s.q.sent = nil
	return out
}

// probe is the one probe that was sent.
func (s *stage) probe() (p packet.Packet) {
	s.t.Helper()
	if len(s.q.sent) != 1 {
		s.t.Fatalf("%d frames sent, want one probe", len(s.q.sent))
	}
	f := &s.q.sent[0]
	if p.Decode(f); p.Status != packet.OK || p.Flags != packet.ACK || p.PayloadWire != 0 || f.Dir != packet.Ingress || f.Flags&packet.Injected == 0 {
		s.t.Fatalf("sent %+v (%+v), want an ACK without payload to the workload", p, f)
	}
	s.q.sent = nil
	return p
}

// complete are sockets of a workload that listens on some ports.
func complete(listening ...role.Port) *role.Sockets {
	s := &role.Sockets{Complete: true, Listening: map[role.Port]bool{}}
	for _, p := range listening {
		s.Listening[p] = true
	}
	return s
}

// TestHeldOpen: a connection of which no packet was seen is a session like any other, counted
// once when packets come, and ends with its socket.
func TestHeldOpen(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, proto := range []uint8{packet.ProtoTCP, packet.ProtoUDP} {
			for _, server := range []bool{false, true} {
				t.Run(fmt.Sprintf("proto %d, server %v", proto, server), func(t *testing.T) { heldOpen(t, v6, proto, server) })
			}
		}
	})
}

func heldOpen(t *testing.T, v6 bool, proto uint8, server bool) {
	s := newStage(t, policy.Discover)
	near, far, dir := uint16(40000), uint16(6379), packet.Egress
	s.end.Sockets = complete()
	if server {
		near, far, dir = far, near, packet.Ingress
		s.end.Sockets = complete(role.Port{Proto: proto, Port: near})
	}
	s.publish()
	s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
	x := tupleOf(v6, proto, near, far)
	s.held(x)
	s.pass(2*time.Second, 100*time.Millisecond)
	if len(s.all) != 1 {
		t.Fatalf("records %+v, want one", s.all)
	}
	first := s.all[0]
	// Whether a UDP socket was ever answered is not known.
	outcome := map[uint8]flow.Outcome{packet.ProtoTCP: flow.OutcomeEstablished, packet.ProtoUDP: flow.OutcomeOpening}[proto]
	if first.Kind != flow.Start || first.Evidence != flow.EvidenceSocket || first.Dir != dir || first.ServerPort != 6379 || first.Outcome != outcome ||
		first.Verdict != flow.Learn || first.Packets != [2]uint64{} || !first.Midstream || first.Answered != (proto == packet.ProtoTCP) {
		t.Fatalf("record %+v: want an open connection to port 6379, by its socket", first)
	}
	for range 5 { // hours
		s.held(x)
		s.pass(time.Hour, time.Minute)
	}
	if n := len(s.all); n != 1 {
		t.Fatalf("%d records of a silent connection, want one: %+v", n, s.all[1:])
	}
	client := 0
	if server {
		client = 1
	}
	var frames []packet.Frame
	if proto == packet.ProtoTCP {
		c := newConn(v6, near, far)
		frames = []packet.Frame{c.seg(t, client, "A", "some bytes"), c.seg(t, 1-client, "A", "an answer")}
	} else {
		frames = []packet.Frame{udp(t, v6, 0, near, far, "some bytes"), udp(t, v6, 1, far, near, "an answer")}
		if server {
			frames[0], frames[1] = frames[1], frames[0]
		}
	}
	s.want("packets", s.give(frames...), pass, pass)
	s.pass(3*time.Second, 100*time.Millisecond)
	s.held() // the socket is closed
	s.pass(3*time.Hour, time.Minute)
	var sum [2]uint64
	for _, f := range s.all {
		if f.Session != first.Session {
			t.Errorf("a second session: %+v", f)
		}
		sum[0], sum[1] = sum[0]+f.Packets[0], sum[1]+f.Packets[1]
	}
	if last := s.all[len(s.all)-1]; sum != [2]uint64{1, 1} || last.Kind != flow.End || last.Outcome != flow.OutcomeClosed || !last.Answered {
		t.Errorf("last record %+v, packets %v: want it answered and ended, one packet each way", last, sum)
	}
}

// TestHeldSilentlyClosed: a connection that never carried anything ends when its socket does.
func TestHeldSilentlyClosed(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
		s.held(tupleOf(v6, 6, 40000, 6379))
		s.pass(2*time.Second, 100*time.Millisecond)
		s.held()
		if last := s.all[len(s.all)-1]; len(s.all) != 2 || last.Kind != flow.End || last.Outcome != flow.OutcomeClosed {
			t.Errorf("records %+v, want a beginning and an end", s.all)
		}
		if n := s.p.Sessions().Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// TestHeldAndBegun: a connection whose beginning is seen after its socket was read is one with
// a handshake.
func TestHeldAndBegun(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
		s.held(tupleOf(v6, 6, 40000, 8080))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.held(tupleOf(v6, 6, 40000, 8080))
		s.pass(2*time.Second, 100*time.Millisecond)
		if len(s.all) != 1 || s.all[0].Evidence != flow.EvidenceHandshake || s.all[0].Midstream {
			t.Errorf("records %+v, want one connection by its handshake", s.all)
		}
	})
}

// TestOpenRefused: what is open and silent when policy comes to refuse it is refused at once,
// and both its ends are reset with numbers that they accept.
func TestOpenRefused(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, known := range []bool{false, true} { // its packets were seen before
			s := newStage(t, policy.Protect)
			s.end.Sockets = complete()
			s.publish()
			s.policy(1, protect(), allow(7, 6, 8080))
			c := newConn(v6, 40000, 8080)
			if known {
				s.give(open(t, c)...)
			} else {
				s.held(tupleOf(v6, 6, 40000, 8080))
			}
			s.pass(time.Hour, time.Minute)
			s.policy(2, protect())
			s.give()
			if last := s.all[len(s.all)-1]; last.Verdict != flow.Deny || last.Outcome != flow.OutcomeDenied || last.Policy != 2 || !last.Enforced {
				t.Fatalf("known %v: last record %+v, want it denied by policy 2", known, last)
			}
			if p := s.probe(); known && p.Seq != c.seq[1]-1 {
				t.Errorf("probe at %d, want one below %d", p.Seq, c.seq[1])
			}
			s.want("the answer to the probe", s.give(c.seg(t, 0, "A", "")), drop)
			if got := s.resets(); len(got) != 2 || got[packet.Ingress] != c.seq[1] || got[packet.Egress] != c.seq[0] {
				t.Errorf("known %v: resets at %v, want %d to the workload and %d to its peer", known, got, c.seq[1], c.seq[0])
			}
			s.want("later", s.give(c.seg(t, 1, "A", "more")), drop)
			s.pass(10*time.Second, 100*time.Millisecond)
			if len(s.q.sent) > 0 {
				t.Errorf("known %v: %d more frames sent", known, len(s.q.sent))
			}
			s.counted(counter.OpenRefused, 1)
		}
	})
}

// TestProbeIsRepeated: a probe may be lost; later ones are at other numbers. An end that knows
// nothing of the connection answers with a reset, of which the peer gets to know.
func TestProbeIsRepeated(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect())
		s.held(tupleOf(v6, 6, 40000, 8080))
		first := s.probe()
		s.pass(time.Second+100*time.Millisecond, 100*time.Millisecond)
		if second := s.probe(); second.Seq-first.Seq < 1<<30 || first.Seq-second.Seq < 1<<30 {
			t.Errorf("probes at %d and %d: both may be within one window", first.Seq, second.Seq)
		}
		s.pass(time.Minute, 100*time.Millisecond)
		if n := len(s.q.sent); n < 1 || n > 4 {
			t.Errorf("%d more probes", n)
		}
		s.q.sent = nil
		s.held()

		s.held(tupleOf(v6, 6, 40001, 8080))
		s.probe()
		c := newConn(v6, 40001, 8080)
		s.want("a reset", s.give(c.seg(t, 0, "R", "hidden")), drop)
		if got := s.resets(); len(got) != 1 || got[packet.Egress] != 1000 {
			t.Errorf("resets at %v, want one to the peer", got)
		}
	})
}

// TestSilentRefusal: a group that answers nothing to what it refuses sends no probes either.
func TestSilentRefusal(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, policy.WorkloadSpec{Mode: policy.Protect, OnDeny: policy.Silent})
	s.held(tupleOf(false, 6, 40000, 8080))
	if len(s.q.sent) > 0 {
		t.Errorf("%d frames sent", len(s.q.sent))
	}
	if len(s.all) == 0 || s.all[0].Outcome != flow.OutcomeDenied {
		t.Errorf("records %+v, want it denied", s.all)
	}
}

// TestDatagramsAtSwitch: an open UDP socket is refused at once, and a conversation that is
// continuing; one that may long be over violates nothing until it continues.
func TestDatagramsAtSwitch(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 514), allow(8, 17, 53), allow(9, 17, 123))
		s.held(tupleOf(v6, 17, 40000, 514))
		s.give(udp(t, v6, 0, 40001, 53, "x"), udp(t, v6, 1, 53, 40001, "x"))
		s.pass(time.Minute, time.Second)
		s.give(udp(t, v6, 0, 40002, 123, "x"))
		s.pass(2*time.Second, time.Second)
		s.all = nil
		s.policy(2, protect())
		s.give()
		denied := map[uint16]bool{}
		for _, f := range s.all {
			if f.Verdict == flow.Deny && f.Outcome == flow.OutcomeDenied {
				denied[f.ServerPort] = true
			}
		}
		if len(denied) != 2 || !denied[514] || !denied[123] {
			t.Errorf("denied %v, want 514 and 123", denied)
		}
		s.want("its next datagram", s.give(udp(t, v6, 0, 40001, 53, "x")), drop)
	})
}

// TestKeepOpen: with that setting, what was open when enforcement began continues, and is a
// violation. What begins later is refused, and so is everything of a quarantined workload.
func TestKeepOpen(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect, func(c *path.Config, _ *stage) { c.KeepOpen = true })
		s.policy(1, protect())
		s.held(tupleOf(v6, 6, 40000, 8080))
		c := newConn(v6, 40000, 8080)
		s.want("it continues", s.give(c.seg(t, 0, "A", "x"), c.seg(t, 1, "A", "x")), pass, pass)
		s.pass(2*time.Second, 100*time.Millisecond)
		if last := s.all[len(s.all)-1]; last.Verdict != flow.Violate || !last.Enforced {
			t.Errorf("last record %+v, want a violation", last)
		}
		s.want("a new one", s.give(newConn(v6, 40001, 8080).seg(t, 0, "S", "")), drop)
		s.policy(2, policy.WorkloadSpec{Mode: policy.Protect, Quarantined: true})
		s.want("quarantined", s.give(c.seg(t, 0, "A", "x")), drop)
	})
}
