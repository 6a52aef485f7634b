package path_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/threat"
)

const evil = "*1\r\n$4\r\nEVIL\r\n"

// again is a segment of the client at the number of the request, although that was sent.
func (c *conn) again(t *testing.T, flags, payload string) packet.Frame {
	before := c.seq[0]
	c.seq[0] -= uint32(len(request))
	f := c.seg(t, 0, flags, payload)
	c.seq[0] = before
	return f
}

// spoil makes the transport checksum of a frame wrong.
func spoil(f packet.Frame) packet.Frame {
	at := 34 + 16
	if f.Data[12] == 0x86 {
		at = 54 + 16
	}
	f.Data[at] ^= 0x55
	return f
}

// TestOtherBytesAfterwards has a request that is allowed and passes, but which its server never
// acknowledges: with a small hop limit, for instance, it does not get there. Other bytes in its
// place do not pass, however they are cut; the same bytes do, and so does what follows. After
// the ACK the place is the receiver's.
func TestOtherBytesAfterwards(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.want("a request", s.give(c.seg(t, 0, "A", request)), pass)
		s.want("other bytes", s.give(c.again(t, "A", evil)), drop)
		s.want("more of them", s.give(c.again(t, "A", evil+strings.Repeat("x", 200))), drop)
		s.want("one of them", s.give(c.again(t, "A", evil[:1])), drop)
		s.want("its first bytes", s.give(c.again(t, "A", request[:7])), pass)
		s.want("all of it", s.give(c.again(t, "A", request)), pass)
		s.want("it and more", s.give(c.again(t, "A", request+"more")), pass)
		s.want("what follows", s.give(c.seg(t, 0, "A", "follows")), pass)
		s.want("its ACK", s.give(c.seg(t, 1, "A", "")), pass)
		s.want("old bytes that its receiver has", s.give(c.again(t, "A", strings.Repeat("y", len(request)))), pass)
		found := false
		for _, x := range s.threats() {
			found = found || x.ID == threat.Overlap
		}
		if !found {
			t.Error("no threat was reported")
		}
	})
}

// TestBadChecksums: in no state does a packet with a bad checksum change a session, and inline it
// does not pass.
func TestBadChecksums(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, mode := range []policy.Mode{policy.Protect, policy.Discover} {
			s := newStage(t, mode)
			s.policy(1, policy.WorkloadSpec{Mode: mode}, allow(7, 6, 8080, app.HTTP))
			stopped := drop
			if mode == policy.Discover {
				stopped = pass
			}
			c := newConn(v6, 40000, 8080)
			s.want("a SYN", s.give(spoil(newConn(v6, 40001, 8080).seg(t, 0, "S", ""))), stopped)
			s.counted(counter.Opened, 0)
			s.give(open(t, c)...)
			for _, flags := range []string{"A", "FA", "R", "RA"} {
				before := c.seq[0]
				s.want(flags, s.give(spoil(c.seg(t, 0, flags, request))), stopped)
				c.seq[0] = before
			}
			s.counted(counter.BadChecksums, 5)
			s.counted(counter.Identified, 0)
			if got := s.threats(); len(got) != 1 || got[0].ID != threat.BadChecksum {
				t.Errorf("%v: threats %v, want one of a bad checksum", mode, got)
			}
			want := drop
			if mode == policy.Discover {
				want = pass
			}
			s.want("another application", s.give(c.seg(t, 0, "A", evil)), want)
			s.pass(time.Second, 50*time.Millisecond)
			if last := s.all[len(s.all)-1]; app.ID(last.App) != app.Redis || last.Phase != flow.PhaseEstablished {
				t.Errorf("%v: %v, %v; want redis, established", mode, app.ID(last.App), last.Phase)
			}
		}
	})
}

