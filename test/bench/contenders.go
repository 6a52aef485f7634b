//go:build linux

package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sluicenet/sluice/core/backend"
)

// datapath is how the server's frames reach the dataplane.
type datapath uint8

// Ways. The zero value is none: there is no dataplane.
const (
	noDatapath datapath = iota
	byTap
	bySteering
	byQueue
)

// contender is one treatment of the server's frames, to be measured beside the others.
type contender struct {
	name, about string
	datapath    datapath
	engine      bool // else every frame is passed unseen
	marks       bool // flows leave the queue when they are decided
	plugin      bool // parsers in a process of their own
	others      int  // workloads beside the server, attached alike and idle
	// tests are those that are run; usual reports whether it is measured by default.
	tests []string
	usual bool
}

var (
	streams  = []string{"tcp1", "tcp4"}
	loadless = []string{"idle"}
	loaded   = append(slices.Clone(streams), "conn", "ping", "udp")
	full     = append(slices.Clone(loadless), loaded...)
	most     = []string{"idle", "tcp1", "conn", "ping"}
)

// contenders are all that there are, in the order in which they are measured.
var contenders = []contender{
	{name: "plain", about: "bare veth pairs and a bridge", tests: loaded, usual: true},
	{name: "tap", about: "the engine sees copies", datapath: byTap, engine: true, tests: full, usual: true},
	{name: "inline", about: "every frame goes through the engine", datapath: bySteering, engine: true, tests: full, usual: true},
	{name: "inline-plugin", about: "as inline, parsers in a process of their own", datapath: bySteering, engine: true, plugin: true, tests: most, usual: true},
	{name: "queue", about: "the engine behind NFQUEUE", datapath: byQueue, engine: true, tests: loaded, usual: true},
	{name: "queue-marked", about: "as queue, decided flows leave the queue", datapath: byQueue, engine: true, marks: true, tests: loaded, usual: true},
	{name: "tap-50", about: "tap beside 49 idle workloads that are tapped, too", datapath: byTap, engine: true, others: 49, tests: []string{"idle", "tcp1", "conn"}, usual: true},
	{name: "inline-50", about: "inline beside 49 idle workloads that are inline, too", datapath: bySteering, engine: true, others: 49, tests: []string{"idle", "tcp1", "conn"}, usual: true},
	{name: "reflect", about: "the datapath of inline without the engine", datapath: bySteering, tests: loaded},
	{name: "queue-reflect", about: "the datapath of queue without the engine", datapath: byQueue, tests: loaded},
}

// contenderOf finds a contender by its name.
func contenderOf(name string) (contender, error) {
	for _, c := range contenders {
		if c.name == name {
			return c, nil
		}
	}
	return contender{}, fmt.Errorf("no contender %q", name)
}

// contenderNames lists the usual contenders, or all.
func contenderNames(all bool) (names []string) {
	for _, c := range contenders {
		if all || c.usual {
			names = append(names, c.name)
		}
	}
	return names
}

// task is one contender and the tests that it is to run.
type task struct {
	contender
	tests []string
}

// tasks are what the options ask for, in order. Tests of plain stay as far as another
// contender needs them for its ratio.
func tasks(only, tests []string, rows *regexp.Regexp) []task {
	var list []task
	wanted := map[string]bool{}
	for _, c := range contenders {
		if !slices.Contains(only, c.name) {
			continue
		}
		t := task{contender: c}
		for _, name := range c.tests {
			if slices.Contains(tests, name) && (rows == nil || rows.MatchString(c.name+" "+name)) {
				t.tests = append(t.tests, name)
				wanted[name] = true
			}
		}
		list = append(list, t)
	}
	for i := range list {
		if t := &list[i]; rows != nil && t.datapath == noDatapath {
			t.tests = slices.DeleteFunc(slices.Clone(loaded), func(name string) bool { return !wanted[name] })
		}
	}
	return slices.DeleteFunc(list, func(t task) bool { return len(t.tests) == 0 })
}

// describe is the list of contenders for display.
func describe() string {
	var b strings.Builder
	for _, c := range contenders {
		note := ""
		if !c.usual {
			note = " (only if asked for)"
		}
		fmt.Fprintf(&b, "  %-14s %s%s\n", c.name, c.about, note)
	}
	return b.String()
}

// endpoint is the endpoint of the server, or of another workload, as the contender attaches it.
func (c *contender) endpoint(id uint32, w workload, host string) backend.Endpoint {
	ep := backend.Endpoint{ID: id, Kind: backend.Inline, NetNS: w.ns, Interface: "eth0", MAC: w.mac}
	switch c.datapath {
	case byTap:
		ep.Kind = backend.Tap
		fallthrough
	case bySteering:
		ep.Hook = backend.Hook{NetNS: host, Interface: w.hook}
	case byQueue:
		ep.Hook = backend.Hook{NetNS: ep.NetNS, Interface: ep.Interface, Side: backend.StackSide}
	}
	return ep
}
