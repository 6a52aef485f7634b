package learn_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// conn is an established HTTP connection that is to be learned, as a test changes it.
func conn(change func(*learn.Connection)) learn.Connection {
	c := learn.Connection{From: "svc:default/web", To: "svc:default/api", Proto: 6, Port: 80, ClientPort: 40000, App: app.HTTP,
		Verdict: flow.Learn, Evidence: flow.EvidenceHandshake, Outcome: flow.OutcomeEstablished, Answered: true}
	if change != nil {
		change(&c)
	}
	return c
}

// brief is rules in a line each.
func brief(rules []model.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, fmt.Sprintf("%d %s", r.ID, strings.ReplaceAll(r.String(), "svc:default/", "")))
	}
	return out
}

func TestLearn(t *testing.T) {
	type c = learn.Connection
	tests := []struct {
		name   string
		change func(*c)
		want   string // ports and applications; "" is nothing learned
	}{
		{"http", nil, "tcp/80 for http"},
		{"not to be learned", func(c *c) { c.Verdict = flow.Allow }, ""},
		{"refused", func(c *c) { c.Outcome, c.Answered = flow.OutcomeRefused, false }, ""},
		{"unanswered", func(c *c) { c.Outcome, c.Answered = flow.OutcomeOpening, false }, ""},
		{"denied", func(c *c) { c.Outcome = flow.OutcomeDenied }, ""},
		{"unanswered UDP", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Ended = 17, false, app.Unknown, flow.OutcomeUnanswered, true
		}, ""},
		{"unanswered UDP of an application", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Ended = 17, false, app.Syslog, flow.OutcomeUnanswered, true
		}, "udp/80 for syslog"},
		{"unanswered UDP of an application that answers", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Ended = 17, false, app.DNS, flow.OutcomeUnanswered, true
		}, ""},
		{"unanswered UDP that a socket receives", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Received = 17, false, app.Unknown, flow.OutcomeOpening, true
		}, "udp/80 for unknown"},
		{"the same, refused", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Received = 17, false, app.Unknown, flow.OutcomeRefused, true
		}, ""},
		{"the same of an application that may answer yet", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Received = 17, false, app.SNMP, flow.OutcomeOpening, true
		}, ""},
		{"the same of an application, over", func(c *c) {
			c.Proto, c.Answered, c.App, c.Outcome, c.Received, c.Ended = 17, false, app.SNMP, flow.OutcomeUnanswered, true, true
		}, "udp/80 for snmp"},
		{"one-sided TCP", func(c *c) { c.Answered, c.App, c.Outcome, c.Ended = false, app.Unknown, flow.OutcomeUnanswered, true }, ""},
		{"closed to learning", func(c *c) { c.Closed = true }, ""},
		{"the same when it may be answered yet", func(c *c) { c.Proto, c.Answered, c.App, c.Outcome = 17, false, app.DNS, flow.OutcomeOpening }, ""},
		{"the same when it was refused", func(c *c) { c.Proto, c.Answered, c.App, c.Outcome = 17, false, app.DNS, flow.OutcomeRefused }, ""},
		{"one direction of a tunnel", func(c *c) {
			c.Proto, c.Port, c.Answered, c.App, c.Outcome = 17, 4789, false, app.VXLAN, flow.OutcomeOpening
		}, ""},
		{"a tunnel with both directions", func(c *c) { c.Proto, c.Port, c.App = 17, 4789, app.VXLAN }, "udp/4789 for vxlan"},
		{"answered UDP", func(c *c) { c.Proto, c.App = 17, app.NTP }, "udp/80 for ntp"},
		{"unanswered ICMP", func(c *c) {
			c.Proto, c.Port, c.App, c.Answered, c.Outcome = 1, 0, app.Unknown, false, flow.OutcomeUnanswered
		}, ""},
		{"undecided", func(c *c) { c.App = app.Undecided }, ""},
		{"undecided to the end", func(c *c) { c.App, c.Ended = app.Undecided, true }, "tcp/80 for unknown"},
		{"unknown", func(c *c) { c.App = app.Unknown }, "tcp/80 for unknown"},
		{"icmp", func(c *c) { c.Proto, c.Port, c.App, c.Outcome = 1, 0, app.Unknown, 0 }, "icmp for any"},
		{"icmpv6", func(c *c) { c.Proto, c.Port, c.App, c.Outcome = 58, 0, app.Unknown, 0 }, "icmp for any"},
		{"sctp", func(c *c) { c.Proto, c.Port, c.App = 132, 3868, app.Undecided }, "sctp/3868 for any"},
		{"high port by handshake", func(c *c) { c.Port = 50051 }, "tcp/50051 for http"},
		{"high port by port", func(c *c) { c.Port, c.Evidence = 50051, flow.EvidencePort }, ""},
		{"high port by listener", func(c *c) { c.Port, c.Evidence = 50051, flow.EvidenceListener }, "tcp/50051 for http"},
		{"low port by port", func(c *c) { c.Evidence = flow.EvidencePort }, "tcp/80 for http"},
		{"UDP to a high port", func(c *c) { c.Proto, c.Port = 17, 50000 }, "udp/50000 for http"},
		{"UDP to a high port from a lower one", func(c *c) { c.Proto, c.Port, c.ClientPort = 17, 50000, 5353 }, "udp/50000 for http"},
		{"an answer taken for a question", func(c *c) { c.Proto, c.Port, c.ClientPort, c.Evidence = 17, 50000, 5353, flow.EvidencePort }, ""},
		{"UDP by port", func(c *c) { c.Proto, c.Port, c.ClientPort, c.Evidence = 17, 53, 50000, flow.EvidencePort }, ""},
		{"UDP by listener", func(c *c) { c.Proto, c.Port, c.ClientPort, c.Evidence = 17, 53, 50000, flow.EvidenceListener }, "udp/53 for http"},
		{"UDP by memory", func(c *c) { c.Proto, c.Port, c.ClientPort, c.Evidence = 17, 5060, 5060, flow.EvidenceMemory }, "udp/5060 for http"},
		{"ports that do not agree", func(c *c) { c.Port, c.ClientPort, c.Evidence = 8080, 9090, flow.EvidencePort }, ""},
		{"ports that agree", func(c *c) { c.Port, c.ClientPort, c.Evidence = 8080, 40000, flow.EvidencePort }, "tcp/8080 for http"},
		{"unknown ends", func(c *c) { c.From, c.To = model.External, model.Nodes }, ""},
		{"a user group", func(c *c) { c.From = "team-a" }, ""},
		{"any", func(c *c) { c.From = model.Any }, ""},
		{"unresolved", func(c *c) { c.To = "" }, ""},
		{"to multicast, unnamed", func(c *c) {
			c.To, c.Proto, c.Port, c.App, c.Answered, c.Outcome = model.Multicast, 17, 9999, app.Unknown, false, flow.OutcomeUnanswered
		}, "udp/9999 for unknown"},
		{"to multicast, spoofed", func(c *c) { c.To, c.Proto, c.Answered, c.Verdict = model.Multicast, 17, false, flow.Violate }, ""},
		{"to the metadata service", func(c *c) { c.To = model.Metadata }, "tcp/80 for http"},
		{"from outside", func(c *c) { c.From = model.External }, "tcp/80 for http"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := model.NewRules(nil, model.Order{})
			l := learn.New(rules)
			in := conn(tt.change)
			got := l.Learn([]learn.Connection{in, in}, 1)
			var want []string
			if tt.want != "" {
				want = []string{fmt.Sprintf("10001 allow from %s to %s on %s", strings.TrimPrefix(in.From, "svc:default/"), strings.TrimPrefix(in.To, "svc:default/"), tt.want)}
			}
			if d := cmp.Diff(brief(got), want); d != "" {
				t.Fatal(d)
			}
			if again := l.Learn([]learn.Connection{in}, 2); len(again) > 0 {
				t.Errorf("learned again: %v", brief(again))
			}
			for _, r := range got {
				if err := r.Validate(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestLossy: what is learned while frames were lost is marked, unless it was seen whole, too.
func TestLossy(t *testing.T) {
	lossy := func(port uint16) learn.Connection {
		return conn(func(c *learn.Connection) { c.Port, c.Lossy = port, true })
	}
	tests := []struct {
		name string
		in   []learn.Connection
		want string
	}{
		{"lost", []learn.Connection{lossy(80)}, learn.LossyComment},
		{"seen whole, too", []learn.Connection{lossy(80), conn(nil)}, ""},
		{"widened by it", []learn.Connection{conn(nil), lossy(81)}, learn.LossyComment},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := model.NewRules(nil, model.Order{})
			learn.New(rules).Learn(tt.in, 1)
			if got := rules.All(); len(got) != 1 || got[0].Comment != tt.want {
				t.Errorf("got %q of %v, want %q", got[0].Comment, brief(got), tt.want)
			}
		})
	}
}

// TestStable: what comes together is learned alike in any order, and a restart continues.
func TestStable(t *testing.T) {
	var traffic []learn.Connection
	for _, to := range []string{"api", "db", "cache"} {
		for _, id := range []app.ID{app.HTTP, app.Redis, app.Unknown} {
			for _, port := range []uint16{80, 81} {
				traffic = append(traffic, conn(func(c *learn.Connection) { c.To, c.App, c.Port = "svc:default/"+to, id, port }))
			}
		}
	}
	var want []string
	r := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		r.Shuffle(len(traffic), func(i, j int) { traffic[i], traffic[j] = traffic[j], traffic[i] })
		rules := model.NewRules(nil, model.Order{})
		learn.New(rules).Learn(traffic, 1)
		if want == nil {
			want = brief(rules.All())
		}
		if d := cmp.Diff(brief(rules.All()), want); d != "" {
			t.Fatal(d)
		}
		again := model.NewRules(rules.All(), rules.Order())
		if got := learn.New(again).Learn(traffic, 2); len(got) > 0 {
			t.Fatalf("after a restart: %v", brief(got))
		}
	}
}

// TestDeletedIsLearnedAgain: a rule that a user deletes is learned again with a new id.
func TestDeletedIsLearnedAgain(t *testing.T) {
	rules := model.NewRules(nil, model.Order{})
	l := learn.New(rules)
	l.Learn([]learn.Connection{conn(nil)}, 1)
	if _, err := rules.Delete(10001); err != nil {
		t.Fatal(err)
	}
	rules = model.NewRules(rules.All(), rules.Order())
	want := []string{"10002 allow from web to api on tcp/80 for http"}
	if d := cmp.Diff(brief(learn.New(rules).Learn([]learn.Connection{conn(nil)}, 1)), want); d != "" {
		t.Error(d)
	}
}
