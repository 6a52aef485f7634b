package path_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/sidecar"
	"github.com/sluicenet/sluice/parsers"
)

// TestRoles checks each kind of evidence: a SYN, listening sockets, ports; and an answer
// whose question was missed.
func TestRoles(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		data := func(end int, from, to uint16) packet.Frame {
			return frame(t, v6, end, layers.IPProtocolTCP, &layers.TCP{SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), Seq: 5, Ack: 9, ACK: true, Window: 1000}, "data")
		}
		for _, tt := range []struct {
			name   string
			f      packet.Frame
			server uint16
			dir    packet.Direction
			by     flow.Evidence
		}{
			{"a SYN", newConn(v6, 40000, 50000).seg(t, 0, "S", ""), 50000, packet.Egress, flow.EvidenceHandshake},
			{"a SYN+ACK", newConn(v6, 40001, 50001).seg(t, 1, "SA", ""), 50001, packet.Egress, flow.EvidenceHandshake},
			{"to a listening socket", data(1, 33000, 50051), 50051, packet.Ingress, flow.EvidenceListener},
			{"from a listening socket", data(0, 50051, 33001), 50051, packet.Ingress, flow.EvidenceListener},
			{"to a well-known port", data(0, 40002, 443), 443, packet.Egress, flow.EvidencePort},
			{"from a well-known port", data(1, 444, 40003), 444, packet.Egress, flow.EvidencePort},
			{"from a client's port", data(0, 40004, 5432), 5432, packet.Egress, flow.EvidencePort},
			{"the lower port", data(0, 2000, 1999), 1999, packet.Egress, flow.EvidencePort},
			{"a question", udp(t, v6, 0, 40005, 7000, "x"), 7000, packet.Egress, flow.EvidenceHandshake},
			{"an answer from a well-known port", udp(t, v6, 1, 53, 40006, "x"), 53, packet.Egress, flow.EvidencePort},
		} {
			s := newStage(t, policy.Discover, func(_ *path.Config, s *stage) {
				s.end.Sockets = &role.Sockets{Listening: map[role.Port]bool{{Proto: 6, Port: 50051}: true}}
			})
			s.policy(1, policy.WorkloadSpec{})
			s.give(tt.f)
			s.p.Sessions().End(1)
			s.give()
			if len(s.all) == 0 && tt.f.Data != nil {
				t.Errorf("%s: nothing is reported", tt.name)
				continue
			}
			if r := s.all[0]; r.ServerPort != tt.server || r.Dir != tt.dir || r.Evidence != tt.by {
				t.Errorf("%s: server %d, %v, by %v; want %d, %v, %v", tt.name, r.ServerPort, r.Dir, r.Evidence, tt.server, tt.dir, tt.by)
			}
		}
	})
}

// TestPing follows ICMP echo both ways.
func TestPing(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		s.policy(1, policy.WorkloadSpec{})
		echo := func(end int, reply bool) packet.Frame {
			if v6 {
				typ := uint8(128)
				if reply {
					typ = 129
				}
				return frame(t, v6, end, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, "\x00\x07\x00\x01ping")
			}
			typ := uint8(8)
			if reply {
				typ = 0
			}
			return frame(t, v6, end, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0), Id: 7, Seq: 1}, "ping")
		}
		s.give(echo(0, false), echo(1, true))
		s.pass(20*time.Second, time.Second)
		last := s.all[len(s.all)-1]
		if last.Kind != flow.End || !last.Answered || last.Outcome != flow.OutcomeClosed || last.ServerPort != 0 || app.ID(last.App) != app.Unknown || last.Dir != packet.Egress {
			t.Errorf("got %+v", last)
		}
	})
}

// TestICMPErrors checks that errors follow their session.
func TestICMPErrors(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 17, 5000))
	good, bad := udp(t, false, 0, 40000, 5000, "question"), udp(t, false, 0, 40000, 5001, "question")
	s.want("questions", s.give(good, bad), pass, drop)
	about := func(f packet.Frame, code uint8) packet.Frame {
		return frame(t, false, 1, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, code)}, string(f.Data[14:]))
	}
	s.want("errors", s.give(about(good, 4), about(bad, 3), about(udp(t, false, 0, 1, 2, "never sent"), 3)), pass, drop, drop)
	s.give(about(good, 3))
	s.pass(time.Minute, time.Second)
	var last flow.Record
	for _, f := range s.all {
		if f.ServerPort == 5000 {
			last = f
		}
	}
	if last.Outcome != flow.OutcomeRefused || last.Verdict != flow.Allow {
		t.Errorf("%v, %v: want it allowed, and refused by the peer", last.Verdict, last.Outcome)
	}
	s.counted(counter.ICMPErrors, 3)
}

