package path_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/detect"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// Datagrams of applications: a question and its answer, and what is none of any parser's.
const (
	dnsQuery  = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01"
	dnsAnswer = "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x09"
	nameless  = "\x01\x02\x03 of no protocol, but long enough"
)

// later are datagrams from the middle of sessions, of applications that do not show in them, with one that is none.
var later = map[app.ID][2]string{
	app.QUIC:      {"\x4a an encrypted packet of QUIC", nameless},
	app.SIP:       {"\r\n\r\n", nameless},
	app.STUN:      {"\x80\x60\x00\x01 and media of RTP", nameless},
	app.Memcached: {"\x00\x07\x00\x01\x00\x03\x00\x00rest of an item", nameless},
	app.TFTP:      {"\x00\x03\x00\x01 a block of a file", nameless},
}

// recently makes the workload's packets seen since now, with sockets from before on both ports of its conversations.
func (s *stage) recently() {
	s.end.Since = begin
	s.end.Sockets = complete()
	s.end.Sockets.Old = map[uint16]bool{5353: true, 9000: true, 40000: true}
	s.publish()
}

// silent is a remote that does not know which applications show.
type silent struct{ detect.Remote }

// remotely has everything identified by a plugin that answers after a delay.
func remotely(t *testing.T, delay time.Duration) option {
	return func(c *path.Config, s *stage) {
		reg, err := builtin.Registry()
		if err != nil {
			t.Fatal(err)
		}
		local, err := builtin.Local()
		if err != nil {
			t.Fatal(err)
		}
		c.Identify = identify.Config{Parsers: local, Remote: &delayed{delay: int64(delay), now: &s.now, reg: reg, flows: map[uint64]*guest{}}}
	}
}

// TestMidstreamDatagrams: a conversation that may have begun before the workload was seen, on the port of an allowed
// application: where each of that one's datagrams shows it, others are refused from the first on, by whichever end they
// are sent, and its own pass; where they do not, what has no name passes. Of both orientations, and by parsers in the
// process and in a plugin.
func TestMidstreamDatagrams(t *testing.T) {
	for _, c := range []struct {
		name    string
		apps    []app.ID
		payload string
		passes  bool
	}{
		{"its question", []app.ID{app.DNS}, dnsQuery, true},
		{"its answer", []app.ID{app.DNS}, dnsAnswer, true},
		{"nothing that is known", []app.ID{app.DNS}, nameless, false},
		{"another application", []app.ID{app.NTP}, dnsQuery, false},
		{"one of several", []app.ID{app.SNMP, app.DNS}, dnsQuery, true},
		{"none of several", []app.ID{app.SNMP, app.DNS, app.Syslog}, nameless, false},
		{"an application that is never in datagrams", []app.ID{app.HTTP}, nameless, false},
		{"what may be its later one", []app.ID{app.QUIC}, later[app.QUIC][0], true},
		{"what may not", []app.ID{app.QUIC}, nameless, false},
		{"what may be a later one of one of several", []app.ID{app.DNS, app.SIP, app.QUIC}, later[app.QUIC][0], true},
		{"what may be another's later one", []app.ID{app.DNS, app.SIP}, later[app.QUIC][0], false},
		{"unidentified traffic is allowed", []app.ID{app.DNS, app.Unknown}, nameless, true},
		{"any application", nil, nameless, true},
	} {
		for where, options := range map[string][]option{"here": nil, "plugin": {remotely(t, 20*time.Millisecond)}} {
			for _, server := range []bool{false, true} { // the workload is the server by the rule
				for end := range 2 { // who sends the first datagram that is seen
					passes := c.passes
					switch asks := (end == 0) != server; c.payload { // DNS shows who asks
					case dnsQuery:
						passes = passes && asks
					case dnsAnswer:
						passes = passes && !asks
					}
					both(t, func(t *testing.T, v6 bool) {
						s := newStage(t, policy.Protect, options...)
						s.recently()
						r := allow(7, packet.ProtoUDP, 9000, c.apps...)
						from, to := uint16(40000), uint16(9000)
						if server {
							r.From, r.To = 2, 1
						}
						if (end == 0) == server { // it is the server that sends
							from, to = to, from
						}
						s.policy(1, protect(), r)
						f := udp(t, v6, end, from, to, c.payload)
						at := s.give(f)[0] == pass
						s.pass(200*time.Millisecond, 5*time.Millisecond)
						passed := at || len(s.q.sent) > 0
						if later := s.give(udp(t, v6, end, from, to, c.payload))[0] == pass; passed != passes || later != passes {
							t.Errorf("%s, %s, server %v, end %d: passed %v and then %v, want %v", c.name, where, server, end, passed, later, passes)
						}
						s.pass(2*time.Second, 100*time.Millisecond)
						if last := s.all[len(s.all)-1]; (last.Verdict == flow.Allow) != passes || last.Verdict == flow.Pending {
							t.Errorf("%s, %s, server %v, end %d: %+v", c.name, where, server, end, last)
						}
					})
				}
			}
		}
	}
}

