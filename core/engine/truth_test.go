package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/backend"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
	"github.com/sluicenet/sluice/core/policy"
)

// until drains records until the session of a server's port has ended.
func (b *bench) until(port uint16) []flow.Record {
	b.t.Helper()
	var of []flow.Record
	for _, f := range b.flows(func(f flow.Record) bool { return f.ServerPort == port && f.Kind == flow.End }) {
		if f.ServerPort == port {
			of = append(of, f)
		}
	}
	return of
}

// ended are connections that end without payload, by what their ends send.
var ended = []struct {
	name string
	segs []string // flags, those of the server with a leading '<'
	want flow.Outcome
}{
	{"service down", []string{"S", "<RA"}, flow.OutcomeRefused},
	{"opened and closed", []string{"S", "<SA", "A", "FA", "<FA", "A"}, flow.OutcomeClosed},
	{"opened and reset by the client", []string{"S", "<SA", "A", "RA"}, flow.OutcomeReset},
	{"opened and reset by the server", []string{"S", "<SA", "A", "<RA"}, flow.OutcomeReset},
	{"half open", []string{"S", "<SA", "R"}, flow.OutcomeReset},
	{"given up by the client", []string{"S", "RA"}, flow.OutcomeUnanswered},
}

func (c *conn) all(t *testing.T, segs []string) (out []packet.Frame) {
	for _, s := range segs {
		payload := ""
		if strings.Contains(s, "D") {
			payload = "hello"
		}
		if s[0] == '<' {
			out = append(out, c.seg(t, 1, s[1:], payload))
		} else {
			out = append(out, c.seg(t, 0, s, payload))
		}
	}
	return out
}

// TestEndsWithoutPayload ends connections by themselves before any payload: no mode makes
// that a refusal or a violation where a rule allows them to open, and each is reported with
// its outcome.
func TestEndsWithoutPayload(t *testing.T) {
	deny := policy.RuleSpec{ID: 8, From: 1, To: 2, Ports: tcpPort(8080), Apps: []app.ID{app.SSH}, Deny: true}
	rules := []struct {
		name  string
		rules []policy.RuleSpec
		want  map[policy.Mode]flow.Verdict
		rule  map[policy.Mode]uint32
	}{
		{"a rule by application", []policy.RuleSpec{allow(7, tcpPort(8080), app.HTTP)},
			map[policy.Mode]flow.Verdict{policy.Discover: flow.Learn, policy.Monitor: flow.Allow, policy.Protect: flow.Allow}, map[policy.Mode]uint32{policy.Monitor: 7, policy.Protect: 7}},
		{"a rule for any", []policy.RuleSpec{allow(7, tcpPort(8080))},
			map[policy.Mode]flow.Verdict{policy.Discover: flow.Allow, policy.Monitor: flow.Allow, policy.Protect: flow.Allow}, map[policy.Mode]uint32{policy.Discover: 7, policy.Monitor: 7, policy.Protect: 7}},
		{"a rule for none", []policy.RuleSpec{allow(6, tcpPort(8080), app.HTTP), allow(7, tcpPort(8080), app.None)},
			map[policy.Mode]flow.Verdict{policy.Discover: flow.Allow, policy.Monitor: flow.Allow, policy.Protect: flow.Allow}, map[policy.Mode]uint32{policy.Discover: 7, policy.Monitor: 7, policy.Protect: 7}},
		{"another application is denied", []policy.RuleSpec{deny, allow(7, tcpPort(8080), app.HTTP)},
			map[policy.Mode]flow.Verdict{policy.Discover: flow.Learn, policy.Monitor: flow.Allow, policy.Protect: flow.Allow}, map[policy.Mode]uint32{policy.Monitor: 7, policy.Protect: 7}},
		{"an application is denied, none allowed", []policy.RuleSpec{deny},
			map[policy.Mode]flow.Verdict{policy.Discover: flow.Learn, policy.Monitor: flow.Pending, policy.Protect: flow.Pending}, map[policy.Mode]uint32{policy.Monitor: 8, policy.Protect: 8}},
	}
	for _, end := range ended {
		for _, r := range rules {
			for mode, verdict := range r.want {
				t.Run(fmt.Sprintf("%s/%s/%v", end.name, r.name, mode), func(t *testing.T) {
					families(t, func(t *testing.T, v6 bool) {
						b := newBench(t)
						b.policy(1, mode, policy.WorkloadSpec{}, r.rules...)
						kind := backend.Tap
						if mode == policy.Protect {
							kind = backend.Inline
						}
						q := b.attach(kind)
						for _, f := range q.give(newConn(v6, 40000, 8080).all(t, end.segs)...) {
							if f.Verdict.Action != packet.Pass {
								t.Errorf("a segment: %v, want pass", f.Verdict.Action)
							}
						}
						for _, f := range b.until(8080) {
							if f.Verdict == flow.Deny || f.Verdict == flow.Violate {
								t.Errorf("reported as %v: %+v", f.Verdict, f)
							}
							if f.Kind == flow.End && (f.Verdict != verdict || f.Outcome != end.want || f.Rule != r.rule[mode] || app.ID(f.App) != app.None) {
								t.Errorf("%v by rule %d, %v, app %v; want %v by %d, %v, none", f.Verdict, f.Rule, f.Outcome, app.ID(f.App), verdict, r.rule[mode], end.want)
							}
						}
					})
				})
			}
		}
	}
}