// TestRejects checks that rejections are bounded per second.
func TestRejects(t *testing.T) {
	s := newStage(t, policy.Protect)
	w := protect()
	w.OnDeny = policy.Reject
	s.policy(1, w)
	for i := range uint16(1200) {
		s.give(udp(t, true, 0, 2000+i, 5001, "x"))
	}
	if n := len(s.q.sent); n != 1000 {
		t.Errorf("%d ICMP errors in a second, want 1000", n)
	}
	s.now += 1e9
	s.give(udp(t, true, 0, 2000, 5001, "x"))
	s.counted(counter.Unreachables, 1001)
}

// elsewhere is a detect.Remote whose decisions the test triggers.
type elsewhere struct {
	owner  uint32
	say    *detect.News
	ended  int
	closed int
}

func (e *elsewhere) Remote(func()) detect.Remote                   { return e }
func (e *elsewhere) Open(_ *parsers.Meta, o uint32) (uint64, bool) { e.owner = o; return 1, false }
func (*elsewhere) Data(uint64, parsers.Dir, []byte)                {}
func (*elsewhere) Gap(uint64, parsers.Dir, int)                    {}
func (e *elsewhere) End(uint64)                                    { e.ended++ }
func (e *elsewhere) Close(uint64)                                  { e.closed++ }
func (*elsewhere) Flush()                                          {}
func (*elsewhere) Wait(time.Duration)                              {}
func (*elsewhere) Export(uint64) any                               { return nil }
func (*elsewhere) Adopt(any, uint32) uint64                        { return 0 }
func (*elsewhere) Stop()                                           {}
func (e *elsewhere) Poll(to detect.Answers) {
	if e.say != nil {
		n := *e.say
		e.say = nil
		to.News(e.owner, n)
	}
}

func far(e *elsewhere) option {
	return func(c *path.Config, _ *stage) { c.Identify = identify.Config{Parsers: &parsers.Registry{}, Remote: e} }
}

// TestAnswersFromElsewhere releases held packets by remote answers, in part or all, or denies
// them.
func TestAnswersFromElsewhere(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		e := &elsewhere{}
		s := newStage(t, policy.Protect, far(e))
		w := protect()
		w.Hold = time.Minute
		s.policy(1, w, allow(7, 6, 8080, app.HTTP2, app.GRPC))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.want("held", s.give(c.seg(t, 0, "A", "preface"), c.seg(t, 0, "A", "request")), drop, drop)
		e.say = &detect.News{Outcome: detect.Preamble, Seen: 1}
		s.give()
		if len(s.q.sent) != 1 {
			t.Fatalf("%d packets were let go, want the one that the answer knows of", len(s.q.sent))
		}
		left := detect.Left{Known: true}
		left.Add(app.Redis)
		e.say = &detect.News{Left: left}
		s.give()
		if e.ended != 1 {
			t.Error("packets that can only be denied are held")
		}
		e.say = &detect.News{Outcome: detect.Decided, App: app.Redis, Base: app.Redis, Ended: true}
		s.give()
		if n := len(s.q.sent); n != 3 {
			t.Errorf("%d frames sent, want two resets more", n)
		}
		if last := s.all[len(s.all)-1]; last.Verdict != flow.Deny || last.Outcome != flow.OutcomeDenied || app.ID(last.App) != app.Redis {
			t.Errorf("reported as %+v", last)
		}
	})
}