// TestSumsOfOthers: checksums that an offload fills in, that an interface has verified, and that
// UDP may omit are right.
func TestSumsOfOthers(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP), policy.RuleSpec{ID: 8, From: 1, To: 2, Ports: []policy.PortSpec{{Proto: 17, Lo: 1, Hi: 65535}}})
		verified := spoil(newConn(v6, 40000, 8080).seg(t, 0, "S", ""))
		verified.Flags |= packet.ChecksumValid
		s.want("verified by the interface", s.give(verified), pass)
		whole := spoil(newConn(v6, 40001, 8080).seg(t, 0, "S", ""))
		whole.Flags |= packet.PartialChecksum | packet.GSO
		s.want("segmented later", s.give(whole), pass)
		wrong := newConn(v6, 40002, 8080).seg(t, 0, "S", "")
		wrong.Flags |= packet.PartialChecksum
		s.want("an offload that would complete it wrongly", s.give(wrong), drop)

		at, want := 34+6, pass
		if v6 {
			at, want = 54+6, drop // RFC 8200 8.1
		}
		for _, port := range []uint16{5300, 4789} {
			f := udp(t, v6, 0, 40000, port, "payload")
			binary.BigEndian.PutUint16(f.Data[at:], 0)
			if port == 4789 {
				want = pass // RFC 6935
			}
			s.want("a datagram without checksum", s.give(f), want)
		}
	})
}

// TestAfterReset: a connection that was reset is over: nothing that its sender sends afterwards
// is delivered, and it gets a reset. A reset that may not be accepted is repeated with the number
// that the receiver has acknowledged.
func TestAfterReset(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		s.give(c.seg(t, 0, "A", request)) // never acknowledged
		at := c.seq[0] - uint32(len(request))
		s.want("a reset behind it", s.give(c.seg(t, 0, "R", "")), pass)
		if len(s.q.sent) != 2 {
			t.Fatalf("%d frames sent, want the reset at both numbers", len(s.q.sent))
		}
		for i, seq := range []uint32{at, c.seq[0]} {
			var p packet.Packet
			if p.Decode(&s.q.sent[i]); p.Flags&packet.RST == 0 || p.Seq != seq || s.q.sent[i].Dir != packet.Egress {
				t.Errorf("sent flags %#x, number %d, want a reset at %d to the server", p.Flags, p.Seq, seq)
			}
		}
		s.want("what its sender sends then", s.give(c.seg(t, 0, "A", evil)), drop)
		if n := len(s.q.sent); n != 3 || s.q.sent[2].Dir != packet.Ingress {
			t.Errorf("%d frames sent, want a reset to the sender", n)
		}
		s.want("a challenge of the other end", s.give(c.seg(t, 1, "A", "")), pass)
		if n := len(s.q.sent); n != 4 || s.q.sent[3].Dir != packet.Egress {
			t.Errorf("%d frames sent, want a reset to the server", n)
		}
		again := newConn(v6, 40000, 8080)
		again.seq = [2]uint32{5_000_000, 6_000_000}
		s.want("the same ports again", s.give(open(t, again)...), pass, pass, pass)
		s.want("and a request", s.give(again.seg(t, 0, "A", request)), pass)
	})
}

// TestLowResets: a reset that comes with a lower hop limit than the SYN may not get there; an
// ordinary one is not repeated.
func TestLowResets(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for hops, want := range map[uint8]int{64: 0, 255: 0, 63: 1, 1: 1} {
			s := newStage(t, policy.Protect)
			s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
			c := newConn(v6, 40000, 8080)
			s.give(open(t, c)...)
			f := c.seg(t, 0, "R", "")
			if v6 {
				f.Data[21] = hops
			} else {
				f.Data[22] = hops
				binary.BigEndian.PutUint16(f.Data[24:], 0)
				binary.BigEndian.PutUint16(f.Data[24:], packet.Checksum(f.Data[14:34], 0))
			}
			s.want("a reset", s.give(f), pass)
			if len(s.q.sent) != want {
				t.Errorf("hop limit %d: %d resets sent, want %d", hops, len(s.q.sent), want)
			}
		}
	})
}

