package path_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/session"
)

// TestHeldInTheQueue has a queue that keeps held frames itself: they are sent there, or
// discarded.
func TestHeldInTheQueue(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		h := &holder{}
		s := newStage(t, policy.Protect, func(c *path.Config, s *stage) { c.Queue = h; s.q = &h.queue })
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		c, bad := newConn(v6, 40000, 8080), newConn(v6, 40001, 8080)
		s.give(append(open(t, c), open(t, bad)...)...)
		s.want("the beginning of a request", s.give(c.seg(t, 0, "A", request[:5])), held)
		s.want("its end", s.give(c.seg(t, 0, "A", request[5:])), pass)
		if len(h.sent) != 1 || h.discarded != 1 {
			t.Errorf("%d frames let go, %d given up, want 1 and 1", len(h.sent), h.discarded)
		}
		s.want("another application", s.give(bad.seg(t, 0, "A", "*1\r\n")), drop)
		s.counted(counter.HeldFrames, 1)
	})
}

// TestHoldTimes by the clock: the hold time of the group, where it passes and where it denies,
// and by default.
func TestHoldTimes(t *testing.T) {
	for _, tt := range []struct {
		name string
		w    policy.WorkloadSpec
		more bool // more pieces arrive
		at   time.Duration
		want flow.Verdict
		sent int
	}{
		{"the hold time is over", policy.WorkloadSpec{Hold: 300 * time.Millisecond, HoldPass: true}, true, 320 * time.Millisecond, flow.Violate, 3},
		{"and denies", policy.WorkloadSpec{Hold: 300 * time.Millisecond}, true, 320 * time.Millisecond, flow.Deny, 2},
		{"silence is no reason", policy.WorkloadSpec{}, false, 3020 * time.Millisecond, flow.Deny, 2},
	} {
		s := newStage(t, policy.Protect)
		tt.w.Mode = policy.Protect
		s.policy(1, tt.w, allow(7, 6, 8080, app.HTTP))
		c := newConn(true, 40000, 8080)
		s.give(open(t, c)...)
		s.give(c.seg(t, 0, "A", "G"))
		if tt.more {
			s.now += 100e6
			s.give(c.seg(t, 0, "A", "E"))
			s.now += 100e6
			s.give(c.seg(t, 0, "A", "T"))
		}
		for s.now < begin+int64(tt.at) {
			if n := len(s.q.sent); n != 0 && s.now < begin+int64(tt.at-30*time.Millisecond) {
				t.Errorf("%s: %d frames after %v", tt.name, n, time.Duration(s.now-begin))
			}
			at := s.p.Alarm()
			if at == 0 {
				break
			}
			s.now = max(at, s.now+1) + session.Tick
			s.give()
		}
		s.pass(time.Second, 50*time.Millisecond)
		if len(s.q.sent) != tt.sent {
			t.Errorf("%s: %d frames sent, want %d", tt.name, len(s.q.sent), tt.sent)
		}
		last := s.all[len(s.all)-1]
		if last.Verdict != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, last.Verdict, tt.want)
		}
		if s.p.Alarm() != 0 {
			t.Errorf("%s: an alarm while nothing is held", tt.name)
		}
	}
}

// fragment cuts an IPv4 frame into fragments of n bytes.
func fragment(f packet.Frame, n int) (out []packet.Frame) {
	head, rest := f.Data[:34], f.Data[34:]
	for at := 0; at < len(rest); at += n {
		end := min(at+n, len(rest))
		d := append(append([]byte{}, head...), rest[at:end]...)
		ip := d[14:34]
		binary.BigEndian.PutUint16(ip[2:], uint16(20+end-at))
		binary.BigEndian.PutUint16(ip[4:], 77)
		flags := uint16(at / 8)
		if end < len(rest) {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(ip[6:], flags)
		ip[10], ip[11] = 0, 0
		sum := uint32(0)
		for i := 0; i < 20; i += 2 {
			sum += uint32(ip[i])<<8 | uint32(ip[i+1])
		}
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum+sum>>16))
		g := f
		g.Data, g.Wire = d, uint32(len(d))
		out = append(out, g)
	}
	return out
}