// TestNoRuleRefusesTheSYN is the one case in which opening a connection is refused.
func TestNoRuleRefusesTheSYN(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Protect, policy.WorkloadSpec{})
		q := b.attach(backend.Inline)
		q.give(newConn(v6, 40000, 8080).seg(t, 0, "S", ""))
		all := b.flows(func(f flow.Record) bool { return f.Verdict == flow.Deny })
		if len(all) != 1 || all[0].Outcome != flow.OutcomeDenied || all[0].Kind != flow.Start || app.ID(all[0].App) != app.Undecided {
			t.Errorf("got %+v, want one record, denied", all)
		}
	})
}

// TestNoSessionNoRecord sends segments that belong to no session: none is reported, in any
// mode.
func TestNoSessionNoRecord(t *testing.T) {
	strays := []struct {
		name string
		segs []string
	}{
		{"a FIN", []string{"FA"}}, {"a reset", []string{"R"}}, {"a reset with ACK", []string{"RA"}}, {"a FIN that is answered by a reset", []string{"FA", "<R"}},
		{"an ACK that is answered by a reset", []string{"A", "<R"}}, {"data that is answered by a reset", []string{"AD", "<R"}}, {"data and a FIN that are answered by resets", []string{"AD", "FAD", "<R", "<R"}},
		{"an ACK and a FIN", []string{"A", "FA"}}, {"both ends close", []string{"FA", "<FA", "A"}}, {"nothing but PSH", []string{"P"}},
	}
	for _, mode := range []policy.Mode{policy.Discover, policy.Monitor, policy.Protect} {
		for _, allowed := range []bool{true, false} {
			for _, s := range strays {
				if mode == policy.Protect && !allowed && (slices.Contains(s.segs, "A") || slices.Contains(s.segs, "AD")) {
					continue // an ACK or data may be a live connection's: it is refused, and reported as that
				}
				t.Run(fmt.Sprintf("%v/%s/allowed %v", mode, s.name, allowed), func(t *testing.T) {
					families(t, func(t *testing.T, v6 bool) {
						b := newBench(t)
						var rules []policy.RuleSpec
						if allowed {
							rules = append(rules, allow(7, tcpPort(8080), app.HTTP))
						}
						b.policy(1, mode, policy.WorkloadSpec{}, rules...)
						kind := backend.Tap
						if mode == policy.Protect {
							kind = backend.Inline
						}
						q := b.attach(kind)
						want := packet.Pass
						if mode == policy.Protect && !allowed {
							want = packet.Drop
						}
						for _, f := range q.give(newConn(v6, 40000, 8080).all(t, s.segs)...) {
							if f.Verdict.Action != want {
								t.Errorf("a segment: %v, want %v", f.Verdict.Action, want)
							}
						}
						b.e.Close() // every session ends
						b.e.Drain(func(f *flow.Record) { t.Errorf("reported: %+v", *f) })
						if n := len(q.takeSent()); n != 0 {
							t.Errorf("%d frames were sent, want none", n)
						}
					})
				})
			}
		}
	}
}