// TestRefusedFastOpen has data in a SYN that is allowed, and which the server does not accept: what
// comes in its place must be the same.
func TestRefusedFastOpen(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		c := newConn(v6, 40000, 8080)
		s.want("a SYN with a request", s.give(c.seg(t, 0, "S", request)), pass)
		c.seq[0] -= uint32(len(request)) // the server acknowledges the SYN alone
		s.give(c.seg(t, 1, "SA", ""))
		before := c.seq[0]
		s.want("another application in its place", s.give(c.seg(t, 0, "A", evil)), drop)
		c.seq[0] = before
		s.want("the request once more", s.give(c.seg(t, 0, "A", request)), pass)
		s.want("its answer", s.give(c.seg(t, 1, "A", "HTTP/1.1 200 OK\r\n\r\n")), pass)
	})
}

// TestFutureACK: payload with an ACK of what its receiver never sent is not read and does not
// pass; the session continues with the next valid segment.
func TestFutureACK(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 8080, app.HTTP))
		c := newConn(v6, 40000, 8080)
		s.give(open(t, c)...)
		c.seq[1] += 5000
		f := c.seg(t, 0, "A", request)
		c.seq[0], c.seq[1] = c.seq[0]-uint32(len(request)), c.seq[1]-5000
		s.want("a request", s.give(f), drop)
		s.counted(counter.Discarded, 1)
		s.want("another application", s.give(c.seg(t, 0, "A", evil)), drop)
		if last := s.all[len(s.all)-1]; app.ID(last.App) != app.Redis {
			t.Errorf("%v, want redis", app.ID(last.App))
		}
	})
}

// TestForgedMidstream: one segment that no connection has gives it no application; a connection
// has that of its first bytes, as soon as its other end has sent something.
func TestForgedMidstream(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, mode := range []policy.Mode{policy.Protect, policy.Discover} {
			s := newStage(t, mode)
			s.policy(1, policy.WorkloadSpec{Mode: mode}, allow(7, 6, 8080, app.HTTP))
			forged := newConn(v6, 40000, 8080)
			s.give(forged.seg(t, 0, "A", request))
			s.give(forged.seg(t, 1, "R", ""))
			s.pass(time.Second, 50*time.Millisecond)
			s.p.Sessions().End(1)
			s.give()
			for _, f := range s.all {
				if app.ID(f.App) == app.HTTP {
					t.Errorf("%v: one segment made it %v", mode, app.ID(f.App))
				}
			}
			c := newConn(v6, 40001, 8080)
			s.give(c.seg(t, 0, "A", request))
			s.give(c.seg(t, 1, "A", ""))
			s.give(c.seg(t, 1, "A", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			s.pass(time.Second, 50*time.Millisecond)
			if last := s.all[len(s.all)-1]; app.ID(last.App) != app.HTTP || last.ClientPort != 40001 || last.Detail.Get("host") != "a.example" {
				t.Errorf("%v: %+v, want http with the host of its first request", mode, last)
			}
		}
	})
}

// TestForgedBeforeReal: a forged segment of other numbers does not hide the connection's bytes.
func TestForgedBeforeReal(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Discover)
		s.policy(1, policy.WorkloadSpec{Mode: policy.Discover})
		forged, c := newConn(v6, 40000, 8080), newConn(v6, 40000, 8080)
		forged.seq = [2]uint32{0x80000000, 0x90000000}
		s.give(forged.seg(t, 0, "A", request))
		s.give(c.seg(t, 0, "A", "")) // does not fit
		s.give(c.seg(t, 0, "A", evil), c.seg(t, 1, "A", "+OK\r\n"))
		s.give(c.seg(t, 0, "A", evil), c.seg(t, 1, "A", "+OK\r\n"))
		s.p.Sessions().End(1)
		s.give()
		if last := s.all[len(s.all)-1]; app.ID(last.App) != app.Redis {
			t.Errorf("%v, want redis", app.ID(last.App))
		}
	})
}
