package path_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/identify"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/builtin"
)

// Datagrams of applications: a question and its answer, and what is none of any parser's.
const (
	dnsQuery  = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01"
	dnsAnswer = "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x09"
	nameless  = "\x01\x02\x03 of nobody"
)

// recently makes the workload's packets seen since now, with sockets from before on both ports of its conversations.
func (s *stage) recently() {
	s.end.Since = begin
	s.end.Sockets = complete()
	s.end.Sockets.Old = map[uint16]bool{5353: true, 9000: true, 40000: true}
	s.publish()
}

// remotely has everything identified by a plugin that answers after a delay; forgetful ones do not know what shows.
func remotely(t *testing.T, delay time.Duration) option {
	return func(c *path.Config, s *stage) {
		reg, err := builtin.Registry()
		if err != nil {
			t.Fatal(err)
		}
		c.Identify = identify.Config{Parsers: &parsers.Registry{}, Remote: &delayed{delay: int64(delay), now: &s.now, reg: reg, flows: map[uint64]*guest{}}}
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
		{"an application whose datagrams may be anything", []app.ID{app.QUIC}, nameless, true},
		{"one of several may be anything", []app.ID{app.DNS, app.QUIC}, nameless, true},
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

// TestEvidentFollowsPolicy: what is allowed to be picked up changes with policy, and is judged again at a switch.
func TestEvidentFollowsPolicy(t *testing.T) {
	both(t, func(t *testing.T, v6 bool) {
		s := newStage(t, policy.Protect)
		s.recently()
		f := func() packet.Frame { return udp(t, v6, 0, 40000, 9000, nameless) }
		s.policy(1, protect(), allow(7, packet.ProtoUDP, 9000, app.QUIC))
		s.want("may be anything", s.give(f()), pass)
		s.policy(2, protect(), allow(7, packet.ProtoUDP, 9000, app.DNS))
		s.want("shows, and does not", s.give(f()), drop)
		s.policy(3, protect(), allow(7, packet.ProtoUDP, 9000, app.QUIC))
		s.want("may be anything again", s.give(f()), pass)
	})
	both(t, func(t *testing.T, v6 bool) { // watched, and then enforced
		s := newStage(t, policy.Discover)
		s.recently()
		s.policy(1, policy.WorkloadSpec{Mode: policy.Discover}, allow(7, packet.ProtoUDP, 9000, app.DNS))
		s.want("on a tap", s.give(udp(t, v6, 0, 40000, 9000, nameless)), pass)
		s.end.Inline = true
		s.publish()
		s.policy(2, protect(), allow(7, packet.ProtoUDP, 9000, app.DNS))
		s.want("enforced", s.give(udp(t, v6, 0, 40000, 9000, nameless)), drop)
	})
}