// TestRefusedStaysRefused changes from protect to discover after a refusal: a denied session
// is not learned, and its next attempt is a new session.
func TestRefusedStaysRefused(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		for _, kind := range []backend.Kind{backend.Tap, backend.Inline} {
			b := newBench(t)
			b.policy(1, policy.Protect, policy.WorkloadSpec{OnDeny: policy.Silent})
			q := b.attach(backend.Inline)
			c := newConn(v6, 40000, 8080)
			syn := c.seg(t, 0, "S", "")
			datagram := frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 5000, DstPort: 5353}, "question")
			if got := actions(q.give(syn, datagram)); got != "drop drop" {
				t.Fatalf("in protect: %s", got)
			}
			b.policy(2, policy.Discover, policy.WorkloadSpec{})
			q = b.attach(kind)
			for range 5 { // sweeps
				q.give(newConn(v6, 50000, 9).seg(t, 0, "R", ""))
				time.Sleep(5 * time.Millisecond)
			}
			first := map[uint64]bool{}
			b.e.Drain(func(f *flow.Record) {
				first[f.Session] = true
				if f.Verdict != flow.Deny || f.Outcome != flow.OutcomeDenied || f.Policy != 1 {
					t.Errorf("%v: after the change: %+v, want it denied by policy 1", kind, f)
				}
			})
			if len(first) != 2 {
				t.Fatalf("%v: %d sessions, want 2", kind, len(first))
			}
			syn.Stamp, datagram.Stamp = time.Now().UnixNano(), time.Now().UnixNano()
			if got := actions(q.give(syn, datagram)); got != "pass pass" {
				t.Errorf("%v: again, in discover: %s", kind, got)
			}
			learned := map[uint64]bool{}
			for _, f := range b.flows(func(f flow.Record) bool {
				learned[f.Session] = true
				return f.Verdict == flow.Learn && len(learned) >= 2
			}) {
				if first[f.Session] && f.Verdict != flow.Deny {
					t.Errorf("%v: a refused session became %v", kind, f.Verdict)
				}
			}
		}
	})
}

// TestUnreachableIsRefused has a router or a host answer a datagram, or a SYN, with
// unreachable.
func TestUnreachableIsRefused(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		asked := frameOf(t, v6, 0, layers.IPProtocolUDP, &layers.UDP{SrcPort: 5000, DstPort: 7000}, "is it there")
		quote := string(asked.Data[14:])
		answer := frameOf(t, v6, 1, layers.IPProtocolICMPv4, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, quote)
		if v6 {
			answer = frameOf(t, v6, 1, layers.IPProtocolICMPv6, &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, "\x00\x00\x00\x00"+quote)
		}
		q.give(asked, answer)
		b.flows(func(f flow.Record) bool {
			return f.ServerPort == 7000 && f.Outcome == flow.OutcomeRefused && f.Verdict == flow.Learn && !f.Answered
		})
	})
}

// TestOutcomesOfOpenFlows has sessions that continue, or only began.
func TestOutcomesOfOpenFlows(t *testing.T) {
	families(t, func(t *testing.T, v6 bool) {
		b := newBench(t)
		b.policy(1, policy.Discover, policy.WorkloadSpec{})
		q := b.attach(backend.Tap)
		open, opening := newConn(v6, 40000, 8080), newConn(v6, 40001, 8081)
		q.give(append(open.handshake(t), opening.seg(t, 0, "S", ""))...)
		seen := map[uint16]flow.Outcome{}
		b.flows(func(f flow.Record) bool { seen[f.ServerPort] = f.Outcome; return len(seen) == 2 })
		if seen[8080] != flow.OutcomeEstablished || seen[8081] != flow.OutcomeOpening {
			t.Errorf("got %v, want 8080 established and 8081 opening", seen)
		}
	})
}
