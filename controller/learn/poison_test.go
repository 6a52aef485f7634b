package learn_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicenet/sluice/controller/learn"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
)

type c = learn.Connection

// host returns an address of a server; every second one is of IPv6.
func host(n int) netip.Addr {
	if n%2 == 1 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(n >> 8), 15: byte(n)})
	}
	return netip.AddrFrom4([4]byte{10, 7, byte(n >> 8), byte(n)})
}

// try is a connection of a source to one of many targets.
func try(source string, n int, port uint16, answered bool) c {
	return conn(func(c *c) {
		c.Source, c.Server, c.Port, c.Answered = source, host(n), port, answered
		if !answered {
			c.App, c.Outcome = app.Undecided, flow.OutcomeUnanswered
			if n%3 == 0 {
				c.Outcome = flow.OutcomeRefused
			}
		}
	})
}

// asides is what is set aside in a line each.
func asides(l *learn.Learner) []string {
	var out []string
	for _, a := range l.Asides() {
		out = append(out, strings.ReplaceAll(fmt.Sprintf("%s %s: %s", a.Cause, a.Source, a.Rule.String()), "svc:default/", ""))
	}
	return out
}

// TestManyPorts: whatever ports are learned, a rule never is for every port of a protocol, nor for another
// protocol; those of a range become ranges, others are set aside.
func TestManyPorts(t *testing.T) {
	for _, tt := range []struct {
		name      string
		ports     func(i int) int
		n         int
		aside     bool
		wantRange bool
	}{
		{"few", func(i int) int { return 1 + 3*i }, learn.MaxPorts, false, false},
		{"low ones", func(i int) int { return 1 + 40*i }, learn.MaxPorts + 3, true, false},
		{"far apart", func(i int) int { return 1500 + 2500*i }, learn.MaxPorts + 5, true, false},
		{"passive FTP", func(i int) int { return 30000 + i*37%101 }, 101, false, true},
		{"RTP", func(i int) int { return 10000 + i*7919%10000&^1 }, 400, false, true},
		{"RPC in the ephemeral range", func(i int) int { return 32768 + i*104729%28232 }, 400, false, true},
	} {
		for _, proto := range []uint8{6, 17} {
			rules := model.NewRules(nil, model.Order{})
			l := learn.New(rules)
			for i := range tt.n {
				l.Learn([]c{conn(func(c *c) { c.Proto, c.Port = proto, uint16(tt.ports(i)) })}, 1)
			}
			got := rules.All()
			if len(got) != 1 || len(got[0].Ports) > learn.MaxPorts || got[0].AnyPort() {
				t.Fatalf("%s: got %v", tt.name, brief(got))
			}
			ranges := slices.ContainsFunc(got[0].Ports, func(p model.Port) bool { return p.Lo < p.Hi })
			if len(l.Asides()) > 0 != tt.aside || ranges != tt.wantRange {
				t.Errorf("%s: got %v and aside %v", tt.name, brief(got), asides(l))
			}
			for _, p := range got[0].Ports {
				if p.Proto != proto {
					t.Errorf("%s: port %s of another protocol", tt.name, p)
				}
			}
			for i := range tt.n { // in force, or shown
				one := func(p model.Port) bool {
					return p.Proto == proto && int(p.Lo) <= tt.ports(i) && tt.ports(i) <= int(p.Hi)
				}
				shown := slices.ContainsFunc(l.Asides(), func(a model.Aside) bool { return slices.ContainsFunc(a.Rule.Ports, one) })
				if !shown && !slices.ContainsFunc(got[0].Ports, one) {
					t.Fatalf("%s: port %d is nowhere", tt.name, tt.ports(i))
				}
			}
		}
	}
}

// TestScan: what a source teaches while it scans is set aside, what it taught just before, too.
func TestScan(t *testing.T) {
	const failing = learn.ScanTargets + 10
	tests := []struct {
		name  string
		steps func() [][]c
		rules []string
		aside []string
	}{
		{"ports of one server", func() [][]c {
			s := []c{try("evil", 1, 443, true)}
			for p := range failing {
				s = append(s, try("evil", 1, uint16(1000+p), false))
			}
			return [][]c{s}
		}, nil, []string{"scan evil: allow from web to api on tcp/443 for http"}},
		{"many servers, found before it was a scan", func() [][]c {
			s := [][]c{{try("evil", 1, 22, true)}}
			for n := range failing {
				s = append(s, []c{try("evil", 2+n, 22, false)})
			}
			return append(s, []c{try("evil", 1, 23, true)})
		}, nil, []string{"scan evil: allow from web to api on tcp/22, tcp/23 for http"}},
		{"another replica uses the same", func() [][]c {
			s := [][]c{{try("evil", 1, 22, true), try("good", 1, 22, true)}, {try("evil", 1, 23, true)}}
			for n := range failing {
				s = append(s, []c{try("evil", 2+n, 22, false)})
			}
			return s
		}, []string{"10001 allow from web to api on tcp/22 for http"}, []string{"scan evil: allow from web to api on tcp/23 for http"}},
		{"another replica uses it later", func() [][]c {
			s := []c{try("evil", 1, 443, true)}
			for p := range failing {
				s = append(s, try("evil", 1, uint16(1000+p), false))
			}
			return [][]c{s, {try("good", 1, 443, true)}}
		}, []string{"10002 allow from web to api on tcp/443 for http"}, nil},
		{"where nothing may be learned", func() [][]c {
			s := []c{try("evil", 1, 443, true)}
			for p := range failing {
				x := try("evil", 1, uint16(1000+p), false)
				x.Closed = true
				s = append(s, x)
			}
			return [][]c{s}
		}, nil, []string{"scan evil: allow from web to api on tcp/443 for http"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := model.NewRules(nil, model.Order{})
			l := learn.New(rules)
			for _, s := range tt.steps() {
				l.Learn(s, 1e9)
			}
			if d := cmp.Diff(tt.rules, brief(rules.All())); d != "" {
				t.Errorf("rules: %s", d)
			}
			if d := cmp.Diff(tt.aside, asides(l)); d != "" {
				t.Errorf("set aside: %s", d)
			}
			again := learn.New(model.NewRules(rules.All(), rules.Order()))
			again.Restore(l.Asides())
			if d := cmp.Diff(asides(l), asides(again)); d != "" {
				t.Errorf("after a restart: %s", d)
			}
		})
	}
}

