package path_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/counter"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/threat"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// ftpOpen is the conversation before a command.
func ftpOpen(t *testing.T, s *stage, c *conn) {
	t.Helper()
	s.give(open(t, c)...)
	for _, x := range []struct {
		end  int
		text string
	}{{1, "220 FTP ready\r\n"}, {0, "USER a\r\n"}, {1, "331 password\r\n"}, {0, "PASS b\r\n"}, {1, "230 in\r\n"}} {
		s.want(x.text, s.give(c.seg(t, x.end, "A", x.text)), pass)
	}
}

// connect gives the handshake of another connection, opened by one end.
func connect(t *testing.T, s *stage, v6 bool, end int, from, to uint16) packet.Action {
	t.Helper()
	c := newConn(v6, from, to)
	if end == 1 { // the conn's end 0 is the client
		c.cport, c.sport = to, from
	}
	return s.give(c.seg(t, end, "S", ""))[0]
}

// TestFTPData: data connections belong to their control connection, active and passive; nothing else is
// opened by what is announced.
func TestFTPData(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 21, app.FTP))
		c := newConn(v6, 40000, 21)
		ftpOpen(t, s, c)
		passive, active := "229 Entering Extended Passive Mode (|||30001|)\r\n", "EPRT |1|10.0.0.1|45000|\r\n"
		if v6 {
			active = "EPRT |2|fd00::1|45000|\r\n"
		}
		if a := connect(t, s, v6, 0, 40001, 30001); a != drop {
			t.Errorf("before it was announced: %v", a)
		}
		s.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", passive))
		if a := connect(t, s, v6, 0, 40002, 30001); a != pass {
			t.Errorf("passive: %v", a)
		}
		if a := connect(t, s, v6, 0, 40003, 30001); a != drop {
			t.Errorf("a second one: %v", a)
		}
		if a := connect(t, s, v6, 1, 20, 45000); a != drop {
			t.Errorf("active before it was announced: %v", a)
		}
		s.give(c.seg(t, 0, "A", active))
		if a := connect(t, s, v6, 1, 20, 45001); a != drop {
			t.Errorf("another port: %v", a)
		}
		if a := connect(t, s, v6, 1, 20, 45000); a != pass {
			t.Errorf("active, refused before: %v", a)
		}
		s.give(c.seg(t, 0, "A", active))
		if a := connect(t, s, v6, 1, 21, 45000); a != pass {
			t.Errorf("active: %v", a)
		}
		s.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30002|)\r\n"))
		s.pass(70*time.Second, time.Second)
		if a := connect(t, s, v6, 0, 40004, 30002); a != drop {
			t.Errorf("too late: %v", a)
		}
		s.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30003|)\r\n"))
		s.give(c.seg(t, 1, "R", ""))
		if a := connect(t, s, v6, 0, 40005, 30003); a != drop {
			t.Errorf("after the control connection ended: %v", a)
		}
		n := 0
		for _, r := range s.all {
			if r.Reason == flow.ByRelated {
				n++
				if r.Verdict != flow.Allow || r.Rule != 7 || r.App != uint16(app.FTPData) {
					t.Errorf("data: %v of rule %d, application %v", r.Verdict, r.Rule, app.ID(r.App))
				}
			}
		}
		if n == 0 {
			t.Error("no data connection was reported")
		}
	})
}

// TestBounce: an announced address that is not the end's own, or a port of another service, opens nothing and
// is a threat.
func TestBounce(t *testing.T) {
	for _, tt := range []struct {
		name, command, reply string
		end                  int
		from, to             uint16
	}{
		{"foreign address", "PORT 10,0,0,9,175,200\r\n", "", 1, 20, 45000},
		{"foreign address of the other family", "EPRT |2|fd00::9|45000|\r\n", "", 1, 20, 45000},
		{"system port of the client", "PORT 10,0,0,1,0,22\r\n", "", 1, 20, 22},
		{"system port of the server", "PASV\r\n", "227 (10,0,0,2,0,22)\r\n", 0, 45000, 22},
	} {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 21, app.FTP))
		c := newConn(false, 40000, 21)
		ftpOpen(t, s, c)
		s.give(c.seg(t, 0, "A", tt.command))
		if tt.reply != "" {
			s.give(c.seg(t, 1, "A", tt.reply))
		}
		if a := connect(t, s, false, tt.end, tt.from, tt.to); a != drop {
			t.Errorf("%s: %v", tt.name, a)
		}
		s.counted(counter.ExpectedRefused, 1)
		got := s.threats()
		if len(got) != 1 || got[0].ID != threat.Bounce || got[0].Text == "" || len(got[0].Frame) == 0 {
			t.Errorf("%s: threats %+v", tt.name, got)
		}
	}
}

