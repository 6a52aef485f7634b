package server

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/netip"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/controller/filter"
	"github.com/sluicenet/sluice/controller/graph"
	"github.com/sluicenet/sluice/controller/model"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// wanted compiles a filter.
func (c *control) wanted(f *controlv1.Filter, scope filter.Scope) (*filter.Filter, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	out, err := filter.Compile(f, scope, s)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "filter: %v", err)
	}
	return out, nil
}

// ListConnections returns the kinds of connection that match, by ends, port and application.
func (c *control) ListConnections(_ context.Context, r *controlv1.ListConnectionsRequest) (*controlv1.ListConnectionsResponse, error) {
	f, err := c.wanted(r.GetFilter(), filter.Connections)
	if err != nil {
		return nil, err
	}
	var after *graph.Kind
	if t := r.GetPage().GetToken(); t != "" {
		after = new(graph.Kind)
		if err := readToken(t, after); err != nil {
			return nil, err
		}
	}
	edges := c.s.graph.Connections(func(e *graph.Edge) bool {
		x := edgeSubject(e)
		return f.Match(&x)
	})
	out := &controlv1.ListConnectionsResponse{Total: uint64(len(edges))}
	limit := pageLimit(r.GetPage())
	for i := range edges {
		e := &edges[i]
		if after != nil && e.Compare(after) <= 0 {
			continue
		}
		if len(out.Edges) == limit {
			out.NextToken = token(edges[i-1].Kind)
			break
		}
		out.Edges = append(out.Edges, edgeMessage(e))
	}
	return out, nil
}

// edgeSubject is an edge as filters see it.
func edgeSubject(e *graph.Edge) filter.Subject {
	x := filter.Subject{
		From:  filter.End{Identity: filter.Identity{Node: e.FromNode, Name: e.FromWorkload, Group: e.From}, Addresses: e.Addresses[0]},
		To:    filter.End{Identity: filter.Identity{Node: e.ToNode, Name: e.ToWorkload, Group: e.To}, Addresses: e.Addresses[1]},
		Proto: e.Proto, Port: e.Port, App: e.App, Base: e.Base, HasApp: true, First: e.First, Last: e.Last, Family: family(e.IPv6),
	}
	for i := range e.Ends {
		if d := &e.Ends[i]; d.Verdict != flow.NoVerdict {
			x.Verdicts |= filter.Bit(d.Verdict)
			x.Reasons |= filter.Bit(d.Reason)
		}
	}
	for o, n := range e.ByOutcome() {
		if n > 0 {
			x.Outcomes |= filter.Bit(uint8(o))
		}
	}
	return x
}

func edgeMessage(e *graph.Edge) *controlv1.Edge {
	d := e.Decision()
	m := &controlv1.Edge{
		From: e.From, To: e.To, FromWorkload: e.FromWorkload, ToWorkload: e.ToWorkload,
		Proto: uint32(e.Proto), Port: uint32(e.Port), App: e.App.Name(), Base: e.Base.Name(),
		Verdict: vocab.Verdict(d.Verdict), Reason: vocab.Reason(d.Reason), Rule: d.Rule,
		ClientEnd: endMessage(&e.Ends[0]), ServerEnd: endMessage(&e.Ends[1]),
		Sessions: e.Sessions, BytesOut: e.BytesOut, BytesIn: e.BytesIn, PacketsOut: e.PacketsOut, PacketsIn: e.PacketsIn,
		First: e.First, Last: e.Last, Family: family(e.IPv6), Attrs: e.Attrs, Open: e.Open, Answered: e.Answered,
		Outcome: vocab.Outcome(e.Outcome), Outcomes: make(map[string]uint64), Evidence: vocab.Evidence(e.Evidence), Lossy: e.Lossy,
	}
	for o, n := range e.ByOutcome() {
		if n > 0 {
			m.Outcomes[flow.Outcome(o).String()] = n
		}
	}
	return m
}