// TestLostElsewhere ends sessions that wait for an answer that never arrives: the fail mode
// applies.
func TestLostElsewhere(t *testing.T) {
	e := &elsewhere{}
	s := newStage(t, policy.Protect, far(e))
	s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
	c := newConn(true, 40000, 8080)
	s.give(append(open(t, c), c.seg(t, 0, "A", "bytes"))...)
	s.give(c.seg(t, 0, "FA", ""), c.seg(t, 1, "FA", ""), c.seg(t, 0, "A", ""))
	s.pass(3*time.Second, 20*time.Millisecond)
	last := s.all[len(s.all)-1]
	if last.Kind != flow.End || app.ID(last.App) != app.Unknown || last.Reason != flow.ByUnidentified || last.Verdict != flow.Allow {
		t.Errorf("got %+v, want it unknown and allowed by its fail mode", last)
	}
	s.counted(counter.Unanswered, 1)
	// All at once: waiting sessions are ended, answered or not.
	d := newConn(true, 40001, 8080)
	s.give(append(open(t, d), d.seg(t, 0, "A", "bytes"))...)
	s.p.Sessions().Close()
	if got := s.shared.Tallies.List(); len(got) != 1 || got[0].Sessions != 0 || got[0].Opened != 2 {
		t.Errorf("counted %+v, want what the path counted, with no session left", got)
	}
}

// TestMoves moves sessions to another path: one with a name, one half identified, one whose
// packets are held.
func TestMoves(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		from := newStage(t, policy.Protect)
		from.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		named, half := newConn(v6, 40000, 8080), newConn(v6, 40001, 8080)
		from.give(append(open(t, named), named.seg(t, 0, "A", request))...)
		from.give(append(open(t, half), half.seg(t, 0, "A", request[:7]))...)
		if !from.p.Holding(1) {
			t.Error("nothing is held")
		}
		to := newStage(t, policy.Protect)
		to.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		to.p.Gate().Shadow(1, true)
		to.want("beside", to.give(named.seg(t, 1, "A", "answer")), pass)
		kept := to.p.Adopt(1, from.p.Export(1))
		to.p.Replay(kept, begin)
		if len(from.q.sent) != 1 || from.p.Holding(1) {
			t.Errorf("%d held packets were passed, want one", len(from.q.sent))
		}
		from.want("afterwards at the old one", from.give(named.seg(t, 0, "A", "x")), pass)
		from.p.Gate().Expect(1, packet.Egress, begin+1e9)
		from.want("late ones", from.give(newConn(v6, 40002, 22).seg(t, 0, "S", ""), newConn(v6, 40003, 8080).seg(t, 0, "S", "")), drop, pass)
		to.want("the rest of a request", to.give(half.seg(t, 0, "A", request[7:])), pass)
		to.p.Gate().Skim(1, packet.Egress)
		to.want("judged before", to.give(newConn(v6, 40004, 22).seg(t, 0, "S", "")), pass)
		to.p.Gate().EndSkim(1)
		to.p.Sessions().End(1)
		to.give()
		apps := map[uint16]app.ID{}
		var packets uint64
		for _, f := range to.all {
			apps[f.ClientPort] = app.ID(f.App)
			packets += f.Packets[0] + f.Packets[1]
		}
		if len(apps) != 2 || apps[40000] != app.HTTP || apps[40001] != app.HTTP {
			t.Errorf("reported %v", apps)
		}
		if got := to.shared.Tallies.List(); len(got) != 1 || got[0].Sessions != 0 {
			t.Errorf("counted %+v", got)
		}
	})
}

// TestDropHeld checks that nothing is passed unjudged.
func TestDropHeld(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
	c := newConn(false, 40000, 8080)
	s.give(append(open(t, c), c.seg(t, 0, "A", "G"))...)
	s.p.Sessions().DropHeld(1)
	if s.p.Holding(1) || len(s.q.sent) != 0 {
		t.Errorf("holding %v, %d sent", s.p.Holding(1), len(s.q.sent))
	}
	s.counted(counter.HeldAtSwitch, 1)
}

