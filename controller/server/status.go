package server

import (
	"context"
	"maps"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
)

// Outlook reports things that are not the controller's own, for status. Each may be nil; they are called
// from any goroutine and do not wait.
type Outlook struct {
	// Role is what the process is: standalone or controller.
	Role  string
	Store func() *controlv1.StoreState
	// Controllers are all that share the store.
	Controllers func() []*controlv1.ControllerState
}

// Status is how the controller and the agents are.
func (c *control) Status(context.Context, *controlv1.StatusRequest) (*controlv1.StatusResponse, error) {
	return c.s.Status(), nil
}

// Status is how the controller and the agents are. It may be called from any goroutine.
func (s *Server) Status() *controlv1.StatusResponse {
	out := &controlv1.StatusResponse{Version: s.cfg.Version, Started: s.started, Store: s.cfg.StoreName, Role: s.cfg.Outlook.Role}
	if s.cfg.Outlook.Store != nil {
		out.StoreState = s.cfg.Outlook.Store()
	}
	if s.cfg.Outlook.Controllers != nil {
		out.Controllers = s.cfg.Outlook.Controllers()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Policy, out.Groups, out.Dropped, out.Backlog = s.version, uint64(len(s.groups)), maps.Clone(s.dropped), uint64(len(s.journal.keys))
	out.Warnings = s.warnings()
	s.countInto(out)
	for _, name := range s.dir.names() {
		n := s.dir.nodes[name]
		out.Workloads += uint64(len(n.members))
		ns := &controlv1.NodeStatus{Node: name, Policy: n.policy, LastSeen: n.seen, Wanted: s.version}
		if t := s.tables[name]; t != nil {
			ns.Wanted = t.spec.Version
		}
		ns.Counters = s.unjudged.counters(name, n.status.GetCounters())
		if n.status != nil {
			ns.WorkloadErrors, ns.Warnings, ns.State = n.status.WorkloadErrors, n.status.Warnings, n.status.State
			ns.Started, ns.Version, ns.Held = n.status.Started, n.status.Version, n.status.Held
		}
		s.ownerInto(ns)
		out.Nodes = append(out.Nodes, ns)
	}
	return out
}