// endMessage is what an end decided; nil where it is not managed or has not reported.
func endMessage(d *graph.End) *controlv1.EndVerdict {
	if d.Verdict == flow.NoVerdict {
		return nil
	}
	return &controlv1.EndVerdict{Workload: d.Workload, Verdict: vocab.Verdict(d.Verdict), Reason: vocab.Reason(d.Reason), Rule: d.Rule, Enforced: d.Enforced}
}

// ListViolations returns the kinds of violation that match, newest first.
func (c *control) ListViolations(_ context.Context, r *controlv1.ListViolationsRequest) (*controlv1.ListViolationsResponse, error) {
	f, err := c.wanted(r.GetFilter(), filter.Violations)
	if err != nil {
		return nil, err
	}
	rows, touched := c.s.graph.Violations(func(v *graph.Violation) bool {
		x := violationSubject(v)
		return f.Match(&x)
	})
	part, next, err := newestFirst(rows, touched, r.GetPage(), func(v *graph.Violation) uint64 { return v.Touched })
	if err != nil {
		return nil, err
	}
	out := &controlv1.ListViolationsResponse{Total: uint64(len(rows)), NextToken: next}
	for i := range part {
		out.Violations = append(out.Violations, violationMessage(&part[i]))
	}
	return out, nil
}

// violationSubject is a violation as filters see it.
func violationSubject(v *graph.Violation) filter.Subject {
	x := filter.Subject{
		From:  filter.End{Identity: filter.Identity{Node: v.FromNode, Name: v.FromWorkload, Group: v.From}, Addresses: addresses(v.Client)},
		To:    filter.End{Identity: filter.Identity{Node: v.ToNode, Name: v.ToWorkload, Group: v.To}, Addresses: addresses(v.Server)},
		Proto: v.Proto, Port: v.Port, First: v.First, Last: v.Last,
		Verdicts: filter.Bit(v.Verdict), Reasons: filter.Bit(v.Reason), Outcomes: filter.Bit(v.Outcome),
	}
	if v.Reason != flow.ByFailOpen {
		x.App, x.Base, x.HasApp, x.Family = v.App, app.Unknown, true, family(v.IPv6)
	}
	return x
}

// addresses is a list of one address, or of none.
func addresses(a netip.Addr) []netip.Addr {
	if !a.IsValid() {
		return nil
	}
	return []netip.Addr{a}
}

func violationMessage(v *graph.Violation) *controlv1.Violation {
	m := &controlv1.Violation{
		Stamp: v.Last, First: v.First, Count: v.Count, From: v.From, To: v.To, FromWorkload: v.FromWorkload, ToWorkload: v.ToWorkload,
		Proto: uint32(v.Proto), Port: uint32(v.Port), Verdict: vocab.Verdict(v.Verdict), Reason: vocab.Reason(v.Reason), Rule: v.Rule,
		Reporter: v.Reporter, Egress: v.Egress, Outcome: vocab.Outcome(v.Outcome), Text: v.Text,
	}
	if v.Reason != flow.ByFailOpen {
		m.App, m.Family, m.Client, m.Server = v.App.Name(), family(v.IPv6), v.Client.String(), v.Server.String()
	}
	return m
}