// TestLaterDatagrams: what may belong to the middle of a session of an allowed application that does not show there
// passes, and what cannot is refused, in both orientations; also where a socket showed the conversation before.
func TestLaterDatagrams(t *testing.T) {
	for a, payloads := range later {
		for i, payload := range payloads {
			for _, connected := range []bool{false, true} {
				both(t, func(t *testing.T, v6 bool) {
					s := newStage(t, policy.Protect)
					s.recently()
					s.policy(1, protect(), allow(7, packet.ProtoUDP, 9000, a))
					if connected {
						s.held(tupleOf(v6, packet.ProtoUDP, 40000, 9000))
					}
					for end := range 2 {
						from, to := uint16(40000), uint16(9000)
						if end == 1 {
							from, to = to, from
						}
						s.want(fmt.Sprintf("%s, %q, connected %v, end %d", a, payload, connected, end), s.give(udp(t, v6, end, from, to, payload)), map[bool]packet.Action{true: pass, false: drop}[i == 0])
					}
				})
			}
		}
	}
}

// TestMidstreamOfSilentPlugins: a plugin that does not know whether its applications show is no reason to refuse.
func TestMidstreamOfSilentPlugins(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		plugin := remotely(t, time.Millisecond)
		s := newStage(t, policy.Protect, func(c *path.Config, s *stage) {
			plugin(c, s)
			c.Identify.Remote = silent{c.Identify.Remote}
		})
		s.recently()
		s.policy(1, protect(), allow(7, packet.ProtoUDP, 9000, app.NTP))
		for range 3 {
			s.want("unnamed", s.give(udp(t, v6, 0, 40000, 9000, nameless)), pass)
			s.pass(50*time.Millisecond, 5*time.Millisecond)
		}
	})
}

// TestRememberedApplication: a conversation keeps the application that it had before a restart where it shows none, and
// one that had none is refused where it may have had another one.
func TestRememberedApplication(t *testing.T) {
	quic := later[app.QUIC][0]
	for _, c := range []struct {
		name    string
		before  app.ID
		rule    app.ID
		payload string
		until   time.Duration
		want    packet.Action
	}{
		{"shows in each, and does not", app.DNS, app.DNS, nameless, time.Hour, pass},
		{"was another", app.NTP, app.DNS, nameless, time.Hour, drop},
		{"shows in none, and was another", app.SIP, app.QUIC, quic, time.Hour, drop},
		{"shows in none", app.QUIC, app.QUIC, quic, time.Hour, pass},
		{"had no name", app.None, app.QUIC, quic, time.Hour, drop},
		{"had no name, which is allowed", app.None, app.Unknown, quic, time.Hour, pass},
		{"shows another now", app.DNS, app.DNS, "<34>1 2003-10-11T22:14:15.003Z host su - ID47 - it failed", time.Hour, drop},
		{"too long ago", app.DNS, app.DNS, nameless, -time.Hour, drop},
		{"too long ago to be refused", app.None, app.QUIC, quic, -time.Hour, pass},
	} {
		for where, options := range map[string][]option{"here": nil, "plugin": {remotely(t, time.Millisecond)}} {
			both(t, func(t *testing.T, v6 bool) {
				s := newStage(t, policy.Protect, options...)
				tuple := tupleOf(v6, packet.ProtoUDP, 40000, 9000)
				s.end.Seed = role.SeedOf("w")
				h, lower := s.end.Seed.Hash(&tuple)
				s.shared.Memory.Store(&role.Memory{Until: begin + int64(c.until), LowerIsClient: map[uint64]bool{h: lower}, Apps: map[uint64]app.ID{h: c.before}})
				s.recently()
				s.policy(1, protect(), allow(7, packet.ProtoUDP, 9000, c.rule))
				s.give(udp(t, v6, 0, 40000, 9000, c.payload))
				s.pass(100*time.Millisecond, 5*time.Millisecond)
				s.want(c.name+", "+where, s.give(udp(t, v6, 0, 40000, 9000, c.payload)), c.want)
			})
		}
	}
}

// TestEvidentFollowsPolicy: what is allowed to be picked up changes with policy, and is judged again at a switch.
func TestEvidentFollowsPolicy(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.recently()
		f := func() packet.Frame { return udp(t, v6, 0, 40000, 9000, later[app.QUIC][0]) }
		s.policy(1, protect(), allow(7, packet.ProtoUDP, 9000, app.QUIC))
		s.want("may be anything", s.give(f()), pass)
		s.policy(2, protect(), allow(7, packet.ProtoUDP, 9000, app.DNS))
		s.want("shows, and does not", s.give(f()), drop)
		s.policy(3, protect(), allow(7, packet.ProtoUDP, 9000, app.QUIC))
		s.want("may be anything again", s.give(f()), pass)
		s.want("another conversation", s.give(udp(t, v6, 0, 5353, 9000, later[app.QUIC][0])), pass)
	})
	for payload, want := range map[string]packet.Action{nameless: drop, later[app.QUIC][0]: pass} {
		both(t, func(t *testing.T, v6 bool) { // watched, and then enforced
			s := newStage(t, policy.Discover)
			s.recently()
			s.policy(1, policy.WorkloadSpec{Mode: policy.Discover}, allow(7, packet.ProtoUDP, 9000, app.QUIC))
			s.want("on a tap", s.give(udp(t, v6, 0, 40000, 9000, payload)), pass)
			s.end.Inline = true
			s.publish()
			s.policy(2, protect(), allow(7, packet.ProtoUDP, 9000, app.QUIC))
			s.want("enforced", s.give(udp(t, v6, 0, 40000, 9000, payload)), want)
		})
	}
}
