package sidecar

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// What an application sends to its sidecar is seen on lo, and what the sidecar sends for it
// on the way out of the workload. If both go to the same place they are one connection; it is
// counted outside then.

// Bounds of the sessions outside that are kept.
const (
	maxTargets = 20_000
	// MaxRounds is how often the record of a session on lo waits for its counterpart outside.
	MaxRounds = 14
)

// Outside is the set of sessions that the workloads of a node have outside of lo. One
// goroutine uses it; the zero value is empty.
type Outside struct{ targets map[target]struct{} }

// target is the destination of a workload's connections.
type target struct {
	workload string
	server   packet.Addr
	port     uint16
	ipv6     bool
	app      uint16 // anyApp for all
}

// anyApp is every application; none has that number.
const anyApp = ^uint16(0)

// Record is a session on lo that is to be reported.
type Record struct {
	*flow.Record
	Workload string
	Rounds   uint8 // number of rounds it waited
	Ended    bool
}

// Add adds a session that leaves a workload.
func (o *Outside) Add(workload string, r *flow.Record) {
	if r.Dir != packet.Egress || r.Proto != packet.ProtoTCP {
		return
	}
	if o.targets == nil {
		o.targets = map[target]struct{}{}
	}
	t := target{workload, r.Server, r.ServerPort, r.IPv6, anyApp}
	o.addTarget(t)
	if app.ID(r.App) != app.Undecided {
		t.app = r.App
		o.addTarget(t)
	}
}

func (o *Outside) addTarget(t target) {
	if _, ok := o.targets[t]; !ok && len(o.targets) >= maxTargets {
		for other := range o.targets {
			delete(o.targets, other)
			break
		}
	}
	o.targets[t] = struct{}{}
}

// counterpart reports whether a session on lo exists outside, too: to the same place, with
// the same name.
func (o *Outside) counterpart(r *Record) (there, named bool) {
	t := target{r.Workload, r.Server, r.ServerPort, r.IPv6, anyApp}
	_, there = o.targets[t]
	t.app = r.App
	_, named = o.targets[t]
	return there, named
}

// Waits reports whether the record of a session on lo is to be kept for another round: there
// is nothing to report yet, or its counterpart outside may still appear.
func (o *Outside) Waits(r *Record) bool {
	switch {
	case r.Verdict == flow.Deny || within(r.Record):
		return false
	case undecided(r.Record):
		return !r.Ended // if it is refused later, its beginning must be counted
	case r.Dir != packet.Egress || r.Rounds >= MaxRounds:
		return false
	}
	_, named := o.counterpart(r)
	return !named
}

// Part is the reported part of a session on lo.
type Part uint8

// Parts of a session.
const (
	Nothing  Part = iota // it is reported outside, or is internal to the workload
	NameOnly             // its name, without counts: it is counted outside, with another name
	Whole                // all of it
)

// Report returns what is reported of a session on lo. A refused one got no further and is
// counted here, and so is one without a counterpart outside, as the sidecar chose another
// destination.
func (o *Outside) Report(r *Record) Part {
	switch {
	case r.Verdict == flow.Deny:
		return Whole
	case within(r.Record), undecided(r.Record):
		return Nothing
	}
	there, named := o.counterpart(r)
	switch {
	case r.Dir == packet.Egress && named:
		return Nothing
	case r.Dir == packet.Egress && !there:
		return Whole
	}
	return NameOnly
}

// within reports whether a session on lo is between the workload's own ends: from its
// sidecar, or to itself. Before policy arrives, only the addresses show it.
func within(r *flow.Record) bool {
	return r.Verdict == flow.Open && (r.Reason != flow.ByUnready || Local(r.Client, r.IPv6) || Local(r.Server, r.IPv6))
}

// undecided reports whether there is nothing to report of a session on lo yet.
func undecided(r *flow.Record) bool {
	return app.ID(r.App) == app.Undecided || r.Verdict == flow.Pending
}
