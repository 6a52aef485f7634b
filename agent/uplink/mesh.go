package uplink

import (
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/core/packet"
)

// What an application says to its sidecar is seen on lo, and what the sidecar makes of it on the way out of
// the workload. Both are one connection where both go to the same place; it counts outside then.

// target is where a workload's connections go.
type target struct {
	workload string
	server   packet.Addr
	port     uint16
	ipv6     bool
	app      uint16 // of sessions outside; anyApp for all
}

// anyApp stands for every application; none has that number.
const anyApp = ^uint16(0)

// Bounds of what is remembered of sessions outside.
const (
	maxTargets = 20_000
	// meshFolds is how often a session on lo waits for its like outside.
	meshFolds = 14
)

// outside notes a session that leaves a workload.
func (a *aggregate) outside(workload string, s *session) {
	if s.Dir != packet.Egress || s.Proto != packet.ProtoTCP {
		return
	}
	if len(a.targets) >= maxTargets {
		clear(a.targets)
	}
	t := target{workload, s.Server, s.ServerPort, s.IPv6, anyApp}
	a.targets[t] = struct{}{}
	if app.ID(s.App) != app.Undecided {
		t.app = s.App
		a.targets[t] = struct{}{}
	}
}

// twin says whether a session on lo is outside, too: to the same place, and there by the same name.
func (a *aggregate) twin(workload string, s *session) (there, named bool) {
	t := target{workload, s.Server, s.ServerPort, s.IPv6, anyApp}
	_, there = a.targets[t]
	t.app = s.App
	_, named = a.targets[t]
	return there, named
}

// waits says whether a session on lo is to be kept for another fold: nothing can be told of it yet, or its
// like outside may be told yet.
func (a *aggregate) waits(s *session) bool {
	switch {
	case !s.Loopback || s.Verdict == flow.Deny || s.within():
		return false
	case s.unknown():
		return s.ended == 0 // if it is refused yet, it is to have begun
	case s.Dir != packet.Egress || s.folds >= meshFolds:
		return false
	}
	_, named := a.twin(a.workload(s.Endpoint), s)
	return !named
}

// within says whether a session on lo is between the workload's own ends: from its sidecar, or to itself.
func (s *session) within() bool {
	return s.Verdict == flow.Open && (s.Reason != flow.ByUnready || ownEnd(s.Client, s.IPv6) || ownEnd(s.Server, s.IPv6))
}

// unknown says that there is nothing to tell of a session on lo yet.
func (s *session) unknown() bool {
	return app.ID(s.App) == app.Undecided || s.Verdict == flow.Pending
}

// ownEnd says whether an address means the workload itself: a loopback address, or ::6 of a sidecar.
func ownEnd(a packet.Addr, ipv6 bool) bool {
	n := a.Netip()
	if !ipv6 {
		return n.IsLoopback()
	}
	b := n.As16()
	return [15]byte(b[:15]) == [15]byte{}
}

// onlyHere prepares a session between an application and its sidecar for being told; false where there is
// nothing to tell. One that was refused got no further and counts here, and so does one whose like
// does not leave the workload, as the sidecar chose another place for it. Of one that is outside by another
// name, its own is told, and nothing is counted.
func (a *aggregate) onlyHere(workload string, s *session) bool {
	switch {
	case s.Verdict == flow.Deny:
		return true
	case s.within():
		return false
	case s.unknown():
		return false
	}
	there, named := a.twin(workload, s)
	switch {
	case s.Dir == packet.Egress && named:
		return false
	case s.Dir == packet.Egress && !there:
		return true
	}
	s.began, s.ended, s.Session = 0, 0, 0
	s.Packets, s.Bytes = [2]uint64{}, [2]uint64{}
	return true
}
