package server

import (
	"context"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/internal/vocab"
)

// ListConnections is every kind of connection known.
func (c *control) ListConnections(context.Context, *controlv1.ListConnectionsRequest) (*controlv1.ListConnectionsResponse, error) {
	out := new(controlv1.ListConnectionsResponse)
	for _, e := range c.s.graph.Connections() {
		out.Edges = append(out.Edges, edgeMessage(&e))
	}
	return out, nil
}

func edgeMessage(e *graph.Edge) *controlv1.Edge {
	return &controlv1.Edge{
		From: e.From, To: e.To, FromWorkload: e.FromWorkload, ToWorkload: e.ToWorkload,
		Proto: uint32(e.Proto), Port: uint32(e.Port), App: e.App.Name(), Base: e.Base.Name(),
		Verdict: vocab.Verdict(e.Now), Reason: vocab.Reason(e.Reason), Rule: e.Rule,
		Sessions: e.Sessions, BytesOut: e.BytesOut, BytesIn: e.BytesIn, PacketsOut: e.PacketsOut, PacketsIn: e.PacketsIn,
		First: e.First, Last: e.Last, Family: family(e.IPv6), Attrs: e.Attrs, Open: e.Open, Answered: e.Answered,
	}
}

// ListViolations is the kinds of violation seen last, newest first.
func (c *control) ListViolations(_ context.Context, r *controlv1.ListViolationsRequest) (*controlv1.ListViolationsResponse, error) {
	out := new(controlv1.ListViolationsResponse)
	for _, v := range c.s.graph.Violations(int(r.GetPage().GetLimit())) {
		out.Violations = append(out.Violations, &controlv1.Violation{
			Stamp: v.Last, First: v.First, Count: v.Count, From: v.From, To: v.To, FromWorkload: v.FromWorkload, ToWorkload: v.ToWorkload,
			Proto: uint32(v.Proto), Port: uint32(v.Port), App: v.App.Name(), Family: family(v.IPv6),
			Verdict: vocab.Verdict(v.Verdict), Reason: vocab.Reason(v.Reason), Rule: v.Rule,
			Reporter: v.Reporter, Egress: v.Egress, Client: v.Client, Server: v.Server,
		})
	}
	return out, nil
}

// countInto fills the graph's counts into a status.
func (s *Server) countInto(out *controlv1.StatusResponse) {
	t := s.graph.Totals()
	out.Connections, out.Sessions, out.Violations = t.Edges, t.Sessions, t.Violations
	out.Rules = uint64(s.rules.Len())
	if t.Evicted > 0 {
		out.Dropped["history"] += t.Evicted
	}
}
