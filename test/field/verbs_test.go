package field

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// verbs are the steps there are.
var verbs map[string]func(*runner, step) (*difference, error)

// allVerbs is a function as the steps refer to each other.
func allVerbs() map[string]func(*runner, step) (*difference, error) {
	all := map[string]func(*runner, step) (*difference, error){
		"start":  (*runner).start,                  // start MODE: start Sluice
		"stop":   signal(syscall.SIGTERM),          // end Sluice in order
		"kill":   signal(syscall.SIGKILL),          // kill -9
		"pause":  signal(syscall.SIGSTOP),          //
		"resume": signal(syscall.SIGCONT),          //
		"mode":   command(2, (*runner).setMode),    // mode NODE|all MODE
		"allow":  command(3, (*runner).addRule),    // allow FROM TO PORT|any [APP]
		"deny":   command(3, (*runner).addRule),    // deny FROM TO PORT|any [APP]
		"unrule": command(1, (*runner).deleteRule), // unrule N: delete the Nth rule that the script added
		"open":   (*runner).open,                   // open ID FROM TO NETWORK PORT APP [SOURCE]: connect, one exchange
		"idle":   (*runner).open,                   // idle ID FROM TO NETWORK PORT APP [SOURCE]: connect only
		"send":   (*runner).send,                   // send ID|all: an exchange on an open flow
		"close":  (*runner).closeFlow,              // close ID
		"try":    (*runner).tryOne,                 // try FROM TO NETWORK PORT APP: a new connection
		"probe":  (*runner).probe,                  // probe PORT APP: everybody to everybody, in all transports
		"wait":   (*runner).wait,                   // wait SECONDS
	}
	all["half"] = (*runner).half       // half ID: the client closes its half of a TCP connection
	all["report"] = (*runner).report   // report: the rows of connections agree with what happened
	all["show"] = (*runner).show       // show: what the commands list goes into the report
	all["learned"] = (*runner).learned // learned: what passed between learning ends is allowed by rules
	maps.Copy(all, networkVerbs())
	return all
}

// signal makes the step that sends a signal to Sluice.
func signal(s syscall.Signal) func(*runner, step) (*difference, error) {
	return func(r *runner, _ step) (*difference, error) {
		if r.d.cmd == nil || s != syscall.SIGKILL && r.paused != (s == syscall.SIGCONT) {
			return nil, nil
		}
		time.Sleep(time.Until(r.settled)) // groups that were found a moment ago are not stored yet
		if err := r.d.signal(s); err != nil {
			return nil, err
		}
		r.paused = s == syscall.SIGSTOP
		if r.c.taught = nil; s != syscall.SIGTERM {
			r.c.forgive()
		}
		r.m.running = s == syscall.SIGCONT
		if r.m.running {
			r.crossed()
		}
		return nil, r.change(settleStart)
	}
}

// crossed marks flows that Sluice did not see the whole of.
func (r *runner) crossed() {
	for _, f := range r.flows {
		f.midstream = true
	}
}

func (r *runner) start(s step) (*difference, error) {
	if r.d.cmd != nil {
		return nil, nil
	}
	mode := s.arg(0)
	if err := r.d.start(mode); err != nil {
		return nil, err
	}
	r.m.running, r.m.first = true, mode
	for _, n := range r.w.nodes {
		if n.name != outside && r.m.modes[n.service] == "" {
			r.m.modes[n.service] = mode
		}
	}
	r.crossed()
	return nil, r.change(settleStart)
}

// command makes the step that runs a command of Sluice's, with so many arguments at least.
func command(least int, do func(*runner, step) error) func(*runner, step) (*difference, error) {
	return func(r *runner, s step) (*difference, error) {
		if !r.up() || len(s) < least+1 {
			return nil, nil
		}
		if err := do(r, s); err != nil {
			return nil, err
		}
		return nil, r.change(settleCommand)
	}
}

func (r *runner) setMode(s step) error {
	services := []string{}
	for _, n := range r.w.nodes {
		if n.name != outside && (s.arg(0) == "all" || n.name == s.arg(0)) {
			services = append(services, n.service)
		}
	}
	if len(services) == 0 {
		return nil
	}
	slices.Sort(services)
	_, err := r.d.do(append(append([]string{"mode", "set"}, slices.Compact(services)...), s.arg(1))...)
	for _, name := range services {
		r.m.modes[name] = s.arg(1)
	}
	r.c.taught = nil // what was on its way may not be learned any more
	return err
}