// ListThreats returns the kinds of threat that match, newest first.
func (c *control) ListThreats(_ context.Context, r *controlv1.ListThreatsRequest) (*controlv1.ListThreatsResponse, error) {
	f, err := c.wanted(r.GetFilter(), filter.Threats)
	if err != nil {
		return nil, err
	}
	rows, touched := c.s.graph.Threats(func(t *graph.Threat) bool {
		x := threatSubject(t)
		return f.Match(&x)
	})
	part, next, err := newestFirst(rows, touched, r.GetPage(), func(t *graph.Threat) uint64 { return t.Touched })
	if err != nil {
		return nil, err
	}
	out := &controlv1.ListThreatsResponse{Total: uint64(len(rows)), NextToken: next}
	for i := range part {
		t := &part[i]
		out.Threats = append(out.Threats, &controlv1.Threat{
			Id: t.ID, Name: model.ThreatName(t.ID), Text: t.Text, Workload: t.Workload, From: t.From, To: t.To, FromWorkload: t.FromWorkload, ToWorkload: t.ToWorkload,
			Source: t.Source.String(), Destination: t.Destination.String(), SourcePort: uint32(t.SourcePort), DestinationPort: uint32(t.DestinationPort),
			Proto: uint32(t.Proto), Family: family(t.IPv6), Count: t.Count, First: t.First, Last: t.Last, Frame: t.Frame,
		})
	}
	return out, nil
}

// threatSubject is a threat as filters see it.
func threatSubject(t *graph.Threat) filter.Subject {
	return filter.Subject{
		From:  filter.End{Identity: filter.Identity{Node: t.FromNode, Name: t.FromWorkload, Group: t.From}, Addresses: addresses(t.Source)},
		To:    filter.End{Identity: filter.Identity{Node: t.ToNode, Name: t.ToWorkload, Group: t.To}, Addresses: addresses(t.Destination)},
		Proto: t.Proto, Port: t.DestinationPort, First: t.First, Last: t.Last, Family: family(t.IPv6), Threat: t.ID,
	}
}

// Limits of a page.
const (
	defaultPage = 1000
	largestPage = 10_000
)

// pageLimit is how many rows a page may have.
func pageLimit(p *controlv1.Page) int {
	if p.GetLimit() == 0 {
		return defaultPage
	}
	return int(min(p.Limit, largestPage))
}

// token packs the place where a page ends.
func token(v any) string {
	b, _ := json.Marshal(v) // it is made of numbers and strings
	return base64.RawURLEncoding.EncodeToString(b)
}

// readToken reads what token packed.
func readToken(text string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "page: token %.40q is not one of this list: leave it out to start from the beginning", text)
	}
	return nil
}

// place is where a page of a list ends that has the newest first. Rows that change while the list
// is read move to its front; they come once more at its end, so that none is missed.
type place struct {
	Begun uint64 `json:"b"` // number of the last touch when the list was begun
	Last  uint64 `json:"l"` // that of the last row
}

// newestFirst cuts a page out of rows, which are in the order of their touches, newest first.
func newestFirst[T any](rows []T, touched uint64, p *controlv1.Page, touch func(*T) uint64) (part []T, next string, err error) {
	at := place{Begun: touched, Last: touched + 1}
	if p.GetToken() != "" {
		if err := readToken(p.Token, &at); err != nil {
			return nil, "", err
		}
	}
	limit := pageLimit(p)
	add := func(row *T) bool {
		if len(part) == limit {
			next = token(at)
			return false
		}
		part, at.Last = append(part, *row), touch(row)
		return true
	}
	if at.Last <= at.Begun+1 {
		for i := range rows {
			if t := touch(&rows[i]); t <= at.Begun && t < at.Last && !add(&rows[i]) {
				return part, next, nil
			}
		}
		at.Last = at.Begun + 1 // the rest is what has changed since, oldest first
	}
	for i := len(rows) - 1; i >= 0; i-- {
		if t := touch(&rows[i]); t > at.Begun && t >= at.Last && !add(&rows[i]) {
			return part, next, nil
		}
	}
	return part, "", nil
}

// countInto fills the graph's counts into a status.
func (s *history) countInto(out *controlv1.StatusResponse) {
	t := s.graph.Totals()
	out.Connections, out.Sessions, out.Violations, out.Threats = t.Edges, t.Sessions, t.Violations, t.Threats
	out.Rules, out.Unjudged = uint64(s.rules.Len()), s.unjudged.passed()
	if t.Evicted > 0 {
		out.Dropped["history"] += t.Evicted
	}
}
