package field

import "testing"

func testModel() *model {
	m := newModel(func(node string) string { return node })
	m.running = true
	return m
}

func TestModelModes(t *testing.T) {
	y := wayOf([]string{"a", "b", "tcp4", "9000", "raw"})
	for _, c := range []struct {
		name, a, b string
		running    bool
		want       expectation
	}{
		{"discover", "discover", "discover", true, must},
		{"monitor", "monitor", "discover", true, must},
		{"the client's end", "protect", "discover", true, mustNot},
		{"the server's end", "monitor", "protect", true, mustNot},
		{"not running", "protect", "protect", false, must},
	} {
		m := testModel()
		m.running, m.modes["a"], m.modes["b"] = c.running, c.a, c.b
		if got := m.judge(y); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	m := testModel()
	m.modes["b"] = "protect"
	if got := m.judge(wayOf([]string{"a", "out", "tcp4", "9000", "raw"})); got != must {
		t.Errorf("another's mode counts: %v", got)
	}
}

func TestModelRules(t *testing.T) {
	m := testModel()
	m.first = "protect"
	allow := func(from, to, port string, apps ...string) rule {
		return rule{From: from, To: to, Action: "allow", Ports: []string{port}, Apps: apps}
	}
	deny := func(from, to, port string, apps ...string) rule {
		r := allow(from, to, port, apps...)
		r.Action = "deny"
		return r
	}
	const a, b = "svc:default/a", "svc:default/b"
	for _, c := range []struct {
		name, way string
		rules     []rule
		want      expectation
	}{
		{"none", "a b tcp4 9000 raw", nil, mustNot},
		{"its port", "a b tcp6 9000 raw", []rule{allow(a, b, "tcp/9000")}, must},
		{"a range", "a b udp6 9000 raw", []rule{allow(a, b, "udp/8999-9001")}, must},
		{"another transport", "a b udp4 9000 raw", []rule{allow(a, b, "tcp/9000")}, mustNot},
		{"the other direction", "b a tcp4 9000 raw", []rule{allow(a, b, "tcp/9000")}, mustNot},
		{"a UDP client's port on both sides", "a b udp4 50051 raw", []rule{allow(b, a, "any")}, either},
		{"the same, and another application", "a b udp4 50051 raw", []rule{allow(b, a, "any", "http")}, mustNot},
		{"a service's port over UDP", "a b udp4 9000 raw", []rule{allow(b, a, "any", "http")}, mustNot},
		{"equal UDP ports", "a b udp4 9000 raw 9000", []rule{allow(b, a, "udp/9000")}, either},
		{"UDP in mid-stream, perhaps", "a b udp4 9000 raw", []rule{allow(a, b, "any", "http")}, mustNot},
		{"equal UDP ports and another application", "a b udp6 9000 raw 9000", []rule{allow(b, a, "udp/9000", "http")}, mustNot},
		{"any", "c out udp4 50051 raw", []rule{allow("any", "external", "any", "any")}, must},
		{"its application", "a b tcp4 9000 http", []rule{allow(a, b, "tcp/9000", "http")}, must},
		{"another application", "a b tcp4 9000 redis", []rule{allow(a, b, "tcp/9000", "http")}, mustNot},
		{"no application", "a b tcp4 9000 raw", []rule{allow(a, b, "tcp/9000", "http")}, mustNot},
		{"unknown", "a b tcp4 9000 raw", []rule{allow(a, b, "tcp/9000", "unknown")}, must},
		{"the first decides", "a b tcp4 9000 http", []rule{deny(a, b, "any", "http"), allow(a, b, "any")}, mustNot},
		{"a denied application is another", "a b tcp4 9000 redis", []rule{deny(a, b, "any", "http"), allow(a, b, "any")}, must},
	} {
		m.rules = c.rules
		s, err := parse("try " + c.way)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.judge(wayOf(s[0][1:])); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestModelFlows(t *testing.T) {
	m := testModel()
	f := &flow{way: wayOf([]string{"a", "b", "tcp4", "9000", "raw"})}
	at := func(when string, want expectation) {
		t.Helper()
		m.changed(f)
		if got := m.judgeFlow(f); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	at("in discover", must)
	m.modes["b"] = "protect"
	at("refused at the switch", mustNot)
	m.modes["b"] = "monitor"
	at("refused once", either)
	f.refused, f.midstream = false, true
	m.modes["b"], m.rules = "protect", []rule{{From: "any", To: "any", Action: "allow", Ports: []string{"any"}, Apps: []string{"unknown"}}}
	at("a mid-stream of no name", either)
	m.rules[0].Apps = nil
	at("a mid-stream that a rule for any application allows", must)
}