// TestRelatedFollowsItsSession: the data connection is judged as its control connection is, after another
// policy, too.
func TestRelatedFollowsItsSession(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
			s := newStage(t, policy.Protect)
			s.policy(1, policy.WorkloadSpec{Mode: mode}, allow(7, 6, 21, app.FTP))
			c := newConn(v6, 40000, 21)
			ftpOpen(t, s, c)
			s.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30001|)\r\n"))
			d := newConn(v6, 40001, 30001)
			s.want("data", s.give(open(t, d)...), pass, pass, pass)
			s.pass(time.Second, 100*time.Millisecond)
			s.policy(2, policy.WorkloadSpec{Mode: mode})
			s.pass(5*time.Second, 100*time.Millisecond)
			last := lastOf(s, 40001)
			want := map[policy.Mode]flow.Verdict{policy.Discover: flow.Learn, policy.Monitor: flow.Violate, policy.Protect: flow.Deny}[mode]
			if last.Verdict != want || mode != policy.Protect && last.Reason != flow.ByRelated {
				t.Errorf("%v: %v by %v, want %v", mode, last.Verdict, last.Reason, want)
			}
			if a := s.give(d.seg(t, 0, "A", "more"))[0]; (a == drop) != (mode == policy.Protect) {
				t.Errorf("%v: %v", mode, a)
			}
		}
	})
}

// lastOf returns the last record of a session by its client's port.
func lastOf(s *stage, cport uint16) (r flow.Record) {
	for _, x := range s.all {
		if x.ClientPort == cport {
			r = x
		}
	}
	return r
}

// TestOwnRuleOfRelated: a rule that allows the port of the data itself still does.
func TestOwnRuleOfRelated(t *testing.T) {
	s := newStage(t, policy.Protect)
	s.policy(1, protect(), allow(7, 6, 21, app.FTP), allow(8, 6, 30001))
	c := newConn(false, 40000, 21)
	ftpOpen(t, s, c)
	s.give(c.seg(t, 0, "A", "PASV\r\n"), c.seg(t, 1, "A", "227 (10,0,0,2,117,49)\r\n"))
	d := newConn(false, 40001, 30001)
	s.want("data", s.give(open(t, d)...), pass, pass, pass)
	s.policy(2, protect(), allow(8, 6, 30001))
	s.pass(time.Second, 100*time.Millisecond)
	if r := lastOf(s, 40001); r.Verdict != flow.Allow || r.Rule != 8 {
		t.Errorf("%v of rule %d", r.Verdict, r.Rule)
	}
	s.want("more data", s.give(d.seg(t, 0, "A", "more")), pass)
}

// TestLongControl: a control connection is followed beyond the limits of identification.
func TestLongControl(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 6, 21, app.FTP))
		c := newConn(v6, 40000, 21)
		ftpOpen(t, s, c)
		for range 300 {
			s.give(c.seg(t, 0, "A", "NOOP\r\n"), c.seg(t, 1, "A", "200 "+string(make([]byte, 100))+"\r\n"))
		}
		s.pass(20*time.Minute, 5*time.Second)
		s.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30001|)\r\n"))
		if a := connect(t, s, v6, 0, 40002, 30001); a != pass {
			t.Errorf("data: %v", a)
		}
	})
}

// TestRelatedMoves: what is expected, and what is related, moves with its session.
func TestRelatedMoves(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		from, next := newStage(t, policy.Discover), newStage(t, policy.Protect)
		for _, s := range []*stage{from, next} {
			s.policy(1, protect(), allow(7, 6, 21, app.FTP))
		}
		c := newConn(v6, 40000, 21)
		ftpOpen(t, from, c)
		from.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30001|)\r\n"))
		d := newConn(v6, 40001, 30001)
		from.give(open(t, d)...)
		from.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30002|)\r\n"))
		next.p.Begin(next.now)
		next.p.Adopt(1, from.p.Export(1))
		next.pass(time.Second, 100*time.Millisecond)
		next.want("open data", next.give(d.seg(t, 0, "A", "data")), pass)
		if a := connect(t, next, v6, 0, 40002, 30002); a != pass {
			t.Errorf("expected data: %v", a)
		}
		next.give(c.seg(t, 0, "A", "EPSV\r\n"), c.seg(t, 1, "A", "229 (|||30003|)\r\n"))
		if a := connect(t, next, v6, 0, 40003, 30003); a != pass {
			t.Errorf("data announced here: %v", a)
		}
	})
}