// TestFragments checks that datagrams are judged whole: allowed ones are forwarded as their
// fragments, denied ones dropped, overlapping ones are bad and reported.
func TestFragments(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 17, 5000))
	text := string(make([]byte, 3000))
	good, bad := fragment(udp(t, false, 0, 40000, 5000, text), 1480), fragment(udp(t, false, 0, 40001, 5001, text), 1480)
	s.want("allowed", s.give(good...), drop, drop, pass)
	if len(s.q.sent) != 2 || string(s.q.sent[0].Data) != string(good[0].Data) {
		t.Errorf("%d fragments were sent, want the first two as they were", len(s.q.sent))
	}
	s.q.sent = nil
	for i := range bad {
		binary.BigEndian.PutUint16(bad[i].Data[18:], 99)
		bad[i].Data[24], bad[i].Data[25] = 0, 0
		sum := uint32(0)
		for j := 14; j < 34; j += 2 {
			sum += uint32(bad[i].Data[j])<<8 | uint32(bad[i].Data[j+1])
		}
		binary.BigEndian.PutUint16(bad[i].Data[24:], ^uint16(sum+sum>>16))
	}
	s.want("denied", s.give(bad...), drop, drop, drop)
	if len(s.q.sent) != 0 {
		t.Errorf("%d fragments of a denied datagram were sent", len(s.q.sent))
	}
	over := fragment(udp(t, false, 0, 40000, 5000, text), 1480)
	again := over[0]
	again.Data = append([]byte(nil), again.Data...)
	again.Data[60] ^= 0xff
	s.now += 60e9
	s.give(over[0], again)
	if x := s.threats(); len(x) == 0 {
		t.Error("overlapping fragments are no threat")
	}
	s.counted(counter.BadFragments, 1)
}

// TestOddFrames are counted, reported and dropped where they must be.
func TestOddFrames(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect())
	arp := packet.Frame{Data: append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)...), Endpoint: 1, Dir: packet.Egress}
	s.want("ARP", s.give(arp), pass)
	cut := udp(t, false, 0, 1, 2, "x")
	cut.Data = cut.Data[:14+10]
	s.want("a header that is cut", s.give(cut), drop)
	if x := s.threats(); len(x) != 1 || len(x[0].Frame) == 0 && x[0].Text == "" {
		t.Errorf("threats %+v, want the malformed frame", x)
	}
	stranger := udp(t, false, 0, 1, 2, "x")
	stranger.Endpoint = 9
	s.want("a stranger's", s.give(stranger), pass)
	s.counted(counter.NotIP, 1)
	s.counted(counter.Malformed, 1)
	s.counted(counter.UnknownEndpoint, 1)
	s.p.Sessions().Publish()
	m := map[string]uint64{}
	s.p.Sessions().Report().AddCounters(m)
	if m["engine.frames"] != 3 {
		t.Errorf("%d frames are shown, want 3", m["engine.frames"])
	}
}

// TestFullTable has no room for a session: the endpoint's fail mode applies, and policy
// denies nothing.
func TestFullTable(t *testing.T) {
	for _, fail := range []packet.Action{pass, drop} {
		s := newStage(t, policy.Protect, func(c *path.Config, s *stage) { c.Session = session.Config{Max: 2}; s.end.Fail = fail })
		s.policy(1, protect(), allow(7, 6, 8080))
		for i := range uint16(2) {
			s.give(open(t, newConn(true, 40000+i, 8080))...)
		}
		s.want("no room", s.give(newConn(true, 40009, 22).seg(t, 0, "S", "")), fail)
		s.counted(counter.TableFull, 1)
		// A closed session makes room.
		first := &conn{v6: true, cport: 40000, sport: 8080, seq: [2]uint32{1001, 90001}}
		s.give(first.seg(t, 0, "RA", ""))
		s.want("room again", s.give(newConn(true, 40010, 8080).seg(t, 0, "S", "")), pass)
	}
}
