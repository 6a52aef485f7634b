package path_test

import (
	"testing"
	"time"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/path"
	"github.com/sluicenet/sluice/core/policy"
	"github.com/sluicenet/sluice/core/role"
	"github.com/sluicenet/sluice/core/session"
)

// TestMidstreamWithoutHope: what may be in mid-stream is not held while its application is unknown, so it is
// refused at once if rules that name applications only deny; if one may allow it, it passes.
func TestMidstreamWithoutHope(t *testing.T) {
	deny := func(proto uint8, apps ...app.ID) policy.RuleSpec {
		r := allow(1, proto, 9000, apps...)
		r.From, r.To, r.Deny = 2, 1, true
		return r
	}
	let := func(proto uint8, apps ...app.ID) policy.RuleSpec {
		r := deny(proto, apps...)
		r.ID, r.Deny = 2, false
		return r
	}
	const none, yes = packet.Drop, packet.Pass
	for _, c := range []struct {
		name  string
		rules func(proto uint8) []policy.RuleSpec
		want  packet.Action
	}{
		{"denied applications only", func(p uint8) []policy.RuleSpec { return []policy.RuleSpec{deny(p, app.HTTP, app.Redis)} }, none},
		{"any other is allowed", func(p uint8) []policy.RuleSpec { return []policy.RuleSpec{deny(p, app.HTTP), let(p)} }, yes},
		{"one other is allowed", func(p uint8) []policy.RuleSpec {
			return []policy.RuleSpec{deny(p, app.HTTP), let(p, map[uint8]app.ID{packet.ProtoTCP: app.Redis, packet.ProtoUDP: app.QUIC}[p])}
		}, yes},
		{"another port is allowed", func(p uint8) []policy.RuleSpec {
			r := let(p)
			r.Ports = []policy.PortSpec{{Proto: p, Lo: 9001, Hi: 9001}}
			return []policy.RuleSpec{deny(p, app.HTTP), r}
		}, none},
	} {
		for _, proto := range []uint8{packet.ProtoUDP, packet.ProtoTCP} {
			both(t, func(t *testing.T, v6 bool) {
				s := newStage(t, policy.Protect)
				s.end.Since = begin
				s.end.Sockets = complete(role.Port{Proto: proto, Port: 9000})
				s.end.Sockets.Old = map[uint16]bool{9000: true}
				s.publish()
				s.policy(1, protect(), c.rules(proto)...)
				s.pass(time.Second, 100*time.Millisecond)
				f := udp(t, v6, 1, 40000, 9000, later[app.QUIC][0])
				if proto == packet.ProtoTCP {
					x := conn{v6: v6, cport: 9000, sport: 40000, seq: [2]uint32{500, 900}}
					f = x.seg(t, 1, "A", "\x01\x02\x03")
				}
				s.want(c.name, s.give(f), c.want)
				s.pass(3*time.Second, 100*time.Millisecond)
				if refused := len(s.all) > 0 && s.all[0].Verdict == flow.Deny; refused != (c.want == none) {
					t.Errorf("%s: protocol %d: records %+v", c.name, proto, s.all)
				}
			})
		}
	}
}

// TestHopelessWhereItIsEnforced: the decision is the workload's and not the interface's. One of its taps
// reports the refusal that the interface which enforces carries out; where none enforces, nothing is refused.
func TestHopelessWhereItIsEnforced(t *testing.T) {
	for _, c := range []struct {
		name             string
		inline, enforced bool
	}{{"inline", true, true}, {"a tap beside it", false, true}, {"taps alone", false, false}} {
		for _, proto := range []uint8{packet.ProtoUDP, packet.ProtoTCP} {
			both(t, func(t *testing.T, v6 bool) {
				s := newStage(t, policy.Protect)
				s.end.Inline, s.end.Shares = c.inline, &path.Shares{Home: s.p, Enforced: c.enforced, Mixed: true}
				s.end.Since = begin
				s.end.Sockets = complete(role.Port{Proto: proto, Port: 9000})
				s.end.Sockets.Old = map[uint16]bool{9000: true}
				s.publish()
				r := allow(1, proto, 9000, app.HTTP)
				r.From, r.To, r.Deny = 2, 1, true
				s.policy(1, protect(), r)
				s.pass(time.Second, 100*time.Millisecond)
				f := udp(t, v6, 1, 40000, 9000, "\x01\x02\x03")
				if proto == packet.ProtoTCP {
					x := conn{v6: v6, cport: 9000, sport: 40000, seq: [2]uint32{500, 900}}
					f = x.seg(t, 1, "A", "\x01\x02\x03")
				}
				want := packet.Pass
				if c.inline {
					want = packet.Drop
				}
				s.want(c.name, s.give(f), want)
				moved := s.p.Export(1)
				if len(moved) != 1 {
					t.Fatalf("%s: protocol %d: %d sessions", c.name, proto, len(moved))
				}
				x := &moved[0].Session
				if (x.Verdict == flow.Deny) != c.enforced || (x.Flags&session.Denied != 0) != c.inline {
					t.Errorf("%s: protocol %d: verdict %s, flags %x", c.name, proto, x.Verdict, x.Flags)
				}
			})
		}
	}
}

// TestSenderOfRefusedDatagrams: where nothing but port numbers shows which end is the client, the sender of
// datagrams that the workload refuses is, whichever of its interfaces they come by.
func TestSenderOfRefusedDatagrams(t *testing.T) {
	for _, inline := range []bool{true, false} {
		both(t, func(t *testing.T, v6 bool) {
			s := newStage(t, policy.Protect)
			s.end.Inline, s.end.Shares = inline, &path.Shares{Home: s.p, Enforced: true, Mixed: true}
			s.end.Since = begin
			s.publish()
			s.policy(1, protect())
			s.pass(time.Second, 100*time.Millisecond)
			s.give(udp(t, v6, 1, 9000, 40000, "\x01\x02\x03")) // by the ports, an answer
			moved := s.p.Export(1)
			if len(moved) != 1 {
				t.Fatalf("%d sessions", len(moved))
			}
			if _, port := moved[0].Session.Client(); port != 9000 || moved[0].Session.Verdict != flow.Deny {
				t.Errorf("inline %t: client port %d, verdict %s; want the sender refused", inline, port, moved[0].Session.Verdict)
			}
		})
	}
}
