package server

import (
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/sluicenet/sluice/api/control/v1"
	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/core/flow"
	"github.com/sluicenet/sluice/internal/vocab"
)

// Observe streams events from now on until the caller has enough or the controller closes.
func (c *control) Observe(r *controlv1.ObserveRequest, stream grpc.ServerStreamingServer[controlv1.Event]) error {
	match, err := filter(r)
	if err != nil {
		return err
	}
	reader := c.s.bus.subscribe(match)
	defer c.s.bus.unsubscribe(reader)
	// The header says that nothing from here on is missed.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for {
		e, missed, err := reader.next(stream.Context(), c.s.closed)
		if err != nil {
			return err
		}
		if missed > 0 {
			e = proto.CloneOf(e)
			e.Missed = missed
		}
		if err := stream.Send(e); err != nil {
			return err
		}
	}
}

// filter returns the request as a function.
func filter(r *controlv1.ObserveRequest) (func(*controlv1.Event) bool, error) {
	f := r.GetFilter()
	about := make(map[string]bool)
	for _, w := range f.GetAbout() {
		about[w] = true
	}
	return func(e *controlv1.Event) bool {
		if len(f.GetVerdicts()) > 0 && !slices.Contains(f.GetVerdicts(), e.Verdict) {
			return false
		}
		return len(about) == 0 || about[e.From] || about[e.To] || about[e.Reporter] ||
			about[e.FromGroup] || about[e.ToGroup] || about[short(e.FromGroup)] || about[short(e.ToGroup)]
	}, nil
}

// connectionEvent is a reported connection as observers see it.
func connectionEvent(c *controlv1.Connection, client, server *end) *controlv1.Event {
	e := &controlv1.Event{
		Stamp: c.Last, Kind: controlv1.EventKind_EVENT_KIND_ENDED,
		From: client.name(), To: server.name(), FromGroup: client.group, ToGroup: server.group,
		Proto: c.Proto, Port: c.ServerPort, App: app.ID(c.App).Name(),
		Verdict: c.Verdict, Reason: c.Reason, Rule: c.Rule,
		Family: family(client.addr.Is6()), Outcome: c.Outcome,
		BytesOut: c.BytesOut, BytesIn: c.BytesIn, Sessions: c.Sessions, Attrs: c.Attrs, Reporter: c.Workload,
	}
	if v := vocab.FlowVerdict(c.Verdict); v == flow.Violate || v == flow.Deny {
		e.Kind = controlv1.EventKind_EVENT_KIND_VIOLATION
	}
	if local := reporter(c, client, server); local.member != nil {
		e.Reporter = local.name()
	}
	return e
}

// reporter is the end that told of the connection.
func reporter(c *controlv1.Connection, client, server *end) *end {
	if c.Egress {
		return client
	}
	return server
}

// short is the part of a service group's name that people type: "web" of
// "svc:default/web".
func short(group string) string {
	if _, service, ok := strings.Cut(group, "/"); ok && strings.HasPrefix(group, "svc:") {
		return service
	}
	return group
}