// TestRedirects looks up the original destination of sessions on lo.
func TestRedirects(t *testing.T) {
	for _, known := range []bool{true, false} {
		for _, fail := range []packet.Action{pass, drop} {
			o := &origin{known: known}
			s := newStage(t, policy.Protect, func(c *path.Config, s *stage) {
				c.Queue, s.q = o, &o.queue
				s.end.Loopback, s.end.Fail, s.end.Mesh = true, fail, sidecar.NewMesh()
			})
			s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
			c := newConn(false, 40000, 15001)
			frames := append(open(t, c), c.seg(t, 0, "A", request))
			for i := range frames { // to the sidecar, at 127.0.0.1
				at := 30
				if frames[i].Dir == packet.Ingress {
					at = 26
				}
				copy(frames[i].Data[at:], []byte{127, 0, 0, 1})
				frames[i].Flags |= packet.PartialChecksum
				ip := frames[i].Data[14:34]
				ip[10], ip[11] = 0, 0
				sum := uint32(0)
				for j := 0; j < 20; j += 2 {
					sum += uint32(ip[j])<<8 | uint32(ip[j+1])
				}
				binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
				src, dst := packet.Addr{10: 0xff, 11: 0xff}, packet.Addr{10: 0xff, 11: 0xff}
				copy(src[12:], ip[12:16])
				copy(dst[12:], ip[16:20])
				seed := packet.PseudoSum(&src, &dst, packet.ProtoTCP, int(binary.BigEndian.Uint16(ip[2:]))-20) // what an offload starts with
				seed = seed>>16 + seed&0xffff
				binary.BigEndian.PutUint16(frames[i].Data[50:], uint16(seed+seed>>16))
			}
			got := s.give(frames...)
			want := pass
			if !known {
				want = fail
			}
			if got[3] != want {
				t.Errorf("known %v, fail mode %v: %v, want %v", known, fail, got, want)
			}
			s.p.Sessions().End(1)
			s.give()
			if last := s.all[len(s.all)-1]; known && (last.ServerPort != 8080 || last.Rule != 7 || !last.Loopback) {
				t.Errorf("reported as %+v, want its real destination", last)
			}
		}
	}
}

// TestSweep judges idle sessions by a new policy, and closed ones by none.
func TestSweep(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 6, 8080))
	open8080, over := newConn(true, 40000, 8080), newConn(true, 40001, 8080)
	s.give(append(open(t, open8080), open(t, over)...)...)
	s.give(over.seg(t, 0, "RA", ""))
	s.pass(300*time.Millisecond, 50*time.Millisecond)
	s.all = nil
	s.policy(2, protect())
	s.give()
	for _, f := range s.all {
		if f.ClientPort == 40001 && f.Verdict == flow.Deny {
			t.Errorf("a closed session was denied: %+v", f)
		}
	}
	if len(s.all) != 1 || s.all[0].Verdict != flow.Deny || s.all[0].Outcome != flow.OutcomeDenied || s.all[0].Policy != 2 {
		t.Fatalf("got %+v, want the open one denied", s.all)
	}
	s.want("its next packet", s.give(open8080.seg(t, 0, "A", "x")), drop)
	if last := s.all[len(s.all)-1]; last.Outcome != flow.OutcomeDenied {
		t.Errorf("after it was refused: %v", last.Outcome)
	}
}

// TestUnready has no policy yet.
func TestUnready(t *testing.T) {
	s := newStage(t, policy.Protect)
	c := newConn(true, 40000, 8080)
	s.give(append(open(t, c), c.seg(t, 0, "A", request))...)
	s.p.Sessions().End(1)
	s.give()
	if last := s.all[len(s.all)-1]; last.Verdict != flow.Open || last.Reason != flow.ByUnready {
		t.Errorf("%v by %v", last.Verdict, last.Reason)
	}
	s.give(c.seg(t, 0, "RA", ""))
	s.counted(counter.Sessionless, 1)
}

// TestOverlapAndGap has overlaps and gaps in a stream being identified.
func TestOverlapAndGap(t *testing.T) {
	s := newStage(t, policy.Discover)
	s.policy(1, policy.WorkloadSpec{})
	c := newConn(true, 40000, 8080)
	s.give(open(t, c)...)
	before := c.seq
	s.give(c.seg(t, 0, "A", "GE"))
	c.seq = before
	s.give(c.seg(t, 0, "A", "PO"))
	if x := s.threats(); len(x) != 1 || x[0].Session == 0 {
		t.Errorf("%d threats, want the overlap, of its session", len(x))
	}
	c.seq[0] += 100 // missed by the tap
	s.give(c.seg(t, 1, "A", ""), c.seg(t, 0, "A", "more"))
	s.p.Sessions().End(1)
	s.give()
	if last := s.all[len(s.all)-1]; app.ID(last.App) != app.Unknown {
		t.Errorf("what was lost in part is %v", app.ID(last.App))
	}
}

var (
	_ backend.Holder = (*holder)(nil)
	_ backend.Origin = (*origin)(nil)
)
