package field

import (
	"slices"
	"strconv"
	"strings"
)

// expectation is what the model says of an attempt to exchange data.
type expectation int

const (
	either  expectation = iota // no statement
	must                       // the application at the other end gets it, and answers
	mustNot                    // no byte of it is delivered
)

func (e expectation) String() string { return [...]string{"either", "must pass", "must not pass"}[e] }

// rule is one of the rules of `sluice rules -o json`.
type rule struct {
	ID                       int
	From, To, Action, Origin string
	Ports, Apps              []string
	Disabled                 bool
}

// model is what ought to be in force: the documented meaning of modes and rules, and no code of the product.
type model struct {
	running bool              // Sluice runs and is not stopped by a signal
	first   string            // mode of groups seen for the first time
	modes   map[string]string // by service
	rules   []rule            // in their order
	service func(node string) string
	cut     func(node string) bool // reports whether its first interface is down
}

func newModel(service func(string) string) *model {
	return &model{first: "discover", modes: map[string]string{}, service: service, cut: func(string) bool { return false }}
}

// group is the group of a node: its service, or "external".
func (m *model) group(node string) string {
	if node == outside {
		return "external"
	}
	return "svc:default/" + m.service(node)
}

// mode is the mode of a node's group.
func (m *model) mode(node string) string {
	if mode, ok := m.modes[m.service(node)]; ok {
		return mode
	}
	return m.first
}

func (r rule) matches(from, to, network string, port int) bool {
	return (r.From == "any" || r.From == from) && (r.To == "any" || r.To == to) && !r.Disabled &&
		(len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p string) bool { return covers(p, network, port) }))
}

// covers reports whether a port as rules have it (any, tcp/80, udp/1-9) is for a network and port.
func covers(p, network string, port int) bool {
	if p == "any" {
		return true
	}
	proto, numbers, _ := strings.Cut(p, "/")
	if !strings.HasPrefix(network, proto) {
		return false
	}
	low, high, isRange := strings.Cut(numbers, "-")
	if !isRange {
		high = low
	}
	l, lerr := strconv.Atoi(low)
	h, herr := strconv.Atoi(high)
	return lerr == nil && herr == nil && l <= port && port <= h
}

// application is the name that rules have for what a flow carries.
func application(app string) string {
	if app == "raw" {
		return "unknown"
	}
	return app
}

// allows reports whether the rules allow a way, and whether the answer depended on the application.
func (m *model) allows(y way) (ok, byApp bool) {
	from, _, _ := strings.Cut(y.from, "/")
	to, _, _ := strings.Cut(y.to, "/")
	for _, r := range m.rules {
		if !r.matches(m.group(from), m.group(to), y.network, y.port) {
			continue
		}
		if len(r.Apps) == 0 || slices.Contains(r.Apps, "any") {
			return r.Action == "allow", byApp
		}
		byApp = true
		if slices.Contains(r.Apps, application(y.app)) {
			return r.Action == "allow", byApp
		}
	}
	return false, byApp
}

// judge returns what becomes of data on a new connection of a way, once everything is settled.
func (m *model) judge(y way) expectation {
	from, _, _ := strings.Cut(y.from, "/")
	to, _, _ := strings.Cut(y.to, "/")
	if !m.running || !m.protects(from) && !m.protects(to) {
		return must
	}
	if ok, _ := m.allows(y); ok {
		return must
	}
	if m.turns(y) {
		return either
	}
	return mustNot
}

// turns reports whether a rule for any application allows the other orientation of a conversation over UDP that may have
// begun before Sluice saw it, and nothing shows which end asks: both ports are of those that Linux gives to clients, or the
// same (decision 26).
func (m *model) turns(y way) bool {
	const dynamic = 32768
	if y.tcp() || y.app != "raw" || y.port < dynamic && y.source != y.port {
		return false
	}
	from, _, _ := strings.Cut(y.from, "/")
	to, _, _ := strings.Cut(y.to, "/")
	return slices.ContainsFunc(m.rules, func(r rule) bool {
		return r.Action == "allow" && r.matches(m.group(to), m.group(from), y.network, y.source) &&
			(len(r.Apps) == 0 || slices.Contains(r.Apps, "any") || slices.Contains(r.Apps, "unknown"))
	})
}

// lenient reports whether a rule that asks for another application allows what carries none that is known, as it does
// in mid-stream of a connection. The applications of these rules are never in datagrams, so what is in mid-stream over
// UDP is not of theirs, in either orientation (decision 26).
func (m *model) lenient(y way) bool {
	if y.app != "raw" || !y.tcp() {
		return false
	}
	from, _, _ := strings.Cut(y.from, "/")
	to, _, _ := strings.Cut(y.to, "/")
	return slices.ContainsFunc(m.rules, func(r rule) bool {
		return r.Action == "allow" && r.matches(m.group(from), m.group(to), y.network, y.port)
	})
}

// reaches reports whether the network leads from end to end.
func (m *model) reaches(y way) bool {
	from, _, _ := strings.Cut(y.from, "/")
	to, _, _ := strings.Cut(y.to, "/")
	return !m.cut(from) && !m.cut(to)
}

func (m *model) protects(node string) bool { return node != outside && m.mode(node) == "protect" }

// judgeFlow is judge for data on an open flow.
func (m *model) judgeFlow(f *flow) expectation {
	if f.doubt {
		return either
	}
	e := m.judge(f.way)
	if e == must && (f.refused || f.broken) {
		return either
	}
	if e == mustNot && f.midstream && m.lenient(f.way) {
		return either
	}
	// What is not identified in mid-stream may be anything, to a rule that asks for the application.
	if _, byApp := m.allows(f.way); e == must && byApp && f.app == "raw" && f.midstream {
		return either
	}
	return e
}

// changed takes note of what became of a flow by a change of policy.
func (m *model) changed(f *flow) {
	if m.judge(f.way) != must {
		f.refused = true
	}
}