// name is what rules call a node, or "any".
func (r *runner) name(node string) string {
	switch n := r.w.nodes[node]; {
	case node == outside:
		return "external"
	case n == nil:
		return "any"
	default:
		return n.service
	}
}

func (r *runner) addRule(s step) error {
	before := r.ids()
	args := []string{"rules", "add", "--action", s[0], "--from", r.name(s.arg(0)), "--to", r.name(s.arg(1)), "--ports", s.arg(2)}
	if s.arg(3) != "" {
		args = append(args, "--apps", s.arg(3))
	}
	if _, err := r.d.do(args...); err != nil {
		return err
	}
	if err := r.readRules(); err != nil {
		return err
	}
	for _, id := range r.ids() {
		if !slices.Contains(before, id) {
			r.added = append(r.added, id)
		}
	}
	return nil
}

// ids are those of the rules that users added.
func (r *runner) ids() (ids []int) {
	for _, rule := range r.m.rules {
		if rule.Origin == "user" {
			ids = append(ids, rule.ID)
		}
	}
	return ids
}

func (r *runner) deleteRule(s step) error {
	n, err := strconv.Atoi(s.arg(0))
	if err != nil || n < 0 || n >= len(r.added) || !slices.Contains(r.ids(), r.added[n]) {
		return nil //nolint:nilerr // a rule that is not there is not deleted
	}
	_, err = r.d.do("rules", "delete", strconv.Itoa(r.added[n]))
	return err
}

func (r *runner) open(s step) (*difference, error) {
	y := wayOf(s[min(2, len(s)):])
	id := s.arg(0)
	if r.flows[id] != nil || !r.w.possible(y) {
		return nil, nil
	}
	time.Sleep(time.Until(r.settled))
	if err := r.readRules(); err != nil {
		return nil, err
	}
	want := r.expect(&attempt{way: y})
	limit := handshake
	if want == must {
		limit = longest
	}
	f, err := r.w.open(y, limit)
	if r.c.doubtful[r.kindOf(y)] = r.c.doubtful[r.kindOf(y)] || want != must; y.tcp() && r.c.opened != nil {
		r.c.opened[r.kindOf(y)]++
	}
	if err != nil {
		if want == must {
			return &difference{"outage", y.String() + ": " + err.Error(), r.at, &y}, nil
		}
		return nil, nil
	}
	f.refused, f.midstream = r.m.judge(y) != must, !r.m.running
	r.flows[id] = f
	if s[0] == "idle" {
		return nil, nil
	}
	return r.try([]*attempt{{way: y, id: id, f: f}})
}

func (r *runner) half(s step) (*difference, error) {
	if f := r.flows[s.arg(0)]; f != nil && f.tcp() && !f.half && !f.broken {
		f.half = true
		return nil, f.c.(*net.TCPConn).CloseWrite()
	}
	return nil, nil
}

func (r *runner) send(s step) (*difference, error) {
	var all []*attempt
	for id, f := range r.flows {
		if (id == s.arg(0) || s.arg(0) == "all") && !f.broken {
			all = append(all, &attempt{way: f.way, id: id, f: f})
		}
	}
	return r.try(all)
}

func (r *runner) closeFlow(s step) (*difference, error) {
	if f := r.flows[s.arg(0)]; f != nil {
		f.c.Close()
		delete(r.flows, s.arg(0))
	}
	return nil, nil
}

func (r *runner) tryOne(s step) (*difference, error) {
	if y := wayOf(s[1:]); r.w.possible(y) {
		return r.try([]*attempt{{way: y}})
	}
	return nil, nil
}

// networks are the transports of both families.
var networks = []string{"tcp4", "tcp6", "udp4", "udp6"}

func (r *runner) probe(s step) (*difference, error) {
	port, err := strconv.Atoi(s.arg(0))
	if err != nil {
		return nil, nil //nolint:nilerr // as any step that makes no sense
	}
	var all []*attempt
	for from := range r.w.nodes {
		for to, n := range r.w.nodes {
			for place := range n.places {
				for _, network := range networks {
					y := way{from: from, to: strings.TrimSuffix(to+"/"+place, "/"), network: network, port: port, app: s.arg(1)}
					if strings.HasPrefix(network, "udp") {
						y.app = "raw"
					}
					if r.w.possible(y) {
						all = append(all, &attempt{way: y})
					}
				}
			}
		}
	}
	return r.try(all)
}

func (r *runner) wait(s step) (*difference, error) {
	seconds, _ := strconv.ParseFloat(s.arg(0), 64)
	time.Sleep(min(time.Duration(seconds*float64(time.Second)), time.Minute))
	return nil, nil
}
