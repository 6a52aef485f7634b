package field

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is what a row of `sluice connections` is about.
type kind struct {
	From, To, Proto, Family string
	Port                    int
}

// row is a row of `sluice connections -o json`.
type row struct {
	kind
	Verdict  string
	Sessions int
	Outcomes map[string]int // more than one
}

// accounts are what the reports have to agree with.
type accounts struct {
	passed   map[kind]bool // connections that were seen to pass
	refused  map[kind]bool // attempts that were refused
	doubtful map[kind]bool // what may have been refused
	opened   map[kind]int  // TCP connections
	taught   []way         // what has to become a rule
}

func newAccounts() *accounts {
	return &accounts{map[kind]bool{}, map[kind]bool{}, map[kind]bool{}, map[kind]int{}, nil}
}

// forgive makes the reports owe nothing: those of the last second are lost.
func (c *accounts) forgive() {
	*c = accounts{map[kind]bool{}, map[kind]bool{}, c.doubtful, nil, nil}
}

// kindOf is the row that a flow of a way belongs to.
func (r *runner) kindOf(y way) kind {
	k := kind{Proto: y.network[:3], Family: "ipv" + y.network[3:], Port: y.port}
	name := func(end string) string {
		if n, a := r.w.end(end, y.network); n != nil && n.name == outside {
			return a.String()
		}
		end, _, _ = strings.Cut(end, "/")
		return end
	}
	k.From, k.To = name(y.from), name(y.to)
	return k
}

// account keeps what attempts have to leave in the reports.
func (r *runner) account(all []*attempt) {
	for _, a := range all {
		k := r.kindOf(a.way)
		// A UDP session outlives its socket, and may be refused by a later policy.
		if a.want != must || !a.tcp() {
			r.c.doubtful[k] = true
		}
		if r.c.opened != nil && a.id == "" && a.tcp() {
			r.c.opened[k]++
		}
		if !r.m.running || a.id != "" {
			continue
		}
		switch {
		case a.want == must && a.err == nil:
			r.c.passed[k] = true
			if r.teaches(a.way) {
				r.c.taught = append(r.c.taught, a.way)
			}
		case a.want == mustNot && a.tcp() && r.m.reaches(a.way):
			r.c.refused[k] = true
		}
	}
}

// teaches reports whether a connection that passed has to become a rule: all its ends learn.
func (r *runner) teaches(y way) bool {
	if !y.tcp() {
		return false
	}
	for _, end := range []string{y.from, y.to} {
		if name, _, _ := strings.Cut(end, "/"); name != outside && r.m.mode(name) != "discover" {
			return false
		}
	}
	return true
}

// How long reports and rules may take, on a busy machine.
const (
	reportTime = 15 * time.Second
	learnTime  = 40 * time.Second
)

// within repeats a check until it finds nothing wrong.
func within(limit time.Duration, check func() (string, error)) (string, error) {
	for end := time.Now().Add(limit); ; time.Sleep(250 * time.Millisecond) {
		if wrong, err := check(); err != nil || wrong == "" || time.Now().After(end) {
			return wrong, err
		}
	}
}

// report compares the rows of connections with what happened.
func (r *runner) report(step) (*difference, error) {
	if !r.up() {
		return nil, nil
	}
	wrong, err := within(reportTime, r.rowsDiffer)
	if err != nil || wrong == "" {
		return nil, err
	}
	return &difference{kind: "report", text: wrong, at: r.at}, nil
}

func (r *runner) rowsDiffer() (string, error) {
	out, err := r.d.do("connections", "-o", "json")
	if err != nil {
		return "", err
	}
	var rows []row
	if err := json.Unmarshal(out, &rows); err != nil {
		return "", err
	}
	seen, denied, sessions := map[kind]bool{}, map[kind]bool{}, map[kind]int{}
	for _, c := range rows {
		sessions[c.kind] += c.Sessions
		if c.Verdict == "deny" {
			denied[c.kind] = true
		}
		if c.Verdict != "deny" || c.Outcomes["closed"]+c.Outcomes["reset"]+c.Outcomes["established"] > 0 {
			seen[c.kind] = true
		}
	}
	return r.c.compare(seen, denied, sessions), nil
}

// compare returns what rows lack, or have and should not.
func (c *accounts) compare(seen, denied map[kind]bool, sessions map[kind]int) string {
	for k := range c.passed {
		// A UDP socket's flow may be refused later, and its row with it.
		if !seen[k] && !(k.Proto == "udp" && denied[k]) {
			return fmt.Sprintf("no row for what passed: %+v", k)
		}
	}
	for k := range c.refused {
		if !denied[k] {
			return fmt.Sprintf("no row for what was refused: %+v", k)
		}
	}
	for k := range denied {
		// A workload that is gone may be shown by its address.
		if !c.doubtful[k] && slices.Contains(ports, k.Port) && named(k.From) && named(k.To) {
			return fmt.Sprintf("a row for a refusal that was none: %+v", k)
		}
	}
	for k, n := range c.opened {
		if sessions[k] > n {
			return fmt.Sprintf("%d sessions for %d connections: %+v", sessions[k], n, k)
		}
	}
	return ""
}

// named reports whether an end of a row is one of the world's.
func named(end string) bool {
	return slices.Contains(names, end) || end == "192.0.2.2" || end == "2001:db8::2"
}

// learned waits until everything that passed between learning ends has a rule that allows it.
func (r *runner) learned(step) (*difference, error) {
	if !r.up() {
		return nil, nil
	}
	var last way
	wrong, err := within(learnTime, func() (string, error) {
		if err := r.readRules(); err != nil {
			return "", err
		}
		for _, y := range r.c.taught {
			if ok, _ := r.m.allows(y); !ok {
				last = y
				return "not learned: " + y.String(), nil
			}
		}
		return "", nil
	})
	if err != nil || wrong == "" {
		return nil, err
	}
	return &difference{kind: "learn", text: wrong, at: r.at, way: &last}, nil
}