// TestTFTPTransfer: the transfer comes from another port of the server, and answers the request.
func TestTFTPTransfer(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, mode := range []policy.Mode{policy.Discover, policy.Protect} {
			s := newStage(t, mode)
			w := policy.WorkloadSpec{Mode: mode}
			s.policy(1, w, allow(7, 17, 69, app.TFTP))
			refused := pass
			if mode == policy.Protect {
				refused = drop
			}
			s.want("a transfer without a request", s.give(udp(t, v6, 1, 40069, 50000, "\x00\x03\x00\x01x")), refused)
			for i := range uint16(2) { // one socket of the client for two files
				s.want("request", s.give(udp(t, v6, 0, 50001, 69, "\x00\x01f\x00octet\x00")), pass)
				s.want("transfer", s.give(udp(t, v6, 1, 40070+i, 50001, "\x00\x03\x00\x01x"), udp(t, v6, 0, 50001, 40070+i, "\x00\x04\x00\x01")), pass, pass)
			}
			s.want("a third", s.give(udp(t, v6, 1, 40072, 50001, "\x00\x03\x00\x01x")), refused)
			s.pass(3*time.Second, 100*time.Millisecond)
			for _, r := range s.all {
				if r.ClientPort == 50001 && (r.Verdict != flow.Allow || r.App != uint16(app.TFTP)) && r.ServerPort != 40072 {
					t.Errorf("port %d: %v, %v, %v", r.ServerPort, r.Verdict, app.ID(r.App), r.Outcome)
				}
			}
			if is, _ := answeredPort(s, 50001, 69); !is {
				t.Error("the request is unanswered")
			}
		}
	})
}

// answeredPort returns the last reported outcome of a session by its ports.
func answeredPort(s *stage, cport, sport uint16) (is bool, o flow.Outcome) {
	for _, r := range s.all {
		if r.ClientPort == cport && r.ServerPort == sport {
			is, o = r.Answered, r.Outcome
		}
	}
	return is, o
}

// TestMigration: a QUIC connection continues from another port of its client; nothing else is taken for one.
func TestMigration(t *testing.T) {
	hello := quicInitial(t)
	short := "\x40" + string(make([]byte, 40))
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.policy(1, protect(), allow(7, 17, 443, app.QUIC))
		s.want("without a connection", s.give(udp(t, v6, 0, 50000, 443, short)), drop)
		got := s.give(udp(t, v6, 0, 50001, 443, hello))
		if got[0] != pass {
			t.Fatalf("handshake: %v", got)
		}
		s.want("not answered yet", s.give(udp(t, v6, 0, 50002, 443, short)), drop)
		s.give(udp(t, v6, 1, 443, 50001, "\xc0\x00\x00\x00\x01\x00\x00"+string(make([]byte, 40))))
		s.want("from another port", s.give(udp(t, v6, 0, 50003, 443, short)), pass)
		s.want("to another port", s.give(udp(t, v6, 0, 50003, 444, short)), drop)
		s.want("text", s.give(udp(t, v6, 0, 50004, 443, "12345 and some more text, longer than that")), drop)
		s.want("too short", s.give(udp(t, v6, 0, 50005, 443, short[:20])), drop)
		s.pass(time.Second, 100*time.Millisecond)
		if r := lastOf(s, 50003); r.ServerPort == 443 && (r.Base != uint16(app.QUIC) || r.Rule != 7) {
			t.Errorf("%v of rule %d", app.ID(r.Base), r.Rule)
		}
	})
}

// quicInitial is the first datagram of a case of the QUIC parser.
func quicInitial(t *testing.T) string {
	t.Helper()
	cases, err := parsertest.Load(filepath.Join("..", "..", "parsers", "quic", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Want.Base == "quic" && len(c.Messages[0].Data) >= 1200 && c.Messages[0].Dir == 0 && c.ClientOnly != "none" {
			return string(c.Messages[0].Data)
		}
	}
	t.Fatal("no case with an Initial")
	return ""
}

// TestHappyEyeballs: of two families the slower one is given up (RFC 8305), unanswered or just answered. It is an
// attempt, not a violation, with the verdict of the rule that let it open.
func TestHappyEyeballs(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
			s := newStage(t, mode)
			s.policy(1, policy.WorkloadSpec{Mode: mode}, allow(7, 6, 443, app.TLS))
			late, never := newConn(v6, 40001, 443), newConn(v6, 40002, 443)
			s.want("given up after the answer", s.give(late.seg(t, 0, "S", ""), late.seg(t, 1, "SA", ""), late.seg(t, 0, "R", "")), pass, pass, pass)
			s.want("given up before", s.give(never.seg(t, 0, "S", "")), pass)
			s.pass(time.Minute, time.Second)
			for port, want := range map[uint16]flow.Outcome{40001: flow.OutcomeReset, 40002: flow.OutcomeUnanswered} {
				if r := lastOf(s, port); (r.Verdict != flow.Allow) != (mode == policy.Discover) || r.Verdict == flow.Violate || r.Outcome != want || r.Answered {
					t.Errorf("%v: port %d: %v, %v, answered %v", mode, port, r.Verdict, r.Outcome, r.Answered)
				}
			}
		}
	})
}