// TestNoScan: many clients, many targets and some failures are no scan.
func TestNoScan(t *testing.T) {
	for name, traffic := range map[string]func() []c{
		"500 clients of one service": func() (s []c) {
			for n := range 500 {
				s = append(s, try(fmt.Sprint("client", n), 1, 443, true), try(fmt.Sprint("client", n), 1, 80, n%4 == 0))
			}
			return s
		},
		"1,000 targets of which a tenth is down": func() (s []c) {
			for n := range 1000 {
				s = append(s, try("monitoring", n, 9100, n%10 != 0))
			}
			return s
		},
		"one target that is down, tried all the time": func() (s []c) {
			for range 500 {
				s = append(s, try("web", 1, 5432, false))
			}
			return append(s, try("web", 1, 80, true))
		},
		"syslog without an answer": func() (s []c) {
			for n := range 200 {
				s = append(s, conn(func(c *c) {
					c.Source, c.Server, c.Proto, c.Port, c.App, c.Answered, c.Outcome = "web", host(n), 17, 514, app.Syslog, false, flow.OutcomeUnanswered
				}))
			}
			return s
		},
	} {
		rules := model.NewRules(nil, model.Order{})
		l := learn.New(rules)
		for _, x := range traffic() { // each by itself, as worst case
			l.Learn([]c{x}, 1e9)
		}
		if len(l.Asides()) > 0 || rules.Len() == 0 {
			t.Errorf("%s: set aside %v, rules %v", name, asides(l), brief(rules.All()))
		}
	}
}

// TestDecide: a proposal that is accepted joins the rule for the same; one that is dropped is gone.
func TestDecide(t *testing.T) {
	rules := model.NewRules(nil, model.Order{})
	l := learn.New(rules)
	for i := range learn.MaxPorts + 2 {
		l.Learn([]c{conn(func(c *c) { c.Port = uint16(1 + 40*i) })}, 1)
	}
	list := l.Asides()
	if len(list) != 1 || len(list[0].Rule.Ports) != 2 {
		t.Fatalf("got %v", asides(l))
	}
	l.TakeAsides()
	if _, err := l.Accept(list[0].Rule.ID + 1); err == nil {
		t.Error("one that does not exist was accepted")
	}
	r, err := l.Accept(list[0].Rule.ID)
	if err != nil || r.ID != 10001 || len(r.Ports) != learn.MaxPorts+2 || len(l.Asides()) > 0 || !slices.Equal(l.TakeAsides(), []uint32{list[0].Rule.ID}) {
		t.Errorf("got %v, %v, still aside %v", r.String(), err, asides(l))
	}
	l.Learn([]c{conn(func(c *c) { c.Port = 1000 })}, 1)
	if list = l.Asides(); len(list) != 1 {
		t.Fatalf("got %v", asides(l))
	}
	if _, err := l.Drop(list[0].Rule.ID); err != nil || len(l.Asides()) > 0 {
		t.Errorf("got %v, still aside %v", err, asides(l))
	}
}

// TestAsidesAreBounded: proposals of one group are bounded, and so are those of all.
func TestAsidesAreBounded(t *testing.T) {
	l := learn.New(model.NewRules(nil, model.Order{}))
	for g := range 10 {
		var s []c
		source := fmt.Sprint("evil", g)
		for n := range 400 {
			x := try(source, n, 22, false)
			s = append(s, x)
		}
		for n := range 300 {
			x := try(source, n, 80, true)
			x.From, x.To = fmt.Sprint("svc:default/evil", g), fmt.Sprint("svc:default/s", n)
			s = append(s, x)
		}
		l.Learn(s, 1e9)
	}
	if got := len(l.Asides()); got != 1000 || l.AsidesLost() != 2000 {
		t.Errorf("got %d proposals, %d lost", got, l.AsidesLost())
	}
}

// TestWide: rules to outside are wide, and show the names that were seen.
func TestWide(t *testing.T) {
	rules := model.NewRules(nil, model.Order{})
	l := learn.New(rules)
	for i, name := range []string{"api.vendor.example", "API.vendor.example:443.", "\x1b[31mevil", "b.example", strings.Repeat("a", 300)} {
		l.Learn([]c{conn(func(c *c) { c.To, c.Name, c.Server = model.External, name, host(i) })}, 1)
	}
	l.Learn([]c{conn(func(c *c) { c.To = model.Metadata })}, 1)
	l.Learn([]c{conn(func(c *c) { c.Name = "inside.example" })}, 1)
	got := rules.All()
	if len(got) != 3 || !got[0].Wide() || !got[1].Wide() || got[2].Wide() || got[2].Names != nil {
		t.Fatalf("got %v", brief(got))
	}
	if d := cmp.Diff([]string{"api.vendor.example", "b.example"}, got[0].Names); d != "" {
		t.Error(d)
	}
}
