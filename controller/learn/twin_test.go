package learn_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

// TestBothTransports: a rule for a protocol that changes its transport by itself has both, and its comment
// states why; one for QUIC has the TLS that its clients fall back to beside it.
func TestBothTransports(t *testing.T) {
	for _, tt := range []struct {
		name string
		seen func(*c)
		want []string
		why  string
	}{
		{"dns over udp", func(c *c) { c.Proto, c.Port, c.App = 17, 53, app.DNS }, []string{"10001 allow from web to api on tcp/53, udp/53 for dns"}, "dns uses both transports of its port"},
		{"dns over tcp", func(c *c) { c.Port, c.App = 53, app.DNS }, []string{"10001 allow from web to api on tcp/53, udp/53 for dns"}, "dns uses both transports of its port"},
		{"sip", func(c *c) { c.Proto, c.Port, c.App = 17, 5060, app.SIP }, []string{"10001 allow from web to api on tcp/5060, udp/5060 for sip"}, "sip uses both transports of its port"},
		{"quic", func(c *c) { c.Proto, c.Port, c.App = 17, 443, app.HTTP3 }, []string{"10001 allow from web to api on tcp/443 for tls", "10002 allow from web to api on udp/443 for http3"}, learn.TLSComment},
		{"tls", func(c *c) { c.Port, c.App = 443, app.TLS }, []string{"10001 allow from web to api on tcp/443 for tls"}, ""},
		{"mdns", func(c *c) {
			c.To, c.Proto, c.Port, c.App, c.Answered, c.Outcome = model.Multicast, 17, 5353, app.MDNS, false, flow.OutcomeUnanswered
		}, []string{"10001 allow from web to multicast on udp/5353 for mdns"}, ""},
		{"llmnr", func(c *c) {
			c.To, c.Proto, c.Port, c.App, c.Answered, c.Outcome = model.Multicast, 17, 5355, app.LLMNR, false, flow.OutcomeUnanswered
		}, []string{"10001 allow from web to multicast on udp/5355 for llmnr"}, ""},
	} {
		rules := model.NewRules(nil, model.Order{})
		l := learn.New(rules)
		l.Learn([]c{conn(tt.seen)}, 1)
		got := rules.All()
		if d := cmp.Diff(brief(got), tt.want); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
		if len(got) > 0 && got[0].Comment != tt.why {
			t.Errorf("%s: comment %q, want %q", tt.name, got[0].Comment, tt.why)
		}
		if again := l.Learn([]c{conn(tt.seen)}, 2); len(again) > 0 {
			t.Errorf("%s: learned again: %v", tt.name, brief(again))
		}
	}
}

// TestOtherTransportNarrowsNothing: what was not seen takes no port from a rule for any application.
func TestOtherTransportNarrowsNothing(t *testing.T) {
	rules := model.NewRules(nil, model.Order{})
	l := learn.New(rules)
	l.Learn([]c{conn(func(c *c) { c.Port, c.App, c.Midstream = 53, app.Unknown, true })}, 1)
	l.Learn([]c{conn(func(c *c) { c.Proto, c.Port, c.App = 17, 53, app.DNS })}, 2)
	if got := brief(rules.All()); !slices.ContainsFunc(got, func(s string) bool { return strings.HasSuffix(s, "tcp/53 for any") }) {
		t.Errorf("got %v", got)
	}
}
